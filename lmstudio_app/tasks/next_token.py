"""What a text may go on with: the distribution of the next token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.options import option
from lmstudio_app.tasks.outputs import Candidate, Candidates
from lmstudio_app.tasks.streaming import longest_text, row_text, stream_rows, token_text
from lmstudio_app.tasks.task import Prediction, PredictOptions

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel


@dataclass(frozen=True)
class NextTokenOptions(PredictOptions):
    top_k: int = option(
        10, "Candidates", "How many tokens are shown, the most probable first.", basic=True, minimum=1, maximum=1000
    )
    temperature: float = option(
        1.0, "Temperature", "Below 1 sharpens the distribution, above 1 flattens it.", minimum=0.01, maximum=10.0
    )


def next_tokens(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: NextTokenOptions
) -> Iterator[Candidates]:
    """The most probable tokens behind each row's ``text``, in the rows' order: softmax(logits / temperature).

    Of a text that is too long the end is read. An empty text asks how texts begin. Raises :class:`UserError` for a
    model that does not write from left to right.
    """
    import torch

    model, tokenizer = loaded.model, loaded.tokenizer
    if loaded.head != "causal-lm":
        raise UserError(
            "{model} does not write from left to right.",
            "Choose a causal language model, such as GPT-2 or Llama, or pretrain one.",
            model=loaded.reference,
        )
    limit = longest_text(loaded)
    beginning = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    special = set(tokenizer.all_special_ids)

    def _prepare(window: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        texts = [row_text(row) for row in window]
        return [_read(ids) for ids in tokenizer(texts, verbose=False, return_attention_mask=False)["input_ids"]]

    def _read(ids: list[int]) -> list[int]:
        while ids and ids[-1] == tokenizer.eos_token_id:  # some tokenizers end every text
            ids.pop()
        return ids[-limit:] or [beginning if beginning is not None else 0]

    def _run(batch: Sequence[list[int]]) -> list[Candidates]:
        inputs = pad_features([{"input_ids": ids} for ids in batch], {"input_ids": tokenizer.pad_token_id or 0})
        last = inputs["attention_mask"].sum(1) - 1
        with torch.inference_mode():
            output = model(**{name: tensor.to(loaded.device) for name, tensor in inputs.items()})
            logits = output.logits[torch.arange(len(batch)), last.to(loaded.device)].float()
            top = (logits / options.temperature).softmax(-1).topk(min(options.top_k, logits.shape[-1]), dim=-1)
        found = []
        for ids, tokens, shares in zip(batch, top.indices.tolist(), top.values.tolist(), strict=True):
            place = tuple(
                Candidate(token_text(tokenizer, token), share) for token, share in zip(tokens, shares, strict=True)
            )
            whole = [token for token in (*ids, tokens[0]) if token not in special]
            found.append(Candidates(tokenizer.decode(whole, clean_up_tokenization_spaces=False), (place,)))
        return found

    return stream_rows(rows, options.batch_size, ctx, _prepare, len, _run)


def append_token(tokenizer: Any, text: str, token: str) -> str | None:
    """``text`` with a candidate (see :class:`Candidate`) behind it, as the text that the model is asked about next.

    None for a token that is no text: one that ends or divides texts, and one that is only a part of a character.
    """
    if token in tokenizer.all_special_tokens or "\N{REPLACEMENT CHARACTER}" in token:
        return None
    if token.startswith("##"):
        return text.rstrip() + token[2:]
    if not text:
        return token.lstrip(" ")
    return (
        f"{text} {token}"
        if token[:1].isalnum() and _drops_spaces(tokenizer) and not text[-1:].isspace()
        else text + token
    )


def _drops_spaces(tokenizer: Any) -> bool:
    """Do the tokens of this kind of vocabulary (WordPiece) not say where the spaces are?"""
    special = set(tokenizer.all_special_ids)
    tokens = [token_text(tokenizer, token) for token in tokenizer("a b")["input_ids"] if token not in special]
    return len(tokens) > 1 and not any(" " in token for token in tokens)


NEXT_TOKEN = Prediction(
    name="next_token",
    title="Next token",
    help="Show what a text may go on with, and how probable each is.",
    inputs=(ColumnSpec("text", "Text", "The beginning of a text."),),
    heads=("causal-lm",),
    output=Candidates,
    predict=next_tokens,
    options=NextTokenOptions,
)
