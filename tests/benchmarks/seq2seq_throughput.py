"""Translation training against ``transformers.Seq2SeqTrainer``, on the same pairs and the same model, in one run.

    python tests/benchmarks/seq2seq_throughput.py --data PAIRS.tsv [--rows 2000] [--repeats 3]

``PAIRS.tsv`` holds a source and its target a line, with a tab between them. Two contenders train the same Marian of 8.7
million random weights (as in ``resources/recipes``, with a vocabulary of 12,000) for one epoch, batch 32, at most 128
tokens, each in a process of its own and in turn, so that a slow minute of the machine hits both:

* ``ours``: ``lmstudio-app train``, its curves and its checkpoint written to the run folder, loss and written samples
  measured on the evaluation rows;
* ``trainer``: ``transformers.Seq2SeqTrainer`` with its defaults, without any evaluation or checkpoint.

Printed are examples a second (the median over the repeats) for the steps alone and, for ours, with the evaluation and
the checkpoint in the time; the loss on pairs that were not trained on; the largest memory of each process; the ratios.
Reading data, tokenizing and loading are not counted for any.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

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

BATCH, LENGTH, SEED, LEARNING_RATE = 32, 128, 42, 1e-3


def prepare(folder: Path, data: Path, rows: int, eval_rows: int) -> None:
    """Write the pairs and the model that both contenders begin with."""
    import random

    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.architectures import ArchitectureConfig, TokenizerConfig, create_model
    from lmstudio_app.models.tokenizers import train_tokenizer

    lines = [line.split("\t")[:2] for line in data.read_text(encoding="utf-8").split("\n") if "\t" in line]
    random.Random(SEED).shuffle(lines)
    for name, part in (("eval", lines[:eval_rows]), ("train", lines[eval_rows : eval_rows + rows])):
        write_json_lines(folder / f"{name}.jsonl", [{"source": a, "target": b} for a, b in part])
    tokenizer_config = TokenizerConfig(kind="unigram", vocabulary=12_000)
    config = ArchitectureConfig(
        family="marian", layers=3, hidden_size=256, feed_forward=1024, dropout=0.1, tokenizer=tokenizer_config
    )
    texts = (text for pair in lines for text in pair)
    tokenizer = train_tokenizer(tokenizer_config, texts, JobContext(), family="marian")
    model = create_model(config, "seq2seq-lm", tokenizer, seed=SEED)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def run_ours(folder: Path, args: argparse.Namespace) -> Outcome:
    """In this process; called in a process of its own."""
    from lmstudio_app.events import CheckpointSaved, Evaluated, Event, Finished, Status
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.training.loop import TrainRequest, train
    from lmstudio_app.training.recipe import Recipe

    recipe = {
        "task": "translation",
        "model": str(folder / "model"),
        "data": {"train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl"), "deduplicate": False},
        "training": {
            "epochs": 1, "batch_size": BATCH, "max_length": LENGTH, "learning_rate": LEARNING_RATE, "seed": SEED,
        },
    }  # fmt: skip
    begun, ended, result = 0.0, 0.0, {}

    def _emit(event: Event) -> None:
        nonlocal begun, ended, result
        if isinstance(event, Status) and event.template.startswith("{count} parameters train"):
            begun = begun or time.perf_counter()
        if isinstance(event, Evaluated | CheckpointSaved):
            ended = time.perf_counter()
        if isinstance(event, Finished):
            result = event.result

    with tempfile.TemporaryDirectory() as run:
        train(TrainRequest(Recipe.from_dict(recipe), Path(run) / "run"), JobContext(_emit))
    rows = len(read_json_lines(folder / "train.jsonl"))
    return {
        "steps": result["examples_per_second"],
        "all": rows / (ended - begun),
        "loss": result["metrics"]["loss"],
    }


def run_trainer(folder: Path, args: argparse.Namespace) -> Outcome:
    """In this process; called in a process of its own."""
    import transformers
    from datasets import Dataset

    transformers.set_seed(SEED)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder / "model")

    def load(name: str) -> Dataset:
        rows = read_json_lines(folder / f"{name}.jsonl")
        return Dataset.from_dict(
            dict(
                tokenizer(
                    [row["source"] for row in rows],
                    text_target=[row["target"] for row in rows],
                    truncation=True,
                    max_length=LENGTH,
                )
            )
        )

    with tempfile.TemporaryDirectory() as output:
        arguments = transformers.Seq2SeqTrainingArguments(
            **trainer_arguments(output, BATCH, LEARNING_RATE, SEED, warmup_steps=0.1, weight_decay=0.01)
        )
        trainer = transformers.Seq2SeqTrainer(
            model=model,
            args=arguments,
            train_dataset=load("train"),
            eval_dataset=load("eval"),
            data_collator=transformers.DataCollatorForSeq2Seq(tokenizer, model),
            processing_class=tokenizer,
        )
        result = trainer.train()
        memory = peak_memory()  # its evaluation is not part of what is compared
        loss = trainer.evaluate()["eval_loss"]
    rate = float(result.metrics["train_samples_per_second"])
    return {"steps": rate, "all": rate, "loss": loss, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="source TAB target a line, no header")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--eval-rows", type=int, default=200)
    args = parse_arguments(parser)
    with tempfile.TemporaryDirectory() as home:
        results = hold(
            {"ours": run_ours, "trainer": run_trainer},
            lambda folder: prepare(folder, args.data, args.rows, args.eval_rows),
            args,
            _describe,
            {"LMSTUDIO_APP_HOME": home},
        )
    middle = medians(results)
    ours, trainer = middle["ours"], middle["trainer"]
    print(f"\n{'':10}{'examples/s':>12}{'in all':>10}{'loss':>8}{'MiB':>8}")
    for name, row in middle.items():
        print(f"{name:10}{row['steps']:12.1f}{row['all']:10.1f}{row['loss']:8.3f}{row['memory']:8.0f}")
    print(f"\nours / Trainer, steps alone:                                {ours['steps'] / trainer['steps']:.2f}")
    print(f"ours with evaluation and checkpoint / Trainer without:      {ours['all'] / trainer['all']:.2f} (floor 1.3)")
    print(f"peak memory, ours / Trainer:                                {ours['memory'] / trainer['memory']:.2f} "
          "(at most 1.05)")  # fmt: skip


def _describe(outcome: Outcome) -> str:
    return (
        f"{outcome['steps']:7.1f} examples/s in the steps, {outcome['all']:.1f} in all  loss {outcome['loss']:.3f}  "
        f"{outcome['memory']:.0f} MiB"
    )


if __name__ == "__main__":
    main()
