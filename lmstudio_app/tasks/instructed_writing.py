"""Texts by a language model behind prompts: batched, each within limits of its own, and watched while they grow."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import sorted_batches
from lmstudio_app.errors import is_out_of_memory
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import generate_behind, interruptible
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.models.sampling import sampling_processor
from lmstudio_app.tasks.chat_templates import end_of_turn_ids

if TYPE_CHECKING:
    import torch

    from lmstudio_app.models.loading import LoadedModel

# tokens of the prompts in a batch: on a CPU one layer takes no longer with them than a stop may
_BATCH_TOKENS = {"cpu": 2048}
_GPU_BATCH_TOKENS = 32_768
LOOK = 0.1  # seconds between two looks at the texts that grow
_TAIL = 8  # tokens that hold the end of a sentence
# a full stop behind a digit or a capital may be one of a number or of initials
SENTENCE_END = re.compile(r"""(?:[^\dA-Z\s.][.]|[!?…。！？])["'”’»)\]]*\s*\Z""")


@dataclass(frozen=True)
class Ask:
    """A prompt as token ids, and how many tokens are written behind it, at least and at most.

    From ``aim_tokens`` on the text ends with the next sentence, so that it needs not be broken off at the most.
    """

    input_ids: Sequence[int]
    min_tokens: int
    max_tokens: int
    aim_tokens: int = 1_000_000_000


@dataclass(frozen=True)
class Manner:
    """How tokens are chosen. At temperature 0 the best one is taken.

    ``repetition_penalty`` (Keskar et al. 2019) and ``no_repeat_ngram`` look at what was written and not at the prompt,
    whose words a summary should use.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """A text, the tokens it took, and whether the model ended it (not the limit, and nobody who stopped it)."""

    text: str
    tokens: int
    ended: bool


def write_behind(
    loaded: LoadedModel,
    asks: Sequence[Ask],
    ctx: JobContext,
    manner: Manner,
    *,
    batch_size: int = 8,
    first_row: int = 0,
    ends_early: bool = False,
    watch: Callable[[int, str], object] | None = None,
    done: Callable[[int, Written], object] | None = None,
) -> list[Written]:
    """What the model writes behind each prompt, in the prompts' order.

    Prompts of similar length go through the model together, filled up on the left; a batch for which there is no memory
    is halved. ``watch`` is told of a row and its text so far, ten times a second at most; ``done`` of each row that is
    written. With ``ends_early`` a stop ends the texts where they are, and those not begun are empty.
    """
    import numpy as np
    import torch

    found = [Written("", 0, ended=False)] * len(asks)
    ends = end_of_turn_ids(loaded.tokenizer, loaded.model.generation_config)
    lengths = np.array([len(ask.input_ids) for ask in asks], dtype=np.int64)
    tokens = _BATCH_TOKENS.get(loaded.device.type, _GPU_BATCH_TOKENS)
    waiting = list(reversed(sorted_batches(lengths, batch_size, tokens)))
    gate = _Gate(ctx, ends_early=ends_early)
    with quiet_transformers(), torch.inference_mode(), interruptible(loaded.model, gate):
        while waiting and not (ends_early and ctx.stopping):
            ctx.check()
            rows = waiting.pop()
            batch = _Batch(loaded, [asks[row] for row in rows], ends)
            look = None if watch is None else (lambda row, text, rows=rows: watch(int(rows[row]), text))
            gate.is_reading = True
            try:
                texts = batch.write(gate, manner, [(manner.seed, first_row + int(row)) for row in rows], look)
            except _Stopped:
                break
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(rows) == 1:
                    raise
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
                continue
            for row, text in zip(rows, texts, strict=True):
                found[row] = text
                if done is not None:
                    done(int(row), text)
    return found


class _Stopped(Exception):
    """A stop came while prompts were read: of their texts there is nothing yet."""


class _Gate(JobContext):
    """Ends the reading of prompts at the next layer when a stop comes: it may take seconds."""

    def __init__(self, ctx: JobContext, *, ends_early: bool) -> None:
        super().__init__(ctx.emit, ctx.control)
        self.ends_early = ends_early
        self.is_reading = False

    def check(self) -> None:
        super().check()
        if self.is_reading and self.should_end:
            raise _Stopped

    @property
    def should_end(self) -> bool:
        return self.ends_early and self.stopping


class _Batch:
    """Prompts that go through the model together."""

    def __init__(self, loaded: LoadedModel, asks: Sequence[Ask], ends: Sequence[int]) -> None:
        self.loaded, self.asks, self.ends = loaded, asks, list(ends)
        tokenizer = loaded.tokenizer
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (self.ends or [0])[0]
        self.width = max(len(ask.input_ids) for ask in asks)
        self.sizes: dict[int, int] = {}  # tokens of the rows that ended with a sentence

    def write(
        self,
        gate: _Gate,
        manner: Manner,
        seeds: Sequence[Sequence[int]],
        look: Callable[[int, str], object] | None,
    ) -> list[Written]:
        written = generate_behind(
            self.loaded,
            [ask.input_ids for ask in self.asks],
            pad=self.pad,
            ends=self.ends,
            max_new_tokens=max(ask.max_tokens for ask in self.asks),
            processors=lambda mask: [
                self._keep_to_rules(manner),
                sampling_processor(mask, seeds, temperature=manner.temperature, top_k=manner.top_k, top_p=manner.top_p),
            ],
            stopping=self._look_on(gate, look),
        )
        return [self._read(row, tokens) for row, tokens in enumerate(written)]

    def _read(self, row: int, tokens: Sequence[int]) -> Written:
        # what follows is padding, which may be the same token as the end
        kept = tokens[: self.sizes.get(row, self.asks[row].max_tokens)]
        end = next((place for place, token in enumerate(kept) if token in self.ends), None)
        kept = kept[:end]
        text = self.loaded.tokenizer.decode(kept, skip_special_tokens=True).strip()
        return Written(text, len(kept), ended=end is not None or row in self.sizes)

    def _keep_to_rules(self, manner: Manner) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """A logits processor: no end too early, no run of tokens twice, what was written less probable."""
        import torch

        fewest = torch.tensor([ask.min_tokens for ask in self.asks], device=self.loaded.device)

        def _process(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            scores = scores.float().clone()
            written = input_ids[:, self.width :]
            count = written.shape[1]
            if manner.repetition_penalty != 1.0 and count:
                seen = scores.gather(1, written)
                penalty = manner.repetition_penalty
                scores.scatter_(1, written, torch.where(seen < 0, seen * penalty, seen / penalty))
            size = manner.no_repeat_ngram
            if size and count >= size:
                for row, tokens in enumerate(written.tolist()):
                    if banned := repeats(tokens, size):
                        scores[row, banned] = -torch.inf
            if self.ends:
                scores[:, self.ends] = scores[:, self.ends].masked_fill((fewest > count)[:, None], -torch.inf)
            return scores

        return _process

    def _look_on(self, gate: _Gate, look: Callable[[int, str], object] | None) -> Callable[..., torch.Tensor]:
        """A stopping criterion: a text ends at its own limit, or when all are stopped."""
        import torch

        most = torch.tensor([ask.max_tokens for ask in self.asks], device=self.loaded.device)
        aim = torch.tensor([ask.aim_tokens for ask in self.asks], device=self.loaded.device)
        last = time.monotonic()

        def _ask(input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            nonlocal last
            gate.is_reading = False
            gate.check()
            if look is not None and time.monotonic() - last >= LOOK:
                last = time.monotonic()
                for row, tokens in enumerate(input_ids[:, self.width :].tolist()):
                    look(row, self._read(row, tokens).text)
            count = input_ids.shape[1] - self.width
            ended = (most <= count) | gate.should_end
            for row in (aim <= count).nonzero().flatten().tolist():
                ended[row] |= self._ends_sentence(row, input_ids[row, self.width :].tolist())
            return ended

        return _ask

    def _ends_sentence(self, row: int, tokens: Sequence[int]) -> bool:
        """Has a row that is long enough come to the end of a sentence? Then it is over."""
        if row in self.sizes:
            return True
        tail = self.loaded.tokenizer.decode(tokens[-_TAIL:], skip_special_tokens=True)
        if any(token in self.ends for token in tokens) or not SENTENCE_END.search(tail):
            return False
        self.sizes[row] = len(tokens)
        return True


def repeats(tokens: Sequence[int], size: int) -> list[int]:
    """The tokens that would make a run of ``size`` tokens occur once more (Paulus et al. 2018)."""
    behind = tuple(tokens[len(tokens) - size + 1 :])
    places = range(len(tokens) - size + 1)
    return [tokens[place + size - 1] for place in places if tuple(tokens[place : place + size - 1]) == behind]
