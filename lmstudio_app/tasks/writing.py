"""Texts from texts by an encoder-decoder: batched, sorted by length, in the rows' order."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features, sorted_batches
from lmstudio_app.errors import UserError, is_out_of_memory
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import DecodingOptions, interruptible, stopping_criterion
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.models.sampling import sampling_processor
from lmstudio_app.tasks.beam_search import Beam, Search

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lmstudio_app.models.loading import LoadedModel

# source tokens in a batch, times beams, and the bytes that are kept of them for the cross-attention of every layer
_BATCH_TOKENS, _BATCH_BYTES = 32_768, 1 << 30
_SHORT = 10  # tokens that a text may always be longer than its source


@dataclass(frozen=True)
class Prompt:
    """A source text as token ids, and the ids that the decoder is made to begin with (such as the language)."""

    input_ids: Sequence[int]
    decoder_prefix: tuple[int, ...] = ()


@dataclass(frozen=True)
class Hypothesis:
    """A text that may be meant. ``probability`` is that of one of its tokens given those before, their geometric mean
    (the log-probability of the text over its length, Wu et al. 2016); NaN where it was not asked for. ``tokens`` counts
    them, and ``ended`` says whether the model ended the text, or the limit did.
    """

    text: str
    tokens: int
    ended: bool
    probability: float = math.nan


def generate_texts(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    ctx: JobContext,
    options: DecodingOptions,
    *,
    batch_size: int = 32,
    longest_ratio: float = 0.0,
) -> list[str]:
    """The best of :func:`write_hypotheses` for each prompt."""
    found = write_hypotheses(loaded, prompts, ctx, options, batch_size=batch_size, longest_ratio=longest_ratio)
    return [hypotheses[0].text for hypotheses in found]


def write_hypotheses(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    ctx: JobContext,
    options: DecodingOptions,
    *,
    batch_size: int = 32,
    longest_ratio: float = 0.0,
    count: int = 1,
    done: Callable[[int, list[Hypothesis]], object] | None = None,
) -> list[list[Hypothesis]]:
    """What an encoder-decoder writes for each prompt, the best first, in the prompts' order.

    Prompts of similar length go through the model together; a batch for which there is no memory is halved. With
    ``longest_ratio`` a text has at most so many times the tokens of its source. ``count`` different texts are looked
    for, and at least one is found: the best beams, or as many draws. ``done`` is told of each prompt's texts as soon as
    they are written. All prompts have decoder prefixes of one length. Raises :class:`UserError` for a model without a
    decoder that writes.
    """
    import numpy as np
    import torch

    require_writer(loaded)
    writer = _Writer(loaded, ctx, options, longest_ratio, count)
    lengths = np.array([len(prompt.input_ids) for prompt in prompts], dtype=np.int64)
    found: list[list[Hypothesis]] = [[] for _ in prompts]

    def _done(row: int, hypotheses: list[Hypothesis]) -> None:
        if not found[row]:
            found[row] = hypotheses
            if done is not None:
                done(row, hypotheses)

    waiting = list(reversed(sorted_batches(lengths, batch_size, max(1, writer.most_tokens // writer.width))))
    with quiet_transformers(), torch.inference_mode(), interruptible(loaded.model, ctx):
        while waiting:
            ctx.check()
            rows = waiting.pop()
            try:
                writer.write([prompts[row] for row in rows], rows, _done)
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(rows) == 1:
                    raise
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return found


class _Writer:
    """Takes one batch after the other through ``generate``."""

    def __init__(
        self, loaded: LoadedModel, ctx: JobContext, options: DecodingOptions, longest_ratio: float, count: int
    ) -> None:
        self.loaded, self.ctx, self.options, self.ratio, self.count = loaded, ctx, options, longest_ratio, count
        model, tokenizer = loaded.model, loaded.tokenizer
        self.pad = model.config.pad_token_id if model.config.pad_token_id is not None else tokenizer.pad_token_id or 0
        ends = model.generation_config.eos_token_id
        self.ends = set(ends if isinstance(ends, list) else [ends])
        self.beams = 1 if options.sample else max(options.beams, count)
        self.draws = count if options.sample else 1
        self.width = max(self.beams, self.draws)
        layers = getattr(model.config, "decoder_layers", None) or getattr(model.config, "num_layers", None) or 1
        kept = 2 * layers * int(getattr(model.config, "d_model", 0) or 1) * loaded.dtype.itemsize  # keys and values
        self.most_tokens = min(_BATCH_TOKENS, _BATCH_BYTES // kept)

    def write(
        self, prompts: Sequence[Prompt], rows: np.ndarray, done: Callable[[int, list[Hypothesis]], object]
    ) -> None:
        import torch

        prompts = [prompt for prompt in prompts for _ in range(self.draws)]
        inputs = pad_features([{"input_ids": prompt.input_ids} for prompt in prompts], {"input_ids": self.pad})
        inputs = {name: tensor.to(self.loaded.device) for name, tensor in inputs.items()}
        prefix = prompts[0].decoder_prefix
        config = _generation_config(self.loaded.model, self.options, len(prefix))
        config.num_beams = self.beams
        limits = torch.full((len(prompts),), config.max_new_tokens)
        if self.ratio:
            longest = (self.ratio * inputs["attention_mask"].sum(-1).cpu()).long() + _SHORT
            limits = limits.minimum(longest.clamp(min=self.options.min_new_tokens))
            config.max_new_tokens = int(limits.max())
        if prefix:
            begun = [[decoder_start(self.loaded.model), *prompt.decoder_prefix] for prompt in prompts]
            inputs["decoder_input_ids"] = torch.tensor(begun, device=self.loaded.device)
        criteria = [stopping_criterion(self.ctx)]
        if self.beams > 1:
            search = Search(
                limits, lambda row, beams: done(int(rows[row]), self._read(beams, int(limits[row]), config))
            )
            self.loaded.model.generate(
                **inputs, generation_config=config, stopping_criteria=criteria, custom_generate=search
            )
            return
        processors = []
        if self.options.sample:
            seeds = [(self.options.seed, int(row), draw) for row in rows for draw in range(self.draws)]
            processors = [_sampling(self.options, len(prompts), seeds)]
        ids = self.loaded.model.generate(
            **inputs, generation_config=config, stopping_criteria=criteria, logits_processor=processors
        )[:, 1 + len(prefix) :]
        ids = [row[:limit] for row, limit in zip(ids.tolist(), limits.tolist(), strict=True)]
        beams = [Beam(self._whole(row), math.nan) for row in ids]
        if self.count > 1:
            sums = self._log_probabilities(inputs, prefix, [beam.ids for beam in beams])
            beams = [Beam(beam.ids, value) for beam, value in zip(beams, sums, strict=True)]
        for place, row in enumerate(rows):
            chosen = slice(place * self.draws, (place + 1) * self.draws)
            done(int(row), self._read(beams[chosen], int(limits[place * self.draws]), config))

    def _whole(self, ids: list[int]) -> list[int]:
        """Up to the end of the text, and with it."""
        end = next((place + 1 for place, token in enumerate(ids) if token in self.ends), len(ids))
        return ids[:end]

    def _read(self, beams: Sequence[Beam], limit: int, config: Any) -> list[Hypothesis]:
        """As texts, each once."""
        forced = config.forced_eos_token_id is not None  # an end at the limit says nothing then
        texts = self.loaded.tokenizer.batch_decode([beam.ids for beam in beams], skip_special_tokens=True)
        found: dict[str, Hypothesis] = {}
        for beam, text in zip(beams, texts, strict=True):
            tokens = len(beam.ids)
            mean = beam.log_probability / max(1, tokens)
            ended = bool(beam.ids) and beam.ids[-1] in self.ends and not (forced and tokens >= limit)
            found.setdefault(text.strip(), Hypothesis(text.strip(), tokens, ended, math.exp(min(0.0, mean))))
        hypotheses = list(found.values())[: self.count] or [Hypothesis("", 0, ended=True)]
        if self.draws > 1:
            hypotheses.sort(key=lambda item: -item.probability)
        return hypotheses

    def _log_probabilities(
        self, inputs: dict[str, torch.Tensor], prefix: tuple[int, ...], texts: Sequence[Sequence[int]]
    ) -> list[float]:
        """The log-probability of each text as the decoder gives it, in one pass."""
        import torch

        model = self.loaded.model
        longest = max(len(text) for text in texts)
        ids = torch.full((len(texts), longest), self.pad)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
        ids = ids.to(self.loaded.device)
        begun = inputs.get("decoder_input_ids", torch.full_like(ids[:, :1], decoder_start(model)))
        arguments = {name: value for name, value in inputs.items() if name != "decoder_input_ids"}
        logits = model(**arguments, decoder_input_ids=torch.cat([begun, ids[:, :-1]], 1), use_cache=False).logits
        scores = logits[:, len(prefix) :].float().log_softmax(-1).gather(-1, ids[:, :, None])[:, :, 0].cpu()
        return [float(scores[row, : len(text)].sum()) for row, text in enumerate(texts)]


def _sampling(options: DecodingOptions, rows: int, seeds: Sequence[Sequence[int]]) -> Callable[..., torch.Tensor]:
    import torch

    return sampling_processor(
        torch.ones((rows, 1)), seeds, temperature=options.temperature, top_k=options.top_k, top_p=options.top_p
    )


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
    settings = (getattr(model, "generation_config", None), model.config)
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
    config.max_new_tokens = min(options.max_new_tokens, max(1, decoder_limit(model.config) - prefix - 1))
    config.max_length = None
    config.min_length = min(config.min_length or 0, config.max_new_tokens)
    if options.min_new_tokens:
        config.min_length, config.min_new_tokens = 0, min(options.min_new_tokens, config.max_new_tokens)
    if options.no_repeat_ngram:
        config.no_repeat_ngram_size = options.no_repeat_ngram
    if prefix:  # the prefix says the same, for each text by itself
        config.forced_bos_token_id = None
    config.do_sample = False  # what is drawn is drawn by our own numbers
    config.temperature = config.top_k = config.top_p = None
    return config
