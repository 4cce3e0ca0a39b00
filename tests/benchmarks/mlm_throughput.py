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
import tempfile
import time
from pathlib import Path
from typing import Any

from contest import (
    Outcome,
    hold,
    medians,
    parse_arguments,
    peak_memory,
    read_json_lines,
    trainer_arguments,
    write_json_lines,
)

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
        write_json_lines(folder / f"{name}.jsonl", [{"text": line} for line in part])


def run_ours(folder: Path, args: argparse.Namespace) -> Outcome:
    """In this process; the time is from the first step's beginning to the finished model."""
    from lmstudio_app.events import Finished, Status
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.training.loop import TrainRequest, train
    from lmstudio_app.training.recipe import Recipe

    training = {"epochs": 1, "batch_size": BATCH, "max_length": LENGTH, "learning_rate": 1e-4, "seed": SEED}
    data = {"train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl")}
    recipe = Recipe.from_dict({"task": "masked_lm", "model": args.model, "data": data, "training": training})
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
    rows = len(read_json_lines(folder / "train.jsonl"))
    return {
        "rate": rows / (times["ended"] - times["begun"]),
        "steps_alone": float(found["examples_per_second"]),
        "loss": float(found["metrics"]["loss"]),
    }


def run_trainer(folder: Path, args: argparse.Namespace) -> Outcome:
    """In this process."""
    import transformers
    from datasets import Dataset

    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.references import resolve

    transformers.set_seed(SEED)
    model_folder = str(resolve(args.model, JobContext()))
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(model_folder)

    def load(name: str) -> Dataset:
        rows = [row["text"] for row in read_json_lines(folder / f"{name}.jsonl")]
        return Dataset.from_dict(dict(tokenizer(rows, truncation=True, max_length=LENGTH)))

    with tempfile.TemporaryDirectory() as output:
        arguments = transformers.TrainingArguments(**trainer_arguments(output, BATCH, 1e-4, SEED))
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=load("train"),
            eval_dataset=load("eval"),
            data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
            processing_class=tokenizer,
        )
        result = trainer.train()
        memory = peak_memory()  # its evaluation is not part of what is compared
        loss = trainer.evaluate()["eval_loss"]
    rate = float(result.metrics["train_samples_per_second"])
    return {"rate": rate, "steps_alone": rate, "loss": float(loss), "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter:encoder", metavar="REF")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--eval-rows", type=int, default=64)
    args = parse_arguments(parser)

    def prepare(folder: Path) -> None:
        write_documents(folder, args.model, args.rows, args.eval_rows)

    results = hold({"ours": run_ours, "trainer": run_trainer}, prepare, args, _describe)
    ours, trainer = (medians(results)[name] for name in ("ours", "trainer"))
    print(f"\nthroughput, ours / Trainer with its defaults: {ours['rate'] / trainer['rate']:.2f} (floor 1.3)")
    print(f"peak memory, ours / Trainer:                  {ours['memory'] / trainer['memory']:.2f} (ceiling 1.05)")


def _describe(outcome: Outcome) -> str:
    return (
        f"{outcome['rate']:7.1f} examples/s  (steps alone {outcome['steps_alone']:.1f})  loss {outcome['loss']:.3f}  "
        f"peak {outcome['memory']:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
