"""Replies by torch: a decoding loop with a cache of keys and values that the next turn goes on with."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lmstudio_app.chat.engine import CANDIDATES, Candidate, Piece, ReplyOptions, ReplyReport
from lmstudio_app.chat.prompts import Prompter
from lmstudio_app.chat.reading import Reader, Stopped
from lmstudio_app.chat.token_text import ReplyText, TokenNames
from lmstudio_app.chat.turns import Stopwatch, one_at_a_time
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.sampling import sampling_processor
from lmstudio_app.tasks.streaming import longest_text

if TYPE_CHECKING:
    import torch

    from lmstudio_app.models.loading import LoadedModel


class TorchEngine:
    """A :class:`lmstudio_app.chat.engine.ChatEngine` for any causal language model of transformers.

    Draws as :func:`lmstudio_app.tasks.replying.predict_replies` does for its first row. Raises :class:`UserError` for a
    model that writes no text.
    """

    name = "torch"

    def __init__(self, loaded: LoadedModel) -> None:
        if loaded.head != "causal-lm":
            raise UserError(
                "{model} does not write text, so it cannot chat.",
                "Choose a causal language model, such as Llama or GPT-2, best one trained for chats.",
                model=loaded.reference,
            )
        self._loaded = loaded
        self.reference = loaded.reference
        self.context_length = longest_text(loaded)
        self.report = ReplyReport()
        self._prompter = Prompter(
            loaded.tokenizer, loaded.reference, self.context_length, loaded.model.generation_config
        )
        self._names = TokenNames(loaded.tokenizer)
        self._reader: Reader | None = Reader(loaded.model, loaded.device)
        self._lock = threading.Lock()

    def count_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return self._prompter.count(messages)

    def close(self) -> None:
        self._reader = None

    def reply(
        self,
        messages: Sequence[Mapping[str, str]],
        options: ReplyOptions,
        ctx: JobContext,
        *,
        stop: Sequence[str] = (),
        candidates: int = CANDIDATES,
        prefix: str = "",
    ) -> Iterator[Piece]:
        import torch

        watch = Stopwatch()
        reader = self._reader
        if reader is None:
            raise UserError("This engine has been closed.", "Open it again.")
        prompt = self._prompter.prompt(messages, options, prefix)
        text = ReplyText(self._loaded.tokenizer, stop, prompt.ids[-1:] if prefix else ())
        with one_at_a_time(self._lock, ctx):
            begun = ReplyReport(len(prompt.ids), reader.reusable(prompt.ids), prompt.dropped_messages)
            ids = torch.tensor([prompt.ids + [0] * prompt.max_new_tokens], device=self._loaded.device)
            draw = sampling_processor(
                torch.ones(1, len(prompt.ids), device=self._loaded.device),
                [(options.seed, 0)],
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                repetition_penalty=options.repetition_penalty,
            )
            ending, known = "length", list(prompt.ids)
            try:
                while len(known) < len(prompt.ids) + prompt.max_new_tokens:
                    ctx.check()
                    if ctx.stopping:
                        raise Stopped
                    logits = reader.read(known, ctx)
                    with torch.inference_mode():
                        token = int(draw(ids[:, : len(known)], logits[None])[0].argmax())
                        if token in self._prompter.end_ids:
                            ending = "end"
                            break
                        ids[0, len(known)] = token
                        share, told = self._judge(logits, token, candidates)
                    known.append(token)
                    watch.count()
                    yield Piece(text.add(token), token, share, told)
                    if text.reached_stop:
                        ending = "stop text"
                        break
            except Stopped:
                ending = "stopped"
            self.report = watch.report(begun, ending)
            if rest := text.finish():
                yield Piece(rest, -1, 1.0)

    def _judge(self, logits: torch.Tensor, token: int, candidates: int) -> tuple[float, tuple[Candidate, ...]]:
        """The model's probability of a token, and the most probable ones for its place."""
        shares = logits.float().softmax(-1)
        best = shares.topk(min(candidates, len(shares)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return float(shares[token]), tuple(Candidate(self._names[index], value) for index, value in pairs)
