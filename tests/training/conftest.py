"""A small separable data set and a recipe for it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.training.recipe import Recipe

GOOD, BAD = ("great", "wonderful", "excellent", "loved", "best"), ("awful", "terrible", "boring", "hated", "worst")


def write_reviews(path: Path, count: int, seed: int) -> Path:
    generator = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            words = GOOD if number % 2 else BAD
            filler = " ".join(
                generator.choices(("the film", "a story", "it was", "very", "and", "movie"), k=number % 7)
            )
            text = f"{filler} {generator.choice(words)} {number}"
            file.write(json.dumps({"text": text, "label": number % 2}) + "\n")
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> dict[str, Path]:
    return {
        "train": write_reviews(tmp_path / "train.jsonl", 96, 1),
        "eval": write_reviews(tmp_path / "eval.jsonl", 40, 2),
    }


@pytest.fixture
def make_recipe(tiny_encoder: Path, reviews: dict[str, Path]) -> Callable[..., Recipe]:
    """``make_recipe(strategy="full", epochs=2, …)``: a recipe for the tiny encoder on the reviews."""

    def _make(strategy: str = "full", **training: Any) -> Recipe:
        options = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "log_every": 1, "device": "cpu", **training}
        return Recipe.from_dict(
            {
                "task": "sentiment",
                "model": str(tiny_encoder),
                "data": {"train": str(reviews["train"]), "eval": str(reviews["eval"])},
                "strategy": {"name": strategy},
                "training": options,
            }
        )

    return _make
