"""What became of the rows of a data set on their way to a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lmstudio_app.data.problems import Findings, Problem
from lmstudio_app.data.statistics import Duplicates

MANY_CLASSES = 100


@dataclass(frozen=True)
class DroppedRow:
    """A row whose value in ``column`` is missing or does not fit. ``line`` counts from 1, where there are lines."""

    file: str
    line: int | None
    column: str


@dataclass(frozen=True)
class Running:
    """How much running text there is."""

    train_documents: int
    eval_documents: int
    train_words: int
    eval_words: int


@dataclass(frozen=True)
class DataReport:
    """What became of the rows: ``rows`` were read, ``dropped`` had missing values or ones that do not fit, ``rejected``
    did not parse, ``removed`` were left out as duplicates, ``limited`` because fewer were asked for. ``duplicates`` and
    ``leakage`` count what remains. ``running`` is there for running text only."""

    columns: Mapping[str, str]
    rows: int
    train_rows: int
    eval_rows: int
    dropped: int = 0
    dropped_rows: tuple[DroppedRow, ...] = ()
    rejected: int = 0
    removed: int = 0
    limited: int = 0
    duplicates: int = 0
    leakage: int = 0
    train_balance: Mapping[str, int] = field(default_factory=dict)
    eval_balance: Mapping[str, int] = field(default_factory=dict)
    running: Running | None = None
    problems: tuple[Problem, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "problems": [problem.to_dict() for problem in self.problems]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataReport:
        return cls(
            **{
                **values,
                "dropped_rows": tuple(DroppedRow(**row) for row in values["dropped_rows"]),
                "running": Running(**values["running"]) if values["running"] else None,
                "problems": tuple(Problem.from_dict(problem) for problem in values["problems"]),
            }
        )


def note_duplicates(
    repeated: Duplicates, findings: Findings, *, running: bool = False, show: Callable[[str], str] = str
) -> None:
    """``show`` makes an example's text readable. Running text may repeat itself, so nothing is to be mended there."""
    if repeated.count:
        findings.add(
            "duplicates",
            "{repeated} training rows repeat an earlier text, the most frequent {repeats} times: {example}",
            fix=None if running else "deduplicate",
            severity="info",
            repeated=repeated.count,
            repeats=repeated.examples[0][1],
            example=show(repeated.examples[0][0])[:80],
        )
    if repeated.conflicting:
        findings.add(
            "conflicting",
            "{texts} texts occur with more than one label.",
            texts=repeated.conflicting,
        )


def note_leakage(leaked: int, total: int, findings: Findings, *, running: bool = False) -> None:
    if leaked:
        findings.add(
            "leakage",
            "{leaked} of {total} evaluation rows have a text that is also in the training data.",
            fix=None if running else "deduplicate",
            severity="info" if running else "warning",
            leaked=leaked,
            total=total,
        )


def note_labels(balances: Sequence[Mapping[str, int]], column: str, findings: Findings) -> None:
    train, evaluation = balances
    if len(train) == 1:
        findings.add(
            "one_class",
            "Column {column} has only one class ({label}); a model cannot learn a difference from it.",
            severity="error",
            column=column,
            label=next(iter(train)),
        )
    if len(train) > MANY_CLASSES:
        findings.add(
            "many_classes",
            "Column {column} has {classes} different values, so it may not be a label.",
            column=column,
            classes=len(train),
        )
    elif not all(label.lstrip("-").isdigit() for label in train):
        findings.add(
            "text_labels",
            "The labels are texts: {labels}. They get numbers in this order.",
            severity="info",
            labels=", ".join(sorted(train)[:10]),
        )
    unseen = sorted(set(evaluation) - set(train))
    if unseen:
        findings.add(
            "unseen_labels",
            "The evaluation data has labels that the training data lacks: {labels}.",
            labels=", ".join(unseen[:10]),
        )
