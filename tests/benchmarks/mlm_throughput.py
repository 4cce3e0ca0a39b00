"""Masked language modelling against ``transformers.Trainer``: throughput and memory, same rows and model, one run.

    python tests/benchmarks/mlm_throughput.py [--model starter:encoder] [--rows 512] [--repeats 3]

Two contenders train for one epoch on blocks of 128 tokens of the bundled running text, batch 16, each in a process of
its own and in turn, so that a slow minute of the machine hits both:

* ``ours``: ``lmstudio-app train``, its evaluation at the end and its checkpoint included in the time;
* ``trainer``: ``transformers.Trainer`` with its defaults and ``DataCollatorForLanguageModeling``; no evaluation, and no
  checkpoint unless its own default makes one.

Both train on documents that fill whole blocks, so that neither has padding. Printed are examples a second (the median
over the repeats), the largest resident set, and their ratios. Loading and tokenizing are not counted for either.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH, LENGTH, SEED = 16, 128, 42


def write_documents(folder: Path, reference: str, rows: int, evaluation_rows: int) -> None:
    """Documents of one block each, out of the bundled text, as JSON Lines."""
    from transformers import AutoTokenizer

    from lmstudio_app.data.sources import read_table
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.references import resolve

    tokenizer = AutoTokenizer.from_pretrained(str(resolve(reference, JobContext())))
    texts = read_table(["handbook", "encyclopedia"], JobContext()).dataset["text"]
    words = " ".join(texts).split()
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    blocks: list[str] = []
    block: list[str] = []
    size = 0
    for word, pieces in zip(words, ids, strict=True):
        if size + len(pieces) > LENGTH - 2:
            blocks.append(" ".join(block))
            block, size = [], 0
        block.append(word)
        size += len(pieces)
    repeated = [blocks[index % len(blocks)] for index in range(rows + evaluation_rows)]
    for name, part in (("train", repeated[:rows]), ("eval", repeated[rows:])):
        text = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in part)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def run_ours(folder: Path, reference: str) -> dict[str, float]:
    """In this process; the time is from the first step's beginning to the finished model."""
    from lmstudio_app.events import Finished, Status
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.training.loop import TrainRequest, train
    from lmstudio_app.training.recipe import Recipe

    training = {"epochs": 1, "batch_size": BATCH, "max_length": LENGTH, "learning_rate": 1e-4, "seed": SEED}
    data = {"train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl")}
    recipe = Recipe.from_dict({"task": "masked_lm", "model": reference, "data": data, "training": training})
    times: dict[str, float] = {}
    found: dict[str, Any] = {}

    def listen(event: Any) -> None:
        if isinstance(event, Status) and "parameters train from step" in event.template:
            times["begun"] = time.perf_counter()
        if isinstance(event, Finished):
            times["ended"] = time.perf_counter()
            found.update(event.result)

    with tempfile.TemporaryDirectory() as run:
        train(TrainRequest(recipe, Path(run) / "run"), JobContext(listen))
    rows = sum(1 for _ in (folder / "train.jsonl").open(encoding="utf-8"))
    return {
        "rate": rows / (times["ended"] - times["begun"]),
        "steps_alone": float(found["examples_per_second"]),
        "loss": float(found["metrics"]["loss"]),
    }


def run_trainer(folder: Path, reference: str) -> dict[str, float]:
    """In this process."""
    import torch
    import transformers
    from datasets import Dataset

    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.references import resolve

    transformers.set_seed(SEED)
    model_folder = str(resolve(reference, JobContext()))
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(model_folder)

    def load(name: str) -> Dataset:
        rows = [
            json.loads(line)["text"] for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        return Dataset.from_dict(dict(tokenizer(rows, truncation=True, max_length=LENGTH)))

    with tempfile.TemporaryDirectory() as output:
        arguments = transformers.TrainingArguments(
            output_dir=output,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH * 4,
            learning_rate=1e-4,
            seed=SEED,
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=load("train"),
            eval_dataset=load("eval"),
            data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
            processing_class=tokenizer,
        )
        result = trainer.train()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        loss = trainer.evaluate()["eval_loss"]
    return {"rate": float(result.metrics["train_samples_per_second"]), "loss": float(loss), "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter:encoder", metavar="REF")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--eval-rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    contenders = {"ours": run_ours, "trainer": run_trainer}

    if args.contender:
        outcome = contenders[args.contender](args.folder, args.model)
        outcome.setdefault("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(json.dumps(outcome))
        return

    results: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    quiet["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as name:
        write_documents(Path(name), args.model, args.rows, args.eval_rows)
        for repeat in range(args.repeats):
            for contender in contenders:
                command = [sys.executable, __file__, "--model", args.model, "--contender", contender, "--folder", name]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet).stdout
                outcome = json.loads(output.strip().splitlines()[-1])
                results[contender].append(outcome)
                print(
                    f"repeat {repeat + 1}  {contender:8} {outcome['rate']:7.1f} examples/s  "
                    f"(steps alone {outcome.get('steps_alone', outcome['rate']):.1f})  loss {outcome['loss']:.3f}  "
                    f"peak {outcome['peak'] / 1024:,.0f} MiB",
                    flush=True,
                )
    rate = {name: statistics.median(item["rate"] for item in items) for name, items in results.items()}
    peak = {name: statistics.median(item["peak"] for item in items) for name, items in results.items()}
    print(f"\nthroughput, ours / Trainer with its defaults: {rate['ours'] / rate['trainer']:.2f} (floor 1.3)")
    print(f"peak memory, ours / Trainer:                  {peak['ours'] / peak['trainer']:.2f} (ceiling 1.05)")


if __name__ == "__main__":
    main()
