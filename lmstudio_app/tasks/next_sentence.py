"""Does one text follow another? P(B | A), by the head that BERT learns it with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.outputs import Label
from lmstudio_app.tasks.streaming import by_row, longest_text, row_text, stream_rows
from lmstudio_app.tasks.task import Prediction, PredictOptions

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

FOLLOWS, RANDOM = "follows", "random"  # in the order of the head's outputs


def judge_pairs(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: PredictOptions
) -> Iterator[Label]:
    """The probability that each row's ``pair`` follows its ``text``, in the rows' order.

    Too long a pair is cut where it is longer. Raises :class:`UserError` for a model without the head.
    """
    import torch

    model, tokenizer = loaded.model, loaded.tokenizer
    if loaded.head != "pretraining":
        raise _no_head(loaded)
    limit = longest_text(loaded)

    def _prepare(window: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        texts, pairs = ([row_text(row, name) for row in window] for name in ("text", "pair"))
        encoded = tokenizer(texts, pairs, truncation=True, max_length=limit, return_attention_mask=False)
        return by_row({name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded})

    def _run(batch: Sequence[dict[str, Any]]) -> list[Label]:
        inputs = pad_features(batch, {"input_ids": tokenizer.pad_token_id or 0})
        with torch.inference_mode():
            output = model(**{name: tensor.to(loaded.device) for name, tensor in inputs.items()})
        if "seq_relationship_logits" not in output:
            raise _no_head(loaded)
        found = []
        for follows, random in output.seq_relationship_logits.float().softmax(-1).tolist():
            found.append(Label(FOLLOWS if follows >= random else RANDOM, {FOLLOWS: follows, RANDOM: random}))
        return found

    return stream_rows(rows, options.batch_size, ctx, _prepare, lambda item: len(item["input_ids"]), _run)


def _no_head(loaded: LoadedModel) -> UserError:
    return UserError(
        "{model} was not made to judge whether texts follow each other.",
        "Choose a BERT with its pretraining head, or pretrain one on masked words and next sentences.",
        model=loaded.reference,
    )


NEXT_SENTENCE = Prediction(
    name="next_sentence",
    title="Next sentence",
    help="Judge whether a second text follows a first one.",
    inputs=(
        ColumnSpec("text", "First text", "The text that comes first."),
        ColumnSpec("pair", "Second text", "The text that may follow it."),
    ),
    heads=("pretraining",),
    output=Label,
    predict=judge_pairs,
)
