"""Tokens that come one by one as text: whole characters only, and no further than a text that ends the reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmstudio_app.tasks.streaming import token_text

BROKEN = "\ufffd"  # what decoders put in the place of bytes that are no character
_LONGEST_CHARACTER = 4  # bytes of a character in UTF-8, so tokens that it is made of at most


class Detokenizer:
    """What each token adds to ``tokenizer.decode`` of all so far, special tokens left out.

    The text of a token can depend on the one before it (the space that a word begins with), and a character can be
    made of several tokens: what was told last is decoded again together with what is new, and nothing is told while
    the end may be part of a character. Bytes that never become one are left out. ``before``: tokens that were there
    already.
    """

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = list(before)
        self._before = 0  # where the tokens begin that were told last
        self._told = len(self._ids)

    def add(self, token_id: int) -> str:
        """The text that this token makes known."""
        self._ids.append(token_id)
        known, text = self._decode(self._before, self._told), self._decode(self._before)
        if not text.endswith(BROKEN):
            return self._tell(text[len(known) :], len(self._ids))
        if len(self._ids) - self._told <= _LONGEST_CHARACTER:
            return ""
        # the oldest of so many can belong to no character that is still coming
        oldest = self._decode(self._before, self._told + 1)[len(known) :]
        oldest = self._tell(oldest, self._told + 1)
        self._before = self._told
        return oldest

    def _tell(self, text: str, end: int) -> str:
        self._before, self._told = self._told, end
        return text.replace(BROKEN, "")

    def finish(self) -> str:
        """What is still untold when no token follows, without the beginning of a character that never ended."""
        known, text = self._decode(self._before, self._told), self._decode(self._before)
        return self._tell(text[len(known) :], len(self._ids))

    def _decode(self, begin: int, end: int | None = None) -> str:
        return str(self._tokenizer.decode(self._ids[begin:end], skip_special_tokens=True))


class StopTexts:
    """Holds back what may be the beginning of a text that ends the reply. ``reached`` once there is one."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text for text in texts if text]
        self._held = ""
        self.reached = False

    def add(self, text: str) -> str:
        """What of the text, and of what was held back, can be told."""
        if not self._texts:
            return text
        self._held += text
        found = [place for stop in self._texts if (place := self._held.find(stop)) >= 0]
        if found:
            self.reached = True
            told, self._held = self._held[: min(found)], ""
            return told
        keep = max(self._beginning_at_end(stop) for stop in self._texts)
        told, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return told

    def _beginning_at_end(self, stop: str) -> int:
        """Characters at the end of what is held that ``stop`` may begin with."""
        longest = min(len(stop) - 1, len(self._held))
        return next((length for length in range(longest, 0, -1) if self._held.endswith(stop[:length])), 0)

    def finish(self) -> str:
        told, self._held = self._held, ""
        return told


class ReplyText:
    """Both together: token ids in, text to tell out."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = (), before: Sequence[int] = ()) -> None:
        self._detokenizer = Detokenizer(tokenizer, before)
        self._stop = StopTexts(stop)

    @property
    def reached_stop(self) -> bool:
        return self._stop.reached

    def add(self, token_id: int) -> str:
        return self._stop.add(self._detokenizer.add(token_id))

    def finish(self) -> str:
        """What was held back, when no token follows; empty after a stop text."""
        if self._stop.reached:
            return ""
        told = self._stop.add(self._detokenizer.finish())
        return told if self._stop.reached else told + self._stop.finish()


class TokenNames:
    """:func:`lmstudio_app.tasks.streaming.token_text`, remembered: the same candidates come again and again."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}

    def __getitem__(self, token_id: int) -> str:
        name = self._known.get(token_id)
        if name is None:
            name = self._known[token_id] = token_text(self._tokenizer, token_id)
        return name
