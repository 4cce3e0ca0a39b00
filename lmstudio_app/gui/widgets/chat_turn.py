"""What the transcript shows of one message, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QCoreApplication

from lmstudio_app.gui.text import number_text

WRITING, WHOLE, STOPPED, CUT, FAILED = "writing", "whole", "stopped", "cut", "failed"


@dataclass(frozen=True, eq=False)
class Turn:
    """``key`` names the message for whoever keeps it. ``branch``: its number among its siblings (from 1), of how many.

    ``state``: being written, whole, stopped by the reader, cut off at the longest reply, or failed (``problem`` says
    why). ``seconds`` is the time from the question to the end of the reply, ``first`` that to its first token;
    ``tokens`` counts those of the reply. ``pieces`` are its tokens with their probabilities, where they were kept.
    ``left_out``: the model no longer sees it.
    """

    key: Any
    role: str
    text: str
    state: str = WHOLE
    model: str = ""
    branch: tuple[int, int] = (1, 1)
    tokens: int = 0
    seconds: float = 0.0
    first: float | None = None
    problem: str = ""
    pieces: Sequence[Any] = ()
    left_out: bool = False

    @property
    def is_reply(self) -> bool:
        return self.role == "assistant"


def speed_text(turn: Turn) -> str:
    """How fast a reply was: its time, the wait for its first token, and tokens a second; empty when it is not known."""
    if not turn.tokens or turn.seconds <= 0:
        return ""
    writing = turn.seconds - (turn.first or 0.0)
    rate = (turn.tokens - 1) / writing if turn.first is not None and turn.tokens > 1 and writing > 0 else 0.0
    rate = rate or turn.tokens / turn.seconds
    shown = number_text(rate, 0 if rate >= 100 else 1)
    if turn.first is None:
        text = QCoreApplication.translate("chat", "{tokens} tokens in {seconds} s, {rate} tokens/s")
    else:
        text = QCoreApplication.translate(
            "chat", "{tokens} tokens in {seconds} s, {rate} tokens/s, first token after {first} s"
        )
    return text.format(
        tokens=number_text(turn.tokens),
        seconds=number_text(turn.seconds, 1),
        rate=shown,
        first=number_text(turn.first or 0.0, 2),
    )


def state_text(turn: Turn) -> str:
    """How a reply ended, where it did not end by itself."""
    return {
        STOPPED: QCoreApplication.translate("chat", "Stopped"),
        CUT: QCoreApplication.translate("chat", "Cut off at the longest reply"),
    }.get(turn.state, "")
