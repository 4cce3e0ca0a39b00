"""Measure the starter models on data that the app does not carry; the cards hold what it writes.

    .venv/bin/python packaging/measure_starter.py sentiment MODEL --train train.tsv --eval dev.tsv
    .venv/bin/python packaging/measure_starter.py translate MODEL PAIRS.jsonl
    .venv/bin/python packaging/measure_starter.py qa READER QUESTIONS.json [READER QUESTIONS.json …]

MODEL and READER are references: a run's ``final`` folder, or a name of the catalogue. Of several readers, each is asked
its own questions (the folds of a cross-validation), and all answers are judged together. With ``--output
packaging/starter_models/NAME.json`` the tables of the model's card are written; standard output gets them in any case.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks import find_prediction
from lmstudio_app.tasks.answer_search import predict_answers
from lmstudio_app.tasks.squad_metrics import exact_match, token_f1

_RESAMPLES = 2_000
_PERCENT = "{:.1%}"
_HOW = "in float32, after all choices were made; 95 % of 2,000 resamples lie in the interval."
_WORDS = {  # of the cards: what was measured, how, and the heads of the columns
    "sentiment": (
        "Accuracy on the evaluation part of SST-2.",
        f"Measured by `measure_starter.py sentiment starter:sentiment --train train.tsv --eval dev.tsv` {_HOW}",
        ["sentences", "count", "accuracy", "95 % interval"],
    ),
    "translate": (
        "BLEU and chrF on sentences that it has not seen, out of English.",
        "Measured by `measure_starter.py translate starter:translate pairs.jsonl` with beam 4, by sacrebleu (for "
        "Chinese with its tokenizer zh): captions of Multi30k's validation set for German and French, sentences of "
        "Tatoeba for Chinese.",
        ["into", "sentences", "BLEU", "chrF"],
    ),
    "qa": (
        "Answers to questions on six articles that it has not seen.",
        f"Measured by `measure_starter.py qa starter:qa test.json` {_HOW} They are counted as SQuAD does.",
        ["figure", "questions", "mean", "95 % interval"],
    ),
}


def load(reference: str) -> LoadedModel:
    return load_model(LoadRequest(reference, device="cpu", precision="float32"), JobContext())


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the means of samples drawn from these values with replacement (Efron 1979)."""
    rng = random.Random(0)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(_RESAMPLES))
    return means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES)]


def summary(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": sum(values) / len(values), "interval": interval(values), "count": len(values)}


def read_sentences(path: Path) -> list[tuple[str, str]]:
    """Sentences of an SST-2 file and their labels, with single spaces."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        return [(" ".join(text.split()), ("negative", "positive")[int(label)]) for text, label in rows]


def measure_sentiment(model: LoadedModel, train: Path, evaluation: Path) -> dict[str, Any]:
    """Accuracy on all sentences, on those that no training text is, and on those that are in no training text."""
    seen = {text for text, _ in read_sentences(train)}
    everything = "\n".join(seen)
    rows = read_sentences(evaluation)
    prediction = find_prediction("sentiment")
    outputs = prediction.predict(model, [{"text": text} for text, _ in rows], JobContext(), prediction.options())
    correct = [float(output.label == label) for output, (_, label) in zip(outputs, rows, strict=True)]
    groups = {
        "all": correct,
        "those that are no training text": [
            hit for hit, (text, _) in zip(correct, rows, strict=True) if text not in seen
        ],
        "those that are in no training text, not even as a part of it": [
            hit for hit, (text, _) in zip(correct, rows, strict=True) if text not in everything
        ],
    }
    return {name: summary(hits) for name, hits in groups.items()}


def read_questions(path: Path) -> list[dict[str, Any]]:
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        {"question": item["question"], "context": paragraph["context"], "gold": [a["text"] for a in item["answers"]]}
        for article in articles
        for paragraph in article["paragraphs"]
        for item in paragraph["qas"]
    ]


def measure_reader(pairs: Sequence[tuple[str, Path]]) -> dict[str, Any]:
    """Token F1 and exact match (Rajpurkar et al. 2016) of the best span, over all questions together."""
    f1: list[float] = []
    exact: list[float] = []
    for reference, path in pairs:
        reader, rows = load(reference), read_questions(path)
        for answer, row in zip(predict_answers(reader, rows, JobContext()), rows, strict=True):
            f1.append(token_f1(answer.answer, row["gold"]))
            exact.append(exact_match(answer.answer, row["gold"]))
    return {"token F1": summary(f1), "exact match": summary(exact)}


def measure_translation(model: LoadedModel, path: Path, beams: int = 4) -> dict[str, Any]:
    """BLEU and chrF of sacrebleu by language, on rows of ``source``, ``target`` and ``language``."""
    import sacrebleu

    from lmstudio_app.tasks.text_metrics import bleu_tokenizer

    prediction = find_prediction("translation")
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found: dict[str, Any] = {}
    for language in sorted({row["language"] for row in rows}):
        chosen = [row for row in rows if row["language"] == language]
        options = prediction.options(source_language="en", target_language=language, beams=beams)
        outputs = prediction.predict(model, [{"text": row["source"]} for row in chosen], JobContext(), options)
        texts, references = [output.text for output in outputs], [row["target"] for row in chosen]
        tokenizer = bleu_tokenizer(language, references)
        bleu = sacrebleu.corpus_bleu(texts, [references], tokenize=tokenizer)
        chrf = sacrebleu.corpus_chrf(texts, [references])
        found[language] = {"bleu": bleu.score, "chrf": chrf.score, "count": len(chosen)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    sentiment = kinds.add_parser("sentiment")
    sentiment.add_argument("model")
    sentiment.add_argument("--train", type=Path, required=True)
    sentiment.add_argument("--eval", type=Path, required=True)
    translator = kinds.add_parser("translate")
    translator.add_argument("model")
    translator.add_argument("pairs", type=Path)
    reader = kinds.add_parser("qa")
    reader.add_argument("pairs", nargs="+", metavar="READER QUESTIONS.json")
    for kind in (sentiment, translator, reader):
        kind.add_argument("--output", type=Path)
    args = parser.parse_args()
    found: Mapping[str, Any]
    if args.kind == "sentiment":
        found = measure_sentiment(load(args.model), args.train, args.eval)
    elif args.kind == "translate":
        found = measure_translation(load(args.model), args.pairs)
    else:
        found = measure_reader([(args.pairs[at], Path(args.pairs[at + 1])) for at in range(0, len(args.pairs), 2)])
    text = json.dumps({"tables": [_table(args.kind, found)]}, indent=1, ensure_ascii=False) + "\n"
    print(text, end="")
    if args.output is not None:
        args.output.write_text(text, encoding="utf-8")


def _table(kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    title, note, head = _WORDS[kind]
    rows = []
    for name, value in found.items():
        if kind == "translate":
            rows.append([name, f"{value['count']:,}", f"{value['bleu']:.1f}", f"{value['chrf']:.1f}"])
            continue
        low, high = value["interval"]
        shown = [_PERCENT.format(value["mean"]), f"{_PERCENT.format(low)} to {_PERCENT.format(high)}"]
        rows.append([name, f"{value['count']:,}", *shown])
    return {"title": title, "note": note, "columns": head, "rows": rows}


if __name__ == "__main__":
    main()
