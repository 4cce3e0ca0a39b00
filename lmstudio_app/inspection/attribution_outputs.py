"""Which number of a model's output is explained: a label, a word at a place, a span, a similarity."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.attribution_function import log_odds
from lmstudio_app.inspection.attribution_inputs import InputText, ModelInput
from lmstudio_app.inspection.logit_lens_head import logits_of
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.streaming import token_text

if TYPE_CHECKING:
    import torch

    from lmstudio_app.models.loading import LoadedModel

CANDIDATES = 10
LOG_ODDS, LOG_PROBABILITY, COSINE = "log-odds", "log-probability", "cosine"


@dataclass(frozen=True, eq=False)
class Output:
    """``value`` makes float ``[batch]`` of what the model returns for ``inputs``.

    ``unit`` says what it is of: log p / (1 - p), log p, or the cosine of two vectors. ``probability`` is p, None for a
    cosine. ``seen`` is how many of the input's tokens the model was given, ``explained`` the token whose word is
    explained, where it is one of the input. ``candidates`` are the likeliest answers with their probabilities.
    """

    inputs: ModelInput
    kind: str  # "label", "word", "next", "span" or "similarity"
    answer: str
    unit: str
    value: Callable[[Any], torch.Tensor]
    seen: int
    explained: int | None = None
    probability: float | None = None
    candidates: tuple[tuple[str, float], ...] = ()


def choose_output(
    loaded: LoadedModel, inputs: ModelInput, given: InputText, position: int | None, answer: str | None, ctx: JobContext
) -> Output:
    """The output to explain. ``position`` is a token of ``inputs``; ``answer`` None is what the model says itself,
    or the token that stands there.

    Raises :class:`UserError` for a place or an answer that there is not, and for a model that answers nothing.
    """
    import torch

    if position is not None and not 0 <= position < len(inputs.tokens):
        raise UserError(
            "There is no token {position}.", "Choose one from 0 to {last}.",
            position=position, last=len(inputs.tokens) - 1,
        )  # fmt: skip
    makers: dict[str, Callable[..., Output]] = {
        "sequence-classification": _label,
        "token-classification": _token_label,
        "masked-lm": _masked_word,
        "pretraining": _masked_word,
        "causal-lm": _written_word,
        "seq2seq-lm": _written_word,
        "question-answering": _span,
    }
    with torch.no_grad():
        if loaded.head in makers:
            return makers[loaded.head](loaded, inputs, position, answer)
        if loaded.head == "base" and not _is_causal(loaded.model):
            return _similarity(loaded, inputs, given, ctx)
    raise UserError(
        "{model} gives no answer that could be explained (its head: {head}).",
        "Choose a model that classifies, fills gaps or writes.",
        model=loaded.reference,
        head=loaded.head,
    )


def choosable(loaded: LoadedModel, inputs: ModelInput) -> tuple[bool, ...]:
    """Which tokens can be given as ``position``."""
    count = len(inputs.tokens)
    if loaded.head in ("masked-lm", "pretraining", "token-classification"):
        mask = loaded.tokenizer.mask_token_id
        return tuple(not inputs.tokens.special[i] or inputs.ids[i] == mask for i in range(count))
    if loaded.head == "causal-lm":
        return tuple(index > 0 for index in range(count))
    if loaded.head == "seq2seq-lm":
        return tuple(index > inputs.source for index in range(count))
    return (False,) * count


def _is_causal(model: Any) -> bool:
    from lmstudio_app.inspection.kinds import looks_causal

    return bool(getattr(model.config, "is_decoder", False)) or looks_causal(model)


def _run(loaded: LoadedModel, inputs: ModelInput) -> Any:
    return loaded.model(**inputs.tensors, **inputs.options)


# --- classes


def _label(loaded: LoadedModel, inputs: ModelInput, position: int | None, answer: str | None) -> Output:
    output = _run(loaded, inputs)
    several = loaded.model.config.problem_type == "multi_label_classification"
    logits = output.logits.float()
    shares = (logits.sigmoid() if several else logits.softmax(-1))[0]
    if not several and logits.shape[-1] < 2:
        raise UserError(
            "{model} gives one number and chooses no label, so there is nothing to explain.",
            "Choose a model that was trained to classify.",
            model=loaded.reference,
        )
    index = _index_of(answer, loaded.labels, int(shares.argmax()))

    def value(output: Any) -> torch.Tensor:
        return output.logits[:, index] if several else log_odds(output.logits, index)

    return Output(
        inputs, "label", loaded.labels[index], LOG_ODDS, value, len(inputs.tokens), None, float(shares[index]),
        _ranked(loaded.labels, shares),
    )  # fmt: skip


def _token_label(loaded: LoadedModel, inputs: ModelInput, position: int | None, answer: str | None) -> Output:
    place = position if position is not None else _first_word(inputs)
    shares = _run(loaded, inputs).logits.float()[0, place].softmax(-1)
    index = _index_of(answer, loaded.labels, int(shares.argmax()))
    return Output(
        inputs, "label", loaded.labels[index], LOG_ODDS, lambda output: log_odds(output.logits[:, place], index),
        len(inputs.tokens), place, float(shares[index]), _ranked(loaded.labels, shares),
    )  # fmt: skip


def _index_of(answer: str | None, names: Sequence[str], own: int) -> int:
    if answer is None:
        return own
    if answer not in names:
        raise UserError(
            "{label} is none of the model's labels: {names}.", "Choose one of these.",
            label=answer, names=", ".join(names),
        )  # fmt: skip
    return list(names).index(answer)


def _ranked(names: Sequence[str], shares: torch.Tensor) -> tuple[tuple[str, float], ...]:
    order = shares.argsort(descending=True).tolist()[:CANDIDATES]
    return tuple((names[index], float(shares[index])) for index in order)


def _first_word(inputs: ModelInput) -> int:
    return next((index for index, special in enumerate(inputs.tokens.special) if not special), 0)


# --- words


def _masked_word(loaded: LoadedModel, inputs: ModelInput, position: int | None, answer: str | None) -> Output:
    """The word at a gap. A word that stands there is hidden first: the model would only copy it."""
    mask = loaded.tokenizer.mask_token_id
    if mask is None:
        raise UserError(
            "The tokenizer of {model} has no token for a gap.",
            "Choose a model with a mask token.",
            model=loaded.reference,
        )
    gaps = [index for index, number in enumerate(inputs.ids) if number == mask]
    words = [index for index, special in enumerate(inputs.tokens.special) if not special]
    place = position if position is not None else (gaps or words[-1:] or [0])[0]
    ids = inputs.tensors["input_ids"].clone()
    own = int(ids[0, place])
    ids[0, place] = mask
    changed = (*inputs.ids[:place], mask, *inputs.ids[place + 1 :])
    inputs = replace(inputs, tensors={**inputs.tensors, "input_ids": ids}, ids=changed)

    def logits(output: Any) -> torch.Tensor:
        return logits_of(output)[:, place]

    shares = logits(_run(loaded, inputs)).float()[0].softmax(-1)
    index = _word_index(loaded, answer, int(shares.argmax()) if own == mask else own, shares)
    return _word_output(loaded, inputs, "word", index, shares, logits, len(inputs.tokens), place)


def _written_word(loaded: LoadedModel, inputs: ModelInput, position: int | None, answer: str | None) -> Output:
    """The next token, or one of those that are there already, which is explained by those before it."""
    count = len(inputs.tokens)
    first = inputs.source + 1 if inputs.has_target else 1
    if position is None:
        position = first if inputs.has_target else count
    if position < first:
        raise UserError(
            "Nothing that could explain token {position} stands before it.",
            "Choose a later token, from number {first} on.",
            position=position,
            first=first,
        )
    if position >= count and inputs.has_target:
        raise UserError("The model has written no token.", "Type another text, or say what the model has written.")
    seen = inputs.cut(position)
    if "logits_to_keep" in inspect.signature(loaded.model.forward).parameters:
        seen = replace(seen, options={**seen.options, "logits_to_keep": 1})

    def logits(output: Any) -> torch.Tensor:
        return output.logits[:, -1]  # type: ignore[no-any-return]

    shares = logits(_run(loaded, seen)).float()[0].softmax(-1)
    own = inputs.ids[position] if position < count else int(shares.argmax())
    index = _word_index(loaded, answer, own, shares)
    explained = position if position < count else None
    return _word_output(
        loaded, seen, "next" if explained is None else "word", index, shares, logits, position, explained
    )


def _word_output(
    loaded: LoadedModel,
    inputs: ModelInput,
    kind: str,
    index: int,
    shares: torch.Tensor,
    logits: Callable[[Any], torch.Tensor],
    seen: int,
    explained: int | None,
) -> Output:
    def name(number: int) -> str:
        return token_text(loaded.tokenizer, number).strip() or str(loaded.tokenizer.convert_ids_to_tokens(number))

    best = shares.topk(min(CANDIDATES, len(shares)))
    candidates = tuple((name(int(i)), float(p)) for p, i in zip(best.values, best.indices, strict=True))
    return Output(
        inputs, kind, name(index), LOG_ODDS, lambda output: log_odds(logits(output), index), seen, explained,
        float(shares[index]), candidates,
    )  # fmt: skip


def _word_index(loaded: LoadedModel, answer: str | None, own: int, shares: torch.Tensor) -> int:
    """The token that a person means: one that they saw among the candidates, else as the tokenizer cuts it."""
    if answer is None:
        return own
    for index in shares.topk(min(200, len(shares))).indices.tolist():
        if token_text(loaded.tokenizer, index).strip() == answer.strip() or (
            loaded.tokenizer.convert_ids_to_tokens(index) == answer
        ):
            return int(index)
    tokenize = loaded.tokenizer
    for text in (f" {answer.strip()}", answer.strip()):
        ids = tokenize(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) == 1:
            return int(ids[0])
    raise UserError(
        "“{answer}” is no single token of the model.",
        "Choose a shorter word, or one of those that the model itself thinks of: {candidates}.",
        answer=answer,
        candidates=", ".join(token_text(loaded.tokenizer, int(i)).strip() for i in shares.topk(5).indices),
    )


# --- spans and similarities


def _span(loaded: LoadedModel, inputs: ModelInput, position: int | None, answer: str | None) -> Output:
    """log p of the likeliest start plus log p of the likeliest end behind it, both in the second text."""
    import torch

    of_text = [index for index, segment in enumerate(inputs.tokens.segments) if segment == 1]
    if not of_text:
        raise UserError(
            "A question alone has no answer to explain.", "Give the text in which the answer stands as the second text."
        )
    output = _run(loaded, inputs)
    starts = output.start_logits.float()[0].log_softmax(-1)
    ends = output.end_logits.float()[0].log_softmax(-1)
    first, last = of_text[0], of_text[-1] + 1
    sums = starts[first:last, None] + ends[None, first:last]
    backwards = torch.ones_like(sums).tril(-1).bool()  # an answer ends behind its start
    sums = sums.masked_fill(backwards, -torch.inf)
    best = int(sums.argmax())
    start, end = first + best // (last - first), first + best % (last - first)

    def value(output: Any) -> torch.Tensor:
        begin = output.start_logits.float().log_softmax(-1)[:, start]
        finish = output.end_logits.float().log_softmax(-1)[:, end]
        return begin + finish  # type: ignore[no-any-return]

    words = loaded.tokenizer.decode(list(inputs.ids[start : end + 1])).strip()
    share = float((starts[start] + ends[end]).exp())
    return Output(
        inputs, "span", words, LOG_PROBABILITY, value, len(inputs.tokens), start, share, ((words, share),)
    )  # fmt: skip


def _similarity(loaded: LoadedModel, inputs: ModelInput, given: InputText, ctx: JobContext) -> Output:
    """The cosine of the text's vector with that of the second text, which is left as it is."""
    import torch

    from lmstudio_app.tasks.embedding import Embedder

    if not given.pair:
        raise UserError(
            "{model} makes vectors of texts, and a vector alone is no answer that could be explained.",
            "Give a second text to explain how similar the two are, or choose a model that classifies or writes.",
            model=loaded.reference,
        )
    embedder = Embedder(loaded)
    other = torch.from_numpy(embedder.embed([given.pair], ctx)[0]).to(loaded.device)

    def value(output: Any) -> torch.Tensor:
        states = output.last_hidden_state.float()
        vectors = embedder.pool(states, torch.ones(states.shape[:2], device=states.device))
        return vectors @ other

    return Output(inputs, "similarity", given.pair, COSINE, value, len(inputs.tokens))
