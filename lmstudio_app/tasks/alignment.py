"""Which words of a source text a translation's words come from, read from the model's cross-attention.

The weights are softmax(Q Kᵀ / √d_k) of one decoder layer, averaged over its heads: the last but one, which aligns best
(Garg et al. 2019, "Jointly Learning to Align and Translate with Transformer Models"). They are made here from what goes
into that layer's attention in one pass over the finished translation (teacher forcing), so that the model may run with
any attention implementation, and stays as it is.
"""

from __future__ import annotations

import inspect
import re
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.tasks.streaming import longest_text
from lmstudio_app.tasks.translation_direction import Direction
from lmstudio_app.tasks.writing import decoder_limit, decoder_start

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lmstudio_app.models.loading import LoadedModel

Span = tuple[int, int]
_NAMES = (("q_proj", "k_proj", "num_heads"), ("q", "k", "n_heads"))  # BART and its kin; T5 and its
_WORD = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]+|\w+(?:['’-]\w+)*|[^\w\s]")
_WIDE = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")
_LOOK_AHEAD = 40  # characters in which a token is looked for behind one that is unknown
_AT_ONCE = 16  # pairs in a pass


@dataclass(frozen=True)
class Alignment:
    """``source`` and ``target`` are the places of words, in characters; Chinese and Japanese are cut at the tokens.

    ``weights[t][s]`` says how much word ``t`` of the target comes from word ``s`` of the source; each row sums to 1.
    """

    source: tuple[Span, ...]
    target: tuple[Span, ...]
    weights: tuple[tuple[float, ...], ...]

    def to_row(self) -> dict[str, Any]:
        return {
            "source": [list(span) for span in self.source],
            "target": [list(span) for span in self.target],
            "weights": [[round(weight, 4) for weight in row] for row in self.weights],
        }


def can_align(loaded: LoadedModel) -> bool:
    """Has the model a cross-attention that is known how to read?"""
    return loaded.head == "seq2seq-lm" and _cross_attention(loaded.model) is not None


def align(
    loaded: LoadedModel,
    direction: Direction,
    pairs: Sequence[tuple[str, str]],
    targets: Sequence[str],
    ctx: JobContext,
) -> list[Alignment]:
    """The alignment of each pair of a source text and its translation; ``targets`` are the languages of these."""
    found: list[Alignment] = []
    for begin in range(0, len(pairs), _AT_ONCE):
        ctx.check()
        chosen = slice(begin, begin + _AT_ONCE)
        found += _align(loaded, direction, pairs[chosen], targets[chosen], ctx)
    return found


class _Read(Exception):
    """Ends the pass: what was wanted has been seen."""


def _align(
    loaded: LoadedModel, direction: Direction, pairs: Sequence[tuple[str, str]], targets: Sequence[str], ctx: JobContext
) -> list[Alignment]:
    import torch

    model, tokenizer = loaded.model, loaded.tokenizer
    prompts = direction.prompts([source for source, _ in pairs], targets, longest_text(loaded))
    limit = decoder_limit(model.config) - 2 - len(prompts[0].decoder_prefix)
    texts = [text for _, text in pairs]
    written = [ids[:limit] for ids in direction.written(texts, targets)]
    pad = model.config.pad_token_id or 0
    inputs = pad_features([{"input_ids": prompt.input_ids} for prompt in prompts], {"input_ids": pad})
    begun = [[decoder_start(model), *prompt.decoder_prefix] for prompt in prompts]
    decoder = pad_features([{"input_ids": a + b} for a, b in zip(begun, written, strict=True)], {"input_ids": pad})
    arguments = {name: tensor.to(loaded.device) for name, tensor in inputs.items()}
    with quiet_transformers(), torch.inference_mode(), interruptible(model, ctx):
        weights = _weights(model, arguments, decoder["input_ids"].to(loaded.device))
    # the step that reads all tokens before one is the step that writes it
    first = len(begun[0]) - 1
    special = set(tokenizer.all_special_ids)
    alignments = []
    for row, (source, text) in enumerate(pairs):
        lead = direction.lead(targets[row])
        ids = list(prompts[row].input_ids)
        source_spans = [
            None
            if span is None or token in special or span[0] < len(lead)
            else (span[0] - len(lead), span[1] - len(lead))
            for token, span in zip(ids, token_spans(tokenizer, ids, lead + source), strict=True)
        ]
        target_spans = token_spans(tokenizer, written[row], text)
        matrix = weights[row, first : first + len(written[row]), : len(ids)]
        alignments.append(_by_words(matrix, source_spans, target_spans, source, text))
    return alignments


def _weights(model: Any, inputs: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> np.ndarray:
    """Float32 ``[batch, target, source]``, the mean over the heads; padding has none."""
    import torch

    module = _cross_attention(model)
    assert module is not None
    query_name, key_name, heads_name = next(names for names in _NAMES if hasattr(module, names[0]))
    parameters = inspect.signature(type(module).forward)
    made: list[torch.Tensor] = []
    mine = threading.get_ident()

    def _look(module: Any, args: Any, kwargs: Any) -> None:
        if threading.get_ident() != mine:
            return  # pages share their models
        given = parameters.bind(module, *args, **kwargs).arguments
        states, source = given["hidden_states"], given["key_value_states"]
        heads = getattr(module, heads_name)
        query, key = (
            getattr(module, name)(values).float().unflatten(-1, (heads, -1)).transpose(1, 2)
            for name, values in ((query_name, states), (key_name, source))
        )
        scores = query @ key.transpose(2, 3) * float(getattr(module, "scaling", query.shape[-1] ** -0.5))
        scores = scores.masked_fill(inputs["attention_mask"][:, None, None] == 0, -torch.inf)
        made.append(scores.softmax(-1).mean(1))
        raise _Read

    hook = module.register_forward_pre_hook(_look, with_kwargs=True)
    try:
        model(**inputs, decoder_input_ids=decoder_input_ids, use_cache=False)
    except _Read:
        pass
    finally:
        hook.remove()
    found: np.ndarray = made[0].cpu().numpy()
    return found


def _cross_attention(model: Any) -> Any:
    """The attention to the source of the last decoder layer but one; None in a model that is built otherwise."""
    found = [
        module
        for name, module in model.get_decoder().named_modules()
        if name.endswith(("encoder_attn", "EncDecAttention")) and any(hasattr(module, names[0]) for names in _NAMES)
    ]
    return found[max(0, len(found) - 2)] if found else None


# --- from tokens to words


def token_spans(tokenizer: Any, ids: Sequence[int], text: str) -> list[Span | None]:
    """The characters that each token stands for; None for special tokens and those that stand for nothing.

    A tokenizer that keeps no offsets may have written characters in another form (NFKC, small letters): tokens are
    looked for in the text in that form, and an unknown token stands for what is between its neighbours.
    """
    plain, places = _plain(text)
    pieces = [
        "" if token in tokenizer.all_special_ids and token != tokenizer.unk_token_id else _surface(tokenizer, token)
        for token in ids
    ]
    spans: list[Span | None] = [None] * len(ids)
    at, waiting = 0, -1
    for index, piece in enumerate(pieces):
        if ids[index] == tokenizer.unk_token_id:
            waiting = index if waiting < 0 else waiting
            continue
        if not piece:
            continue
        start = at if waiting < 0 and plain.startswith(piece, at) else plain.find(piece, at, at + _LOOK_AHEAD)
        if start < 0:
            continue
        if waiting >= 0 and start > at:
            spans[waiting] = (places[at][0], places[start - 1][1])
        waiting = -1
        at = start + len(piece)
        spans[index] = (places[start][0], places[at - 1][1])
    if waiting >= 0 and at < len(plain):
        spans[waiting] = (places[at][0], places[-1][1])
    return spans


def _surface(tokenizer: Any, token: int) -> str:
    piece = str(tokenizer.convert_ids_to_tokens(token))
    if "▁" not in piece and getattr(tokenizer, "is_fast", False):
        piece = str(tokenizer.decode([token], clean_up_tokenization_spaces=False)).replace("##", "")
    return _plain(piece.replace("▁", " "))[0]


def _plain(text: str) -> tuple[str, list[Span]]:
    """The text in the form in which it is compared, without spaces, and where each of its characters comes from."""
    made, places = "", []
    for place, character in enumerate(text):
        for part in unicodedata.normalize("NFKC", character).casefold():
            if not part.isspace():
                made += part
                places.append((place, place + 1))
    return made, places


def _by_words(
    matrix: np.ndarray, source_spans: Sequence[Span | None], target_spans: Sequence[Span | None], source: str, text: str
) -> Alignment:
    """Weights of tokens as weights of words: added over a source word's tokens, the mean over a target word's."""
    import numpy as np

    source_words, target_words = word_spans(source, source_spans), word_spans(text, target_spans)
    shares = _shares(source_spans, source_words)
    parts = _shares(target_spans, target_words).T
    weights = parts @ matrix @ shares
    sums = weights.sum(-1, keepdims=True)
    weights = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), 1 / max(1, len(source_words)))
    rows = tuple(tuple(float(weight) for weight in row) for row in weights)
    return Alignment(tuple(source_words), tuple(target_words), rows)


def word_spans(text: str, tokens: Sequence[Span | None]) -> list[Span]:
    """The words of a text; a run of Chinese or Japanese characters is cut where its tokens begin."""
    starts = sorted({span[0] for span in tokens if span is not None})
    words: list[Span] = []
    for found in _WORD.finditer(text):
        begin, end = found.span()
        if _WIDE.match(found[0]):
            cuts = [begin, *(start for start in starts if begin < start < end), end]
            words += list(pairwise(cuts))
        else:
            words.append((begin, end))
    return words


def _shares(tokens: Sequence[Span | None], words: Sequence[Span]) -> np.ndarray:
    """``[tokens, words]``: how much of a token's characters belong to each word."""
    import numpy as np

    shares = np.zeros((len(tokens), len(words)), dtype=np.float32)
    for row, span in enumerate(tokens):
        if span is None:
            continue
        for column, (begin, end) in enumerate(words):
            shares[row, column] = max(0, min(end, span[1]) - max(begin, span[0]))
    sums = shares.sum(-1, keepdims=True)
    return shares / np.where(sums > 0, sums, 1)
