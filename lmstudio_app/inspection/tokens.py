"""A text as the model sees it: token ids for the forward pass, and readable tokens for the axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.words import join_pieces
from lmstudio_app.tasks.alignment import token_spans

Span = tuple[int, int]
_SPACE, _NEWLINE, _TAB = "␣", "⏎", "⇥"
_NO_LIMIT = 10**6  # a tokenizer without a limit says 10^30


@dataclass(frozen=True)
class Tokens:
    """The tokens along one axis of an attention map; all tuples have the same length.

    ``tokens`` are the vocabulary's own (``##ing``, ``Ġthe``, ``▁the``), ``labels`` what a person reads,
    ``special`` tells ``[CLS]``, ``<s>`` and the like, ``segments`` is 0 for the text, 1 for the pair, None
    for special tokens. ``words`` is the number of the word of its text that each token is a piece of
    (:func:`lmstudio_app.inspection.words.join_pieces`), ``spans`` its place in the text of its segment; None for
    special tokens and where the tokenizer does not tell. Left out, they are all None.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    special: tuple[bool, ...]
    segments: tuple[int | None, ...]
    words: tuple[int | None, ...] = ()
    spans: tuple[Span | None, ...] = ()

    def __post_init__(self) -> None:
        for name in ("words", "spans"):
            if not getattr(self, name):
                object.__setattr__(self, name, (None,) * len(self.tokens))

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class EncodedText:
    """``inputs`` are tensors of batch size 1 on the CPU; ``dropped`` counts the tokens that were cut off."""

    inputs: Mapping[str, Any]
    tokens: Tokens
    dropped: int


def position_limit(model: Any, tokenizer: Any) -> int | None:
    """How many tokens the model can number; None when nothing limits them."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if isinstance(limit, int) and limit > 0:
        return limit - _reserved_positions(model)
    maximum = getattr(tokenizer, "model_max_length", None)
    return maximum if isinstance(maximum, int) and maximum < _NO_LIMIT else None


def _reserved_positions(model: Any) -> int:
    """RoBERTa and its kin start to count behind the padding index, so their table is shorter than it
    looks."""
    for name, module in model.named_modules():
        if name.endswith("embeddings.position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


def encode_text(
    model: Any, tokenizer: Any, text: str, pair: str | None, *, lead: str = "", is_laid_out: bool = False
) -> EncodedText:
    """Tokenise ``text`` (and ``pair``), cut to what the model can number.

    ``lead`` is put in front of the text because the model wants to be told something; its tokens count as special.
    ``is_laid_out``: the special tokens are in the text already, as a chat template puts them there.
    Raises :class:`UserError` when there is nothing to tokenise or the ids do not fit the model's embedding.
    """
    if not text.strip():
        raise UserError("There is no text to look into.", "Type a sentence and try again.")
    limit = position_limit(model, tokenizer)
    full = _call(tokenizer, lead + text, pair, None, is_laid_out)
    batch = full
    if limit is not None and full["input_ids"].shape[1] > limit:
        batch = _call(tokenizer, lead + text, pair, limit, is_laid_out)
    ids = batch["input_ids"][0].tolist()
    if not ids:
        raise UserError("The tokenizer made no token of this text.", "Type a sentence and try again.")
    vocabulary = model.get_input_embeddings().weight.shape[0]
    if max(ids) >= vocabulary:
        raise UserError(
            "The tokenizer does not match the model: it made token {token} of {vocabulary}.",
            "Load the model together with its own tokenizer.",
            token=max(ids),
            vocabulary=vocabulary,
        )
    special = [bool(flag) for flag in batch.pop("special_tokens_mask")[0].tolist()]
    offsets = batch.pop("offset_mapping", None)
    segments = _segments(batch, special)
    if is_laid_out:
        _mark_special(tokenizer, ids, special, segments)
    texts = (text, pair or "")
    spans = _spans(tokenizer, ids, offsets, segments, (lead + text, texts[1]))
    _take_away(len(lead), special, segments, spans)
    tokens = tuple(tokenizer.convert_ids_to_tokens(ids))
    labels = tuple(
        token if special[i] else _label(tokenizer, token, _written(texts, segments[i], spans[i]))
        for i, token in enumerate(tokens)
    )
    words = number_words(texts, segments, spans)
    return EncodedText(
        inputs=dict(batch),
        tokens=Tokens(tokens, labels, tuple(special), tuple(segments), words, tuple(spans)),
        dropped=int(full["input_ids"].shape[1]) - len(ids),
    )


def _call(tokenizer: Any, text: str, pair: str | None, limit: int | None, is_laid_out: bool) -> Any:
    return tokenizer(
        text,
        pair or None,
        add_special_tokens=not is_laid_out,
        truncation="longest_first" if limit is not None else False,
        max_length=limit,
        padding=False,
        return_tensors="pt",
        return_special_tokens_mask=True,
        return_offsets_mapping=bool(getattr(tokenizer, "is_fast", False)),
        verbose=False,
    )


def _segments(batch: Any, special: Sequence[bool]) -> list[int | None]:
    if batch.is_fast:
        return list(batch.sequence_ids(0))
    types = batch["token_type_ids"][0].tolist() if "token_type_ids" in batch else [0] * len(special)
    return [None if flag else int(kind) for flag, kind in zip(special, types, strict=True)]


def _mark_special(tokenizer: Any, ids: Sequence[int], special: list[bool], segments: list[int | None]) -> None:
    """Tokenizers do not say so of special tokens that were in the text."""
    known = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    known = (known | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id}
    for index, number in enumerate(ids):
        if number in known:
            special[index], segments[index] = True, None


def _spans(
    tokenizer: Any, ids: Sequence[int], offsets: Any, segments: Sequence[int | None], texts: Sequence[str]
) -> list[Span | None]:
    """The places of tokens in their texts, looked for where a tokenizer keeps no offsets."""
    if offsets is not None:
        places = [(int(start), int(end)) for start, end in offsets[0].tolist()]
        return [None if segment is None else place for segment, place in zip(segments, places, strict=True)]
    spans: list[Span | None] = [None] * len(ids)
    for number, text in enumerate(texts):
        own = [index for index, segment in enumerate(segments) if segment == number]
        found = token_spans(tokenizer, [ids[index] for index in own], text)
        for index, span in zip(own, found, strict=True):
            spans[index] = span
    return spans


def _take_away(lead: int, special: list[bool], segments: list[int | None], spans: list[Span | None]) -> None:
    """Let places count behind the first ``lead`` characters of the first text, whose tokens become special."""
    if not lead:
        return
    is_behind = False
    for index, span in enumerate(spans):
        if segments[index] != 0:
            continue
        is_behind = is_behind or (span is not None and span[1] > lead)
        if not is_behind:
            special[index], segments[index], spans[index] = True, None, None
        elif span is not None:
            spans[index] = (max(0, span[0] - lead), span[1] - lead)


def number_words(
    texts: Sequence[str], segments: Sequence[int | None], spans: Sequence[Span | None]
) -> tuple[int | None, ...]:
    """The word of every token; those of the second text are counted on from the first."""
    words: list[int | None] = [None] * len(spans)
    count = 0
    for segment, text in enumerate(texts):
        own = [span if segments[index] == segment else None for index, span in enumerate(spans)]
        for word in join_pieces(text, own):
            for index in word.pieces:
                words[index] = count
            count += 1
    return tuple(words)


def _written(texts: Sequence[str], segment: int | None, span: Span | None) -> str:
    return texts[segment][span[0] : span[1]] if segment is not None and span is not None else ""


def _label(tokenizer: Any, token: str, written: str) -> str:
    """``written`` is the stretch of the text the token stands for; it helps where a token is only part of a
    character."""
    if token.startswith("##"):
        return token
    label = tokenizer.convert_tokens_to_string([token])
    if "\ufffd" in label:
        label = written or token
    shown: str = label.strip()
    if shown:
        return shown
    label = label or written
    return label.replace("\n", _NEWLINE).replace("\t", _TAB).replace(" ", _SPACE) or token
