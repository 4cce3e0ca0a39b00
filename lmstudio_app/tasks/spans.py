"""Questions and texts as windows that a model can read, and spans of the text out of what it says about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.errors import UserError
from lmstudio_app.tasks.task import Setup

if TYPE_CHECKING:
    import numpy as np
    import torch

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_ROWS = 32  # tokenised at once: a tokenizer answers in Python lists, which take ten times the memory
_HALVES = re.compile("[\ud800-\udfff]")
_LEAST_CONTEXT = 8  # tokens of the context that a window holds at least


@dataclass(frozen=True)
class Window:
    """A question and a part of its context.

    It is the ``number``-th window of ``row``. ``input_ids`` int32 ``[tokens]``; the tokens from ``first`` on, ``size``
    of them, are of the context. ``offsets`` int32 ``[size, 2]``: where each of these begins and ends, in characters of
    the context. ``second`` is where the token types change from 0 to 1 (the number of tokens: nowhere). ``nowhere`` is
    the position that stands for "not in here": that of [CLS], or the first.
    """

    row: int
    number: int
    input_ids: np.ndarray
    second: int
    first: int
    size: int
    nowhere: int
    offsets: np.ndarray

    def positions(self, start: int, end: int) -> tuple[int, int]:
        """First and last token of ``context[start:end]``; ``nowhere`` twice when it is not all within the window."""
        import numpy as np

        offsets = self.offsets
        if start < end and self.size and offsets[0, 0] <= start and end <= offsets[-1, 1]:
            begin = int(np.searchsorted(offsets[:, 1], start, "right"))
            last = int(np.searchsorted(offsets[:, 0], end, "left")) - 1
            if begin <= last:
                return self.first + begin, self.first + last
        return self.nowhere, self.nowhere


@dataclass(frozen=True)
class WindowSize:
    """In tokens: of a window, of what neighbours share, of a question."""

    max_length: int
    stride: int = 64
    max_question_length: int = 64


def require_fast(tokenizer: Any, name: str) -> None:
    """Raises :class:`UserError` for a tokenizer that does not know where in the text its tokens stand."""
    if not tokenizer.is_fast:
        raise UserError(
            "The tokenizer of {name} cannot tell where in a text its tokens stand, so no answer can be marked.",
            "Choose a model with a fast tokenizer (one with a file tokenizer.json).",
            name=name,
        )


def read_windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], size: WindowSize
) -> Iterator[Window]:
    """The windows of every row, in order. ``row`` counts the rows given.

    A question is cut to ``max_question_length``, and to half of the window. A neighbouring window repeats ``stride``
    tokens of the context, half of its part of the window at most. Raises :class:`UserError` when a window is too short
    for anything.
    """
    room = size.max_length - tokenizer.num_special_tokens_to_add(pair=True)
    if room < 2 * _LEAST_CONTEXT:
        raise UserError(
            "{length} tokens are not enough for a question and a part of its text.",
            "Raise the maximal length to 64 or more.",
            length=size.max_length,
        )
    longest = min(size.max_question_length, room // 2)
    for begin in range(0, len(questions), _ROWS):
        cut = [_cut(tokenizer, question, longest) for question in questions[begin : begin + _ROWS]]
        widest = max(tokens for _, tokens in cut)
        encoded = tokenizer(
            [question for question, _ in cut],
            [_whole_characters(context) for context in contexts[begin : begin + _ROWS]],
            truncation="only_second",
            max_length=size.max_length,
            stride=min(size.stride, (room - widest) // 2),
            return_overflowing_tokens=True,
            return_attention_mask=False,
        )
        row = number = -1
        for part, encoding in zip(encoded["overflow_to_sample_mapping"], encoded.encodings, strict=True):
            row, number = part, number + 1 if part == row else 0
            yield _window(tokenizer, encoding, begin + row, number)


def _cut(tokenizer: Any, question: str, longest: int) -> tuple[str, int]:
    """The question without the tokens beyond ``longest``, and how many it has then."""
    question = _whole_characters(question).strip()
    encoding = tokenizer(question, add_special_tokens=False, verbose=False, return_attention_mask=False).encodings[0]
    if len(encoding.ids) <= longest:
        return question, len(encoding.ids)
    return question[: encoding.offsets[longest - 1][1]], longest


def _whole_characters(text: str) -> str:
    """JSON can hold half a character, and no tokenizer takes one. Every character keeps its place."""
    return _HALVES.sub("\ufffd", text)


def _window(tokenizer: Any, encoding: Any, row: int, number: int) -> Window:
    import numpy as np

    ids = np.array(encoding.ids, dtype=np.int32)
    sides = np.array([2 if side is None else side for side in encoding.sequence_ids], dtype=np.int8)
    inside = np.flatnonzero(sides == 1)
    first, size = (int(inside[0]), len(inside)) if len(inside) else (len(ids), 0)
    offsets: np.ndarray = np.array(encoding.offsets, dtype=np.int32)
    classes = np.flatnonzero(ids == (-1 if tokenizer.cls_token_id is None else tokenizer.cls_token_id))
    return Window(
        row=row,
        number=number,
        input_ids=ids,
        second=len(ids) - int(np.sum(encoding.type_ids)),
        first=first,
        size=size,
        nowhere=int(classes[0]) if len(classes) else 0,
        offsets=offsets.reshape(-1, 2)[first : first + size],
    )


def window_features(window: Window) -> dict[str, Any]:
    """What :func:`collate` makes batches of."""
    return {
        "input_ids": window.input_ids,
        "second": window.second,
        "first": window.first,
        "size": window.size,
        "nowhere": window.nowhere,
    }


def collate(
    features: Sequence[Mapping[str, Any]], setup: Setup, random: np.random.Generator | None = None
) -> dict[str, torch.Tensor]:
    """Tensors ``[batch, longest]`` for the model, and numbers ``[batch]`` about the windows."""
    import torch

    batch = pad_features(features, {"input_ids": setup.tokenizer.pad_token_id or 0})
    second = batch.pop("second")
    # DistilBERT has no token types and RoBERTa has one, though their tokenizers may speak of two
    if getattr(setup.model_config, "type_vocab_size", 0) > 1:
        places = torch.arange(batch["input_ids"].shape[1])[None, :]
        batch["token_type_ids"] = (places >= second[:, None]).long() * batch["attention_mask"]
    return batch


@dataclass(frozen=True)
class Spans:
    """The best spans of each window of a batch, best first: float32 and int64 ``[batch, count]``.

    ``starts`` and ``ends`` are first and last token, counted from the context's first in the window. ``scores`` are
    start logit + end logit, -inf where there are fewer spans. ``mass`` ``[batch]`` is the log of the sum of
    exp(score) over all possible spans, ``nowhere`` ``[batch]`` the score of "not in here".
    """

    scores: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    mass: np.ndarray
    nowhere: np.ndarray


def best_spans(
    start_logits: torch.Tensor,
    end_logits: torch.Tensor,
    batch: Mapping[str, torch.Tensor],
    max_answer_length: int,
    count: int,
) -> Spans:
    """Every span within the context with start <= end and at most ``max_answer_length`` tokens, exactly.

    The logits are ``[batch, tokens]``; ``batch`` has ``first``, ``size`` and ``nowhere`` of the windows, ``[batch]``.
    """
    import torch

    start, end = start_logits.float(), end_logits.float()
    width = start.shape[1]
    first, size, nowhere = (batch[name].to(start.device)[:, None] for name in ("first", "size", "nowhere"))
    places = torch.arange(width, device=start.device)[None, :]
    outside = (places < first) | (places >= first + size)
    none = start.gather(1, nowhere) + end.gather(1, nowhere)
    start, end = start.masked_fill(outside, -torch.inf), end.masked_fill(outside, -torch.inf)
    length = min(max_answer_length, width)
    # [batch, tokens, length]: the score of the span from each token on, one to ``length`` tokens long
    ends = torch.nn.functional.pad(end, (0, length - 1), value=-torch.inf).unfold(1, length, 1)
    scores = (start[:, :, None] + ends).flatten(1)
    best, places = scores.topk(min(count, scores.shape[1]), dim=1)
    begins = places // length
    return Spans(
        scores=best.cpu().numpy(),
        starts=(begins - first).cpu().numpy(),
        ends=(begins + places % length - first).cpu().numpy(),
        mass=scores.logsumexp(1).cpu().numpy(),
        nowhere=none.squeeze(1).cpu().numpy(),
    )


def cut_out(context: str, window: Window, start: int, end: int) -> tuple[int, int]:
    """Characters of the context from token ``start`` to token ``end`` of the window's part, without space around."""
    begin, behind = int(window.offsets[start, 0]), int(window.offsets[end, 1])
    text = context[begin:behind]
    begin += len(text) - len(text.lstrip())
    return begin, begin + len(text.strip())
