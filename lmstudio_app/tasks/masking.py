"""Masking tokens at random, as BERT is pretrained: Devlin et al. 2019, section 3.1, for a whole batch at once."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.options import check_options, option
from lmstudio_app.tasks.task import IGNORED

if TYPE_CHECKING:
    import numpy as np
    import torch

_MASKED, _RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stays as it is


@dataclass(frozen=True)
class MaskingOptions:
    """How many tokens are hidden, and which."""

    mlm_probability: float = option(
        0.15, "Masked share", "Share of the tokens that the model has to guess.", basic=True, minimum=0.01, maximum=0.9
    )
    whole_words: bool = option(
        False, "Whole words", "Hide all pieces of a word together, so that none of them gives away the others.",
        basic=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self, "options")


@dataclass(frozen=True)
class Pieces:
    """What a tokenizer's ids are: bool ``[ids]`` each, and the ids that are no special tokens."""

    special: np.ndarray
    begins_word: np.ndarray
    ordinary: np.ndarray
    mask: int


_known: weakref.WeakKeyDictionary[Any, Pieces] = weakref.WeakKeyDictionary()


def pieces_of(tokenizer: Any) -> Pieces:
    """Look through the vocabulary, once a tokenizer. Raises :class:`UserError` when it has no mask token.

    Words begin where the tokenizer says so: ``##`` marks a WordPiece that goes on with one, ``▁`` and ``Ġ`` a
    sentencepiece or a byte-level piece that begins one; a character of a script without spaces is a word.
    """
    import numpy as np

    if tokenizer in _known:
        return _known[tokenizer]
    if tokenizer.mask_token_id is None:
        raise UserError(
            "The tokenizer of this model has no mask token.",
            "Choose a model that was pretrained on masked words, such as BERT or RoBERTa, or a new one.",
        )
    vocabulary = tokenizer.get_vocab()
    size = max(vocabulary.values()) + 1
    special, begins, known = (np.zeros(size, dtype=bool) for _ in range(3))
    special[[index for index in tokenizer.all_special_ids if index < size]] = True
    has_continuations = any(piece.startswith("##") for piece in vocabulary)
    marks = ("▁", "Ġ", "Ċ") if not has_continuations else ()
    is_marked = any(piece.startswith(("▁", "Ġ")) for piece in vocabulary) and not has_continuations
    for piece, index in vocabulary.items():
        known[index] = True
        if is_marked:
            begins[index] = piece.startswith(marks) or "\u3040" <= piece[:1] <= "\u9fff"
        else:
            begins[index] = not (len(piece) > 2 and piece.startswith("##"))
    found = Pieces(special, begins, np.flatnonzero(known & ~special), int(tokenizer.mask_token_id))
    _known[tokenizer] = found
    return found


def mask_batch(
    batch: Mapping[str, torch.Tensor], tokenizer: Any, options: MaskingOptions, random: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Mask a padded batch: ``input_ids`` with gaps, and ``labels`` int64 of the same shape.

    Of the chosen tokens 80 % become the mask token, 10 % a random one, 10 % stay. Labels are :data:`IGNORED` elsewhere.
    """
    import numpy as np
    import torch

    pieces = pieces_of(tokenizer)
    ids = batch["input_ids"].numpy()
    maskable = (batch["attention_mask"].numpy() > 0) & ~pieces.special[ids]
    begins = pieces.begins_word[ids] if options.whole_words else None
    chosen = choose_tokens(maskable, begins, options.mlm_probability, random)
    labels = np.where(chosen, ids, IGNORED)
    fate = random.random(ids.shape)
    drawn = pieces.ordinary[random.integers(0, len(pieces.ordinary), ids.shape)]
    masked = np.where(chosen & (fate < _MASKED), pieces.mask, ids)
    masked = np.where(chosen & (fate >= 1 - _RANDOM), drawn, masked)
    return {**batch, "input_ids": torch.from_numpy(masked), "labels": torch.from_numpy(labels)}


def choose_tokens(
    maskable: np.ndarray, begins: np.ndarray | None, share: float, random: np.random.Generator
) -> np.ndarray:
    """Choose ``share`` of the maskable tokens of each row, at least one: bool ``[batch, width]``.

    ``maskable`` is bool ``[batch, width]``. ``begins`` (the same shape) says where a word begins; then words are chosen
    whole, as many as come nearest to the share. A row gets ``share`` of its tokens as exactly as whole numbers allow
    (rounded at random, so that the share is right on average), which makes batches alike.
    """
    import numpy as np

    batch, width = maskable.shape
    positions = np.arange(width)
    begins = maskable if begins is None else begins & maskable
    # what follows a special token begins a word, whatever it is
    first = maskable & ~np.concatenate([np.zeros((batch, 1), dtype=bool), maskable[:, :-1]], axis=1)
    word = np.maximum.accumulate(np.where(begins | first, positions, 0), axis=1)  # position of the word's first token
    score = np.take_along_axis(random.random((batch, width)), word, axis=1)
    order = np.argsort(np.where(maskable, score, np.inf), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(positions, (batch, width)), axis=1)
    lengths = np.zeros((batch, width), dtype=np.int64)
    np.add.at(lengths, (np.arange(batch)[:, None], word), maskable)
    before = np.take_along_axis(rank, word, axis=1)  # tokens of the words that were drawn earlier
    length = np.take_along_axis(lengths, word, axis=1)
    exact = share * maskable.sum(axis=1, keepdims=True)
    wanted = np.floor(exact + random.random((batch, 1)))
    chosen: np.ndarray = maskable & ((2 * before + length <= 2 * wanted) | (before == 0))
    return chosen
