"""Summaries by an engine that streams replies, one after the other: llama.cpp is several times as fast as torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.instructed_writing import LOOK, SENTENCE_END, Written
from lmstudio_app.tasks.replying import ReplyOptions

if TYPE_CHECKING:
    from lmstudio_app.tasks.summary_writers import Done, InstructedWriter, Request, Watch

_TAIL = 40  # characters that hold the end of a sentence


class Talker(Protocol):
    """What streams a reply, a token at a time; such as the chat engines."""

    @property
    def context_length(self) -> int:
        """Tokens of prompt and reply together."""

    def reply(
        self, messages: Sequence[Mapping[str, str]], options: ReplyOptions, ctx: JobContext, *, candidates: int
    ) -> Any:
        """A generator of pieces, each with its ``text``; a stop or closing it ends them, a cancel raises."""


class TalkingWriter:
    """A :class:`lmstudio_app.tasks.summary_writers.Writer`; ``plan`` says what is asked and how much fits.

    It knows neither a least number of tokens nor forbidden repeats.
    """

    def __init__(self, plan: InstructedWriter, talker: Talker) -> None:
        self._plan, self._talker = plan, talker
        self.window = plan.window

    def count(self, texts: Sequence[str]) -> list[int]:
        return self._plan.count(texts)

    def write(self, requests: Sequence[Request], ctx: JobContext, watch: Watch, done: Done) -> list[Written]:
        from lmstudio_app.tasks.summary_writers import tidy

        found = [Written("", 0, ended=False)] * len(requests)
        for number, request in enumerate(requests):
            ctx.check()
            if self._plan.ends_early and ctx.stopping:
                break
            raw = self._write(number, request, ctx, watch)
            found[number] = Written(tidy(raw.text, whole=raw.ended), raw.tokens, raw.ended)
            if not found[number].text and not ctx.stopping:
                # it ended at once, and what it was to read would be lost; torch can make it write
                (found[number],) = self._plan.write([request], ctx, lambda _, text: None, lambda _, text: None)
            if found[number].text or not ctx.stopping:
                done(number, found[number])
        return found

    def _write(self, number: int, request: Request, ctx: JobContext, watch: Watch) -> Written:
        from lmstudio_app.tasks.summary_writers import tidy

        manner, target = self._plan.manner, request.target
        options = ReplyOptions(
            max_new_tokens=target.max_tokens,
            temperature=manner.temperature,
            top_k=manner.top_k,
            top_p=manner.top_p,
            repetition_penalty=manner.repetition_penalty,
            seed=manner.seed,
        )
        text, tokens, last = "", 0, time.monotonic()
        messages = self._plan.messages(request.text, target)
        with contextlib.closing(self._talker.reply(messages, options, ctx, candidates=0)) as pieces:
            for piece in pieces:
                text += piece.text
                tokens += 1
                if time.monotonic() - last >= LOOK:
                    last = time.monotonic()
                    watch(number, tidy(text, whole=True))
                if tokens >= target.aim_tokens and SENTENCE_END.search(text[-_TAIL:]):
                    return Written(text, tokens, ended=True)
        return Written(text, tokens, ended=tokens < target.max_tokens and not ctx.stopping)
