"""What a job can say: frozen dataclasses that survive a trip through one line of JSON.

Floats are written as their shortest exact decimal, so they read back to the same bits; the three that JSON has no
word for are written as the strings ``"nan"``, ``"inf"`` and ``"-inf"``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time as _time
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Event:
    kind: ClassVar[str]
    time: float = field(default_factory=_time.time)  # seconds since the epoch


@dataclass(frozen=True, kw_only=True)
class Status(Event):
    """A sentence about what happens now: a template and what fills it, so that it can be translated."""

    kind: ClassVar[str] = "status"
    template: str
    parameters: dict[str, Any] = field(default_factory=dict)
    warning: bool = False

    @property
    def message(self) -> str:
        return self.template.format(**self.parameters)


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """``done`` of ``total`` (None: unknown) in ``unit``; ``rate`` in units a second; ``eta`` in seconds."""

    kind: ClassVar[str] = "progress"
    done: float
    total: float | None = None
    unit: str = ""
    rate: float | None = None
    eta: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepLogged(Event):
    """The means since the previous such event; ``memory`` is the process's (or the GPU's) in bytes."""

    kind: ClassVar[str] = "step"
    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float
    examples_per_second: float
    memory: int = 0
    eta: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """``metrics`` always has ``loss``; ``details`` may carry a confusion matrix or worst examples."""

    kind: ClassVar[str] = "evaluated"
    step: int
    epoch: float
    metrics: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(Event):
    kind: ClassVar[str] = "checkpoint"
    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class AttentionProbed(Event):
    """What the model looks at in the watched sentence after ``step`` steps is in ``file``: a frame of the run."""

    kind: ClassVar[str] = "attention"
    step: int
    file: str


@dataclass(frozen=True, kw_only=True)
class TextChunk(Event):
    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, kw_only=True)
class RowPredicted(Event):
    """What a model made of one row of a file: ``number`` counts from 0."""

    kind: ClassVar[str] = "row"
    number: int
    inputs: dict[str, Any]
    output: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """One training of a sweep: what was set (recipe keys), what it came to (None: it failed), and its run folder."""

    kind: ClassVar[str] = "trial"
    number: int  # from 0
    total: int
    parameters: dict[str, Any]
    value: float | None
    state: str
    run_folder: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """``state`` is ``finished`` (to the end), ``stopped`` (stop and save) or ``interrupted`` (resumable)."""

    kind: ClassVar[str] = "finished"
    state: str = "finished"
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    kind: ClassVar[str] = "failed"
    message: str
    remedy: str = ""
    details: str = ""


EVENT_TYPES: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        Status,
        Progress,
        StepLogged,
        Evaluated,
        CheckpointSaved,
        AttentionProbed,
        TextChunk,
        RowPredicted,
        TrialEnded,
        Finished,
        Failed,
    )
}

_SURROGATES = re.compile("[\ud800-\udfff]")
_TO_WORD = {math.inf: "inf", -math.inf: "-inf"}
_FROM_WORD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _encode(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return _TO_WORD.get(value, "nan")
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def to_json(event: Event) -> str:
    """One line of JSON: ``{"event": kind, "time": …, …}``."""
    fields = {item.name: getattr(event, item.name) for item in dataclasses.fields(event)}
    line = {"event": event.kind, "time": fields.pop("time"), **fields}
    encoded = _encode(line)
    text = json.dumps(encoded, ensure_ascii=False, allow_nan=False)
    if _SURROGATES.search(text):  # half a character, from a file's name for example: UTF-8 cannot write it
        text = json.dumps(encoded, allow_nan=False)
    return text


def from_json(line: str) -> Event:
    """The event that :func:`to_json` wrote. Unknown fields of a newer version are dropped.

    Raises ``ValueError`` for a line that is no event.
    """
    data = json.loads(line)
    cls = EVENT_TYPES.get(str(data.get("event"))) if isinstance(data, dict) else None
    if cls is None:
        raise ValueError(f"not an event: {line[:80]!r}")
    known = {item.name: item for item in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name not in known:
            continue
        is_float = "float" in str(known[name].type)
        if is_float and isinstance(value, str):
            value = _FROM_WORD.get(value, value)
        elif is_float and isinstance(value, dict):
            value = {key: _FROM_WORD.get(item, item) if isinstance(item, str) else item for key, item in value.items()}
        values[name] = value
    try:
        return cls(**values)
    except TypeError as error:  # a field is missing
        raise ValueError(f"not an event: {error}") from None
