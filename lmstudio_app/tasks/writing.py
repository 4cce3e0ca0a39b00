"""Texts from texts by an encoder-decoder: batched, sorted by length, in the rows' order."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features, sorted_batches
from lmstudio_app.errors import UserError, is_out_of_memory
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import DecodingOptions, interruptible, stopping_criterion
from lmstudio_app.models.quiet import quiet_transformers

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

# source tokens in a batch, times beams: what is kept of them for the cross-attention of every layer stays small
_BATCH_TOKENS = 32_768
_SHORT = 10  # tokens that a text may always be longer than its source


@dataclass(frozen=True)
class Prompt:
    """A source text as token ids, and the ids that the decoder is made to begin with (such as the language)."""

    input_ids: Sequence[int]
    decoder_prefix: tuple[int, ...] = ()


def generate_texts(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    ctx: JobContext,
    options: DecodingOptions,
    *,
    batch_size: int = 32,
    longest_ratio: float = 0.0,
) -> list[str]:
    """What an encoder-decoder writes for each prompt, in the prompts' order.

    Prompts of similar length go through the model together; a batch for which there is no memory is halved. With
    ``longest_ratio`` a text has at most so many times the tokens of the longest source of its batch. All prompts have
    decoder prefixes of one length. Raises :class:`UserError` for a model without a decoder that writes.
    """
    import numpy as np
    import torch

    require_writer(loaded)
    model, tokenizer = loaded.model, loaded.tokenizer
    pad = model.config.pad_token_id if model.config.pad_token_id is not None else tokenizer.pad_token_id or 0
    lengths = np.array([len(prompt.input_ids) for prompt in prompts], dtype=np.int64)
    texts = [""] * len(prompts)
    waiting = list(reversed(sorted_batches(lengths, batch_size, max(1, _BATCH_TOKENS // options.beams))))
    with quiet_transformers(), torch.inference_mode(), interruptible(model, ctx):
        while waiting:
            ctx.check()
            rows = waiting.pop()
            batch = [prompts[row] for row in rows]
            inputs = pad_features([{"input_ids": prompt.input_ids} for prompt in batch], {"input_ids": pad})
            inputs = {name: tensor.to(loaded.device) for name, tensor in inputs.items()}
            config = _generation_config(model, options, len(batch[0].decoder_prefix))
            if longest_ratio:
                longest = int(longest_ratio * int(lengths[rows].max())) + _SHORT
                config.max_new_tokens = min(config.max_new_tokens, max(longest, options.min_new_tokens))
            if batch[0].decoder_prefix:
                begun = [[decoder_start(model), *prompt.decoder_prefix] for prompt in batch]
                inputs["decoder_input_ids"] = torch.tensor(begun, device=loaded.device)
            try:
                ids = model.generate(**inputs, generation_config=config, stopping_criteria=[stopping_criterion(ctx)])
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(rows) == 1:
                    raise
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
                continue
            decoded = tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)
            for row, text in zip(rows, decoded, strict=True):
                texts[row] = text.strip()
    return texts


def require_writer(loaded: LoadedModel) -> None:
    """Raises :class:`UserError` for a model that cannot turn one text into another."""
    if loaded.head != "seq2seq-lm":
        raise UserError(
            "{model} does not turn one text into another.",
            "Choose a sequence-to-sequence model, such as Marian, T5 or BART.",
            model=loaded.card.title or loaded.reference,
        )


def decoder_start(model: Any) -> int:
    """The token that stands before the first one of every written text."""
    settings = (model.generation_config, model.config)
    names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
    found = (getattr(source, name, None) for name in names for source in settings)
    return next(token for token in found if isinstance(token, int))


def decoder_limit(config: Any) -> int:
    """How many tokens the decoder has positions for; a very large number where it needs none."""
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else 1_000_000_000


def _generation_config(model: Any, options: DecodingOptions, prefix: int) -> Any:
    """The model's own settings, and the options over them."""
    config = copy.deepcopy(model.generation_config)
    config.num_beams = options.beams
    config.max_new_tokens = min(options.max_new_tokens, max(1, decoder_limit(model.config) - prefix - 1))
    config.max_length = None
    config.min_length = min(config.min_length or 0, config.max_new_tokens)
    if options.min_new_tokens:
        config.min_length, config.min_new_tokens = 0, min(options.min_new_tokens, config.max_new_tokens)
    if options.no_repeat_ngram:
        config.no_repeat_ngram_size = options.no_repeat_ngram
    if prefix:  # the prefix says the same, for each text by itself
        config.forced_bos_token_id = None
    config.do_sample = options.sample
    config.temperature = options.temperature if options.sample else None
    config.top_k = options.top_k if options.sample else None
    config.top_p = options.top_p if options.sample else None
    return config
