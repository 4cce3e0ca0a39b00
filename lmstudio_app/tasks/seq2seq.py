"""What translation and summarisation share: pairs of texts, their loss, and their evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.models.generation import DecodingOptions
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.options import check_options, option
from lmstudio_app.tasks.cross_entropy import cross_entropy, perplexity
from lmstudio_app.tasks.task import IGNORED, Evaluation, Inputs, PredictOptions, Rows, Setup
from lmstudio_app.tasks.writing import Prompt, decoder_limit, decoder_start, generate_texts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lmstudio_app.models.loading import LoadedModel

_LOGITS = 1 << 23  # at once in an evaluation: 32 MiB in float32
_SAMPLES = 20  # texts that an evaluation shows
_SAMPLE_CHARACTERS = 2000
TEXT = ColumnSpec("text", "Text", "The text to read.", aliases=("text", "source", "document", "sentence"))


@dataclass(frozen=True)
class Seq2SeqOptions:
    """What every task from text to text can be told."""

    max_target_length: int = option(
        128, "Longest output", "Longer target texts are cut to this many tokens.",
        basic=True, minimum=4, maximum=100_000,
    )  # fmt: skip
    label_smoothing: float = option(
        0.0,
        "Label smoothing",
        "Share of the certainty that is spread over all tokens; 0.1 suits training from scratch.",
        minimum=0.0,
        maximum=0.5,
    )
    source_prefix: str = option(
        "", "Prefix", "Put in front of every source text, as T5 wants it; empty: what the model itself declares."
    )
    generate_rows: int = option(
        64, "Rows to write", "Evaluation rows that the model writes itself, for scores and samples.",
        minimum=1, maximum=1_000_000,
    )  # fmt: skip
    beams: int = option(
        1, "Beams", "Beginnings followed at once in evaluations; more is better and slower.", minimum=1, maximum=64
    )

    def __post_init__(self) -> None:
        check_options(self, "options")


@dataclass(frozen=True)
class WriteOptions(PredictOptions, DecodingOptions):
    """Options of a prediction that writes texts."""

    source_prefix: str = option(
        "", "Prefix", "Put in front of every text, as T5 wants it; empty: as the model was trained."
    )


def encode_sources(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of source texts, cut to ``max_length``; a text without a token becomes one."""
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length, return_attention_mask=False)
    filler = next(id for id in (tokenizer.eos_token_id, tokenizer.pad_token_id, 0) if id is not None)
    return [ids or [filler] for ids in encoded["input_ids"]]


def encode_targets(texts: Sequence[str], setup: Setup) -> list[list[int]]:
    """Token ids of target texts by the tokenizer's target side, each with its end, cut to what the decoder can hold."""
    tokenizer = setup.tokenizer
    limit = min(setup.options.max_target_length, decoder_limit(setup.model_config))
    encoded = tokenizer(text_target=list(texts), truncation=True, max_length=limit, return_attention_mask=False)
    end = tokenizer.eos_token_id
    targets: list[list[int]] = []
    for ids in encoded["input_ids"]:
        # some tokenizers frame texts with nothing, and a model that never saw an end never ends
        targets.append(ids if end is None or end in ids[-2:] else [*ids[: limit - 1], end])
        if len(ids) >= limit:
            setup.notes["{count} target texts are cut to options.max_target_length."] += 1
    return targets


def declared_prefix(config: Any, task: str) -> str:
    """What T5's configuration says is put in front of the texts of a task, such as ``summarization``."""
    tasks = getattr(config, "task_specific_params", None) or {}
    return str((tasks.get(task) or {}).get("prefix") or "")


def collate(
    features: Sequence[Mapping[str, Any]], setup: Setup, random: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Padded ``input_ids``, ``attention_mask`` and ``labels``; where it is wanted, the scalar ``label_smoothing``."""
    import torch

    pad = setup.model_config.pad_token_id
    pad = setup.tokenizer.pad_token_id or 0 if pad is None else pad
    batch = pad_features(features, {"input_ids": pad, "labels": IGNORED})
    if setup.options.label_smoothing:
        batch["label_smoothing"] = torch.tensor(setup.options.label_smoothing)
    return batch


def smoothed_loss(model: Any, inputs: Inputs) -> torch.Tensor:
    """Mean cross-entropy over the labels that are not ignored, with label smoothing (Szegedy et al. 2016).

    The target distribution is ``(1 - s) · label + s · uniform``, as in ``torch.nn.functional.cross_entropy``. Without
    smoothing it equals the model's own loss.
    """
    arguments = dict(inputs)
    smoothing = arguments.pop("label_smoothing", 0.0)
    labels = arguments.pop("labels")
    logits = model(**arguments, decoder_input_ids=_shift_right(model, labels), use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), smoothing)


def _shift_right(model: Any, labels: torch.Tensor) -> torch.Tensor:
    """What the decoder reads to write ``labels``: the start, then all but the last of them."""
    model = getattr(model, "module", model)  # as it is wrapped for several processes
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        own: torch.Tensor = model.prepare_decoder_input_ids_from_labels(labels)
        return own
    shifted: torch.Tensor = labels.roll(1, dims=1)
    shifted[:, 0] = decoder_start(model)
    shifted[shifted == IGNORED] = model.config.pad_token_id
    return shifted


def evaluate_pairs(
    evaluation: Evaluation,
    columns: tuple[str, str],
    make_prompts: Callable[[Rows], list[Prompt]],
    score: Callable[[Sequence[str], Sequence[str], Rows], dict[str, float]],
    *,
    longest_ratio: float = 0.0,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Loss and perplexity over all rows; scores and samples of what the model writes for ``generate_rows`` of them.

    ``columns`` are those with the texts and with what is to be written for them. ``score`` gets the texts that were
    written, those that should have been, and their rows.
    """
    options, ctx = evaluation.setup.options, evaluation.ctx
    metrics = _reading_metrics(evaluation)
    rows: Rows = evaluation.rows.select(evaluation.sample(options.generate_rows))[:]
    sources, references = (rows[name] for name in columns)
    ctx.status("Writing {count} texts of the evaluation set", count=len(sources))
    decoding = DecodingOptions(beams=options.beams, max_new_tokens=options.max_target_length)
    outputs = generate_texts(evaluation.loaded, make_prompts(rows), ctx, decoding, longest_ratio=longest_ratio)
    samples = [
        {"input": source[:_SAMPLE_CHARACTERS], "reference": wanted[:_SAMPLE_CHARACTERS], "output": output}
        for source, wanted, output in islice(zip(sources, references, outputs, strict=True), _SAMPLES)
    ]
    return metrics | score(outputs, references, rows), {"samples": samples}


def _reading_metrics(evaluation: Evaluation) -> dict[str, float]:
    """``loss``, the mean cross-entropy of a target token given the right ones before it, and its ``perplexity``."""
    total: Any = 0.0
    count: Any = 0
    for inputs, _ in evaluation.batches():
        evaluation.ctx.check()
        inputs.pop("label_smoothing", None)  # the loss is to compare with trainings without it
        for part in _parts(inputs, evaluation.setup.model_config.vocab_size):
            items = (part["labels"] != IGNORED).sum()
            loss = evaluation.model(**part, use_cache=False).loss
            total = total + loss.float() * items  # read once at the end, so that a GPU need not wait
            count = count + items
    mean = float(total / count)
    return {"loss": mean, "perplexity": perplexity(mean)}


def _parts(inputs: Inputs, vocabulary: int) -> Iterator[dict[str, torch.Tensor]]:
    """A batch in pieces whose logits, a number for every target token and piece of the vocabulary, stay small."""
    rows, width = inputs["labels"].shape
    size = max(1, _LOGITS // (width * vocabulary))
    for start in range(0, rows, size):
        yield {name: tensor[start : start + size] for name, tensor in inputs.items()}


def trained_options(loaded: LoadedModel) -> dict[str, Any]:
    """The task's options with which a model was trained by this app; empty for any other model."""
    recipe = read_provenance(loaded.folder).get("recipe")
    options = recipe.get("options") if isinstance(recipe, Mapping) else None
    return dict(options) if isinstance(options, Mapping) else {}
