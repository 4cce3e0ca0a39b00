"""What may stand in the gaps of a text: P(x_i | the rest)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.options import option
from lmstudio_app.tasks.outputs import Candidate, Candidates
from lmstudio_app.tasks.streaming import BadRow, longest_text, row_text, stream_rows, token_text
from lmstudio_app.tasks.task import Prediction, PredictOptions

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_GAP = re.compile(r"\[MASK\]|<mask>|_{3,}")


@dataclass(frozen=True)
class FillMaskOptions(PredictOptions):
    top_k: int = option(
        10, "Candidates", "How many words are offered for each gap.", basic=True, minimum=1, maximum=1000
    )


def fill_masks(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: FillMaskOptions
) -> Iterator[Candidates]:
    """The candidates for each gap of a row's ``text``, in the rows' order; each gap is filled without the others.

    A gap is the model's own mask token, ``[MASK]``, ``<mask>`` or ``___``. Raises :class:`UserError` for a text
    without a gap, one whose gap lies beyond what the model reads, and a model that fills none.
    """
    import torch

    model, tokenizer = loaded.model, loaded.tokenizer
    if loaded.head not in FILL_MASK.heads or tokenizer.mask_token_id is None:
        raise _no_head(loaded)
    limit = longest_text(loaded)

    def _prepare(window: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
        return [_prepare_row(row) for row in window]

    def _prepare_row(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        ctx.check()
        text = tokenizer.mask_token.join(split_gaps(row_text(row), tokenizer.mask_token))
        encoded = tokenizer(text, truncation=True, max_length=limit, return_attention_mask=False)
        features = {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}
        gaps = text.count(tokenizer.mask_token)
        if not gaps:
            raise BadRow(
                row, "There is no gap in this text: “{text}”.", "Write {mask} or ___ where a word is to be guessed.",
                text=text[:80], mask=tokenizer.mask_token,
            )  # fmt: skip
        if features["input_ids"].count(tokenizer.mask_token_id) < gaps:
            raise BadRow(
                row, "A gap lies beyond the {limit} tokens that this model reads: {text}…", "Shorten the text.",
                limit=limit, text=text[:80],
            )  # fmt: skip
        return text, features

    def _run(batch: Sequence[tuple[str, dict[str, Any]]]) -> list[Candidates]:
        inputs = pad_features([features for _, features in batch], {"input_ids": tokenizer.pad_token_id or 0})
        inputs = {name: tensor.to(loaded.device) for name, tensor in inputs.items()}
        with torch.inference_mode():
            output = model(**inputs)
        logits = output.prediction_logits if "prediction_logits" in output else output.logits
        if logits.ndim != 3:  # the head for pretraining of another kind of model
            raise _no_head(loaded)
        is_gap = inputs["input_ids"] == tokenizer.mask_token_id
        top = logits[is_gap].float().softmax(-1).topk(min(options.top_k, logits.shape[-1]), dim=-1)
        found = iter(
            [
                tuple(Candidate(token_text(tokenizer, token), share) for token, share in zip(*place, strict=True))
                for place in zip(top.indices.tolist(), top.values.tolist(), strict=True)
            ]
        )
        return [
            _filled(text, tokenizer.mask_token, [next(found) for _ in range(count)])
            for (text, _), count in zip(batch, is_gap.sum(1).tolist(), strict=True)
        ]

    return stream_rows(rows, options.batch_size, ctx, _prepare, lambda item: len(item[1]["input_ids"]), _run)


def _filled(text: str, mask: str, places: Sequence[tuple[Candidate, ...]]) -> Candidates:
    parts = text.split(mask)
    filled = parts[0]
    for place, part in zip(places, parts[1:], strict=True):
        filled = fill_gap(filled, place[0].token) + part
    return Candidates(filled, tuple(places))


def split_gaps(text: str, mask: str) -> list[str]:
    """What stands between the gaps of a text, one part more than it has gaps; ``mask`` is the model's own token."""
    return _GAP.sub(lambda _: mask, text).split(mask)


def fill_gap(before: str, token: str) -> str:
    """The text before a gap with a token in the gap; one that begins with ``##`` goes on with the word before."""
    return before.rstrip() + token[2:] if token.startswith("##") else before + token.strip()


def _no_head(loaded: LoadedModel) -> UserError:
    return UserError(
        "{model} was not made to fill gaps.",
        "Choose a masked language model, such as BERT with its pretraining head, or pretrain one.",
        model=loaded.reference,
    )


FILL_MASK = Prediction(
    name="fill_mask",
    title="Fill masks",
    help="Guess the words that are masked in a text.",
    inputs=(ColumnSpec("text", "Text", "A text with [MASK] or ___ where a word is missing."),),
    heads=("masked-lm", "pretraining"),
    output=Candidates,
    predict=fill_masks,
    options=FillMaskOptions,
)
