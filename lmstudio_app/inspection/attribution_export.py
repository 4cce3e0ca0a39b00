"""Attributions and lenses as files: JSON with everything, or a table for a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_path
from lmstudio_app.inspection.attribution import Attribution
from lmstudio_app.inspection.logit_lens import Lens

FORMATS = (".json", ".csv")


def check_format(path: Path) -> None:
    """Raises :class:`UserError` for a suffix that is not one of :data:`FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(
            "{name} is no kind of file that can be written here.",
            "End the name in one of: {formats}.",
            name=path.name,
            formats=", ".join(FORMATS),
        )


def save_attribution(found: Attribution, path: Path) -> None:
    """As JSON, or a row a token: ``token``, ``text``, ``special`` and a column a method."""
    rows = (
        [
            index,
            found.tokens.tokens[index],
            int(found.tokens.special[index]),
            *(s[index] for s in found.scores.values()),
        ]
        for index in range(len(found.tokens))
    )
    _save(path, found.to_row(), ("position", "token", "special", *found.scores), rows)


def save_lens(found: Lens, path: Path) -> None:
    """As JSON, or a row for each of the likeliest answers: layer 0 is the embeddings; ``answer`` is the model's own."""
    rows = (
        [
            row, place, found.tokens.tokens[place], rank, text, share, found.names[int(found.answers[place])],
            found.answer_probabilities[row, place], found.answer_ranks[row, place],
        ]
        for row in range(len(found.ids))
        for place in range(len(found.tokens))
        for rank, (text, share) in enumerate(found.top(row, place), start=1)
    )  # fmt: skip
    names = (
        "layer", "position", "token", "rank", "text", "probability", "answer", "answer_probability", "answer_rank",
    )  # fmt: skip
    _save(path, found.to_row(), names, rows)


def _save(path: Path, values: dict[str, Any], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".json":
            json.dump(values, file, ensure_ascii=False, indent=1)
            file.write("\n")
        else:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(rows)
