"""Split the bundled questions by article, to measure a reader on articles that it has not seen.

    .venv/bin/python packaging/split_questions.py FOLDER

writes ``train.json`` (18 articles) and ``test.json`` (6, drawn once by chance), and for a cross-validation within the
18 ``fold-N-train.json`` and ``fold-N-eval.json`` (12 and 6 of them, N from 0 to 2). The reader of the starter pack is
trained on the first and measured on the second; settings are compared on the folds.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUESTIONS = Path(__file__).resolve().parent.parent / "resources" / "datasets" / "xquad-en" / "xquad.en.json.gz"
TEST = (
    "Super_Bowl_50", "Martin_Luther", "Southern_California", "Steam_engine", "Apollo_program", "Ctenophora",
)  # fmt: skip
FOLDS = (
    ("Newcastle_upon_Tyne", "Geology", "Huguenot", "Computational_complexity_theory", "Normans", "Black_Death"),
    ("Nikola_Tesla", "Packet_switching", "Teacher", "Fresno,_California", "Victoria_(Australia)",
     "Victoria_and_Albert_Museum"),
    ("European_Union_law", "Amazon_rainforest", "Sky_(United_Kingdom)", "Warsaw", "1973_oil_crisis", "Oxygen"),
)  # fmt: skip


def split(folder: Path) -> dict[str, int]:
    """Write the files; returns the number of questions of each. Raises ``ValueError`` when the articles are others."""
    articles = {article["title"]: article for article in json.loads(gzip.decompress(QUESTIONS.read_bytes()))["data"]}
    train = [title for fold in FOLDS for title in fold]
    if {*train, *TEST} != set(articles):
        raise ValueError("the articles are not those of the split")
    parts: dict[str, Sequence[str]] = {"train": train, "test": TEST}
    for number, fold in enumerate(FOLDS):
        parts[f"fold-{number}-eval"] = fold
        parts[f"fold-{number}-train"] = [title for title in train if title not in fold]
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, titles in parts.items():
        chosen: list[dict[str, Any]] = [articles[title] for title in titles]
        text = json.dumps({"version": "1.1", "data": chosen}, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        counts[name] = sum(len(paragraph["qas"]) for article in chosen for paragraph in article["paragraphs"])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    for name, count in split(parser.parse_args().folder).items():
        print(f"{name}.json: {count} questions")


if __name__ == "__main__":
    main()
