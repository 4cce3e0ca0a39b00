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
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from contest import Outcome, hold, medians, parse_arguments, read_json_lines, trainer_arguments, write_json_lines

BATCH, LENGTH, SEED = 32, 128, 42


def read_rows(path: Path, count: int) -> list[dict[str, Any]]:
    import random

    lines = path.read_text(encoding="utf-8").split("\n")[1:]
    rows = [line.split("\t") for line in lines if line]
    random.Random(SEED).shuffle(rows)
    return [{"text": row[0], "label": int(row[1])} for row in rows[:count]]


def run_ours(folder: Path, args: argparse.Namespace) -> Outcome:
    """In a process of the command line, as a person trains."""
    recipe = {
        "task": "sentiment",
        "model": "starter:encoder",
        "data": {"train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl")},
        "training": {
            "epochs": 1,
            "batch_size": BATCH,
            "max_length": LENGTH,
            "learning_rate": args.learning_rate,
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


def run_trainer(folder: Path, args: argparse.Namespace) -> Outcome:
    """In this process."""
    import numpy as np
    import transformers
    from datasets import Dataset

    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.references import resolve

    transformers.set_seed(SEED)
    encoder = str(resolve("starter:encoder", JobContext()))
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)

    def load(name: str) -> Dataset:
        rows = read_json_lines(folder / f"{name}.jsonl")
        encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=LENGTH)
        return Dataset.from_dict({**encoded, "labels": [row["label"] for row in rows]})

    options = {"train_sampling_strategy": "group_by_length", "bf16": True} if args.contender == "tuned" else {}
    with tempfile.TemporaryDirectory() as output:
        arguments = transformers.TrainingArguments(
            **trainer_arguments(output, BATCH, args.learning_rate, SEED, warmup_steps=0.1, weight_decay=0.01, **options)
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
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    args = parse_arguments(parser)

    def prepare(folder: Path) -> None:
        write_json_lines(folder / "train.jsonl", read_rows(args.data, args.rows))
        held_out = args.eval or args.data.with_name("dev.tsv")
        write_json_lines(folder / "eval.jsonl", read_rows(held_out, args.eval_rows))

    results = hold({"ours": run_ours, "trainer": run_trainer, "tuned": run_trainer}, prepare, args, _describe)
    rate = {name: outcome["rate"] for name, outcome in medians(results).items()}
    accuracy = {name: statistics.mean(item["accuracy"] for item in items) for name, items in results.items()}
    print(f"\n{'':10}{'examples/s':>12}{'accuracy':>10}")
    for name in results:
        print(f"{name:10}{rate[name]:12.1f}{100 * accuracy[name]:9.1f}%")
    print(f"\nours / Trainer with its defaults: {rate['ours'] / rate['trainer']:.2f} (floor 3.0, aim 5)")
    print(f"ours / tuned Trainer:             {rate['ours'] / rate['tuned']:.2f} (floor 1.05)")
    print(f"accuracy, ours - Trainer:         {100 * (accuracy['ours'] - accuracy['trainer']):+.1f} points")


def _describe(outcome: Outcome) -> str:
    return f"{outcome['rate']:7.1f} examples/s  accuracy {100 * outcome['accuracy']:.1f} %"


if __name__ == "__main__":
    main()
