"""Training throughput against ``transformers.Trainer``, on the same rows, in one run.

    python tests/benchmarks/train_throughput.py --data TRAIN.tsv [--eval DEV.tsv] [--rows 2048] [--repeats 3]

Three contenders fine-tune the starter encoder for one epoch, batch 32, at most 128 tokens, each in a process of its
own and in turn, so that a slow minute of the machine hits all of them:

* ``ours``: ``lmstudio-app train``, with its curves written to the run folder;
* ``trainer``: ``transformers.Trainer`` with its defaults (random order, padding to the longest of a batch);
* ``tuned``: the same with ``train_sampling_strategy="group_by_length"`` and ``bf16=True``.

Printed are examples a second (the median over the repeats), accuracy on rows that were not trained on, and the
ratios. Reading data, tokenizing and loading are not counted for any; evaluation neither.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH, LENGTH, SEED = 32, 128, 42


def read_rows(path: Path, count: int) -> tuple[list[str], list[int]]:
    import random

    lines = path.read_text(encoding="utf-8").split("\n")[1:]
    rows = [line.split("\t") for line in lines if line]
    random.Random(SEED).shuffle(rows)
    return [row[0] for row in rows[:count]], [int(row[1]) for row in rows[:count]]


def write_rows(path: Path, texts: list[str], labels: list[int]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for text, label in zip(texts, labels, strict=True):
            file.write(json.dumps({"text": text, "label": label}) + "\n")


def run_ours(folder: Path, learning_rate: float) -> dict[str, float]:
    recipe = {
        "task": "sentiment",
        "model": "starter:encoder",
        "data": {"train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl")},
        "training": {
            "epochs": 1,
            "batch_size": BATCH,
            "max_length": LENGTH,
            "learning_rate": learning_rate,
            "seed": SEED,
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    with tempfile.TemporaryDirectory() as run:
        command = [sys.executable, "-m", "lmstudio_app", "train", str(path), "--run-dir", f"{run}/run", "--json"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    finished = json.loads(output.strip().splitlines()[-1])["result"]
    return {"rate": finished["examples_per_second"], "accuracy": finished["metrics"]["accuracy"]}


def run_trainer(folder: Path, learning_rate: float, *, tuned: bool) -> dict[str, float]:
    """In this process; called in a process of its own."""
    import numpy as np
    import torch
    import transformers
    from datasets import Dataset

    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.references import resolve

    transformers.set_seed(SEED)
    encoder = str(resolve("starter:encoder", JobContext()))
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)

    def load(name: str) -> Dataset:
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=LENGTH)
        return Dataset.from_dict({**encoded, "labels": [row["label"] for row in rows]})

    options = {"train_sampling_strategy": "group_by_length", "bf16": True} if tuned else {}
    with tempfile.TemporaryDirectory() as output:
        arguments = transformers.TrainingArguments(
            output_dir=output,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH * 4,
            learning_rate=learning_rate,
            warmup_steps=0.1,
            weight_decay=0.01,
            seed=SEED,
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **options,
        )
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=load("train"),
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
        )
        result = trainer.train()
        prediction = trainer.predict(load("eval"))
    accuracy = float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())
    return {"rate": float(result.metrics["train_samples_per_second"]), "accuracy": accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="TSV with header: text, 0/1 label")
    parser.add_argument("--eval", type=Path, help="the same, not trained on (default: dev.tsv beside it)")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--eval-rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.contender:
        outcome = run_trainer(args.folder, args.learning_rate, tuned=args.contender == "tuned")
        print(json.dumps(outcome))
        return

    results: dict[str, list[dict[str, float]]] = {"ours": [], "trainer": [], "tuned": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "train.jsonl", *read_rows(args.data, args.rows))
        write_rows(folder / "eval.jsonl", *read_rows(args.eval or args.data.with_name("dev.tsv"), args.eval_rows))
        for repeat in range(args.repeats):
            for contender in results:
                begun = time.perf_counter()
                if contender == "ours":
                    outcome = run_ours(folder, args.learning_rate)
                else:
                    command = [sys.executable, __file__, "--data", str(args.data), "--contender", contender]
                    command += ["--folder", name, "--learning-rate", str(args.learning_rate)]
                    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=_quiet()).stdout
                    outcome = json.loads(output.strip().splitlines()[-1])
                results[contender].append(outcome)
                print(
                    f"repeat {repeat + 1}  {contender:8} {outcome['rate']:7.1f} examples/s  "
                    f"accuracy {100 * outcome['accuracy']:.1f} %  ({time.perf_counter() - begun:.0f} s in all)",
                    flush=True,
                )
    rate = {name: statistics.median(item["rate"] for item in items) for name, items in results.items()}
    accuracy = {name: statistics.mean(item["accuracy"] for item in items) for name, items in results.items()}
    print(f"\n{'':10}{'examples/s':>12}{'accuracy':>10}")
    for name in results:
        print(f"{name:10}{rate[name]:12.1f}{100 * accuracy[name]:9.1f}%")
    print(f"\nours / Trainer with its defaults: {rate['ours'] / rate['trainer']:.2f} (floor 3.0, aim 5)")
    print(f"ours / tuned Trainer:             {rate['ours'] / rate['tuned']:.2f} (floor 1.05)")
    print(f"accuracy, ours - Trainer:         {100 * (accuracy['ours'] - accuracy['trainer']):+.1f} points")


def _quiet() -> dict[str, str]:
    return {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}


if __name__ == "__main__":
    main()
