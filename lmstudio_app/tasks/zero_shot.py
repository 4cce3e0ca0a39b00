"""Zero-shot classification: labels of one's own, on a model that was never trained for them.

Three kinds of models can do it, each in its own way; :func:`zero_shot_method` says which one a model takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.options import option
from lmstudio_app.tasks.classification import TEXT
from lmstudio_app.tasks.embedding import Embedder
from lmstudio_app.tasks.label_likelihood import LabelLikelihood
from lmstudio_app.tasks.outputs import Label
from lmstudio_app.tasks.streaming import longest_text, row_text, stream_rows
from lmstudio_app.tasks.task import Prediction, PredictOptions

if TYPE_CHECKING:
    import numpy as np

    from lmstudio_app.models.loading import LoadedModel

ENTAILMENT, LIKELIHOOD, SIMILARITY = "entailment", "likelihood", "similarity"
TEMPLATE = "This text is about {}."
# Cosines of texts and labels lie within a few tenths. Of 0.02 to 0.1 this one gives probabilities that are neither
# always near 1 nor all alike on sentences of five topics, three moods and two opinions with all-MiniLM-L6-v2.
TEMPERATURE = 0.05
MAX_LABELS = 100
_SEPARATORS = re.compile(r"[,，、;；\n]")


@dataclass(frozen=True)
class ZeroShotOptions(PredictOptions):
    """The labels to choose from, and the sentence that they are put into."""

    labels: str = option(
        "", "Labels", "Your own labels, with commas between them: sports, politics, science.", basic=True
    )
    template: str = option(
        TEMPLATE, "Sentence", "What would be true of a text with the label; {} is where the label goes."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.template.count("{}") != 1:
            raise UserError(
                "The sentence “{sentence}” has no single place for the label.",
                "Write {{}} once where the label goes, for example: This text is about {{}}.",
                sentence=self.template,
            )


def split_labels(text: str) -> tuple[str, ...]:
    """Labels as a person writes them, with commas between; each once, in their order."""
    names = (name.strip() for name in _SEPARATORS.split(text))
    return tuple(dict.fromkeys(name for name in names if name))


def zero_shot_method(head: str, labels: Sequence[str]) -> str | None:
    """How a model with this head and these labels of its own judges labels of others; None when it cannot.

    ``entailment``: a model of natural language inference is asked whether the text entails "This text is about sports."
    (Yin, Hay and Roth 2019). ``likelihood``: a language model says how probable the label is as the end of that
    sentence (Zhao et al. 2021). ``similarity``: an encoder says how near the sentence's vector is to that of the text.
    """
    if head == "sequence-classification":
        return ENTAILMENT if _find(labels, "entail") is not None else None
    return {"causal-lm": LIKELIHOOD, "base": SIMILARITY}.get(head)


def _find(labels: Sequence[str], beginning: str) -> int | None:
    """The label that begins so; ``not_entailment`` does not."""
    return next((index for index, label in enumerate(labels) if label.lower().startswith(beginning)), None)


def choose_among(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: ZeroShotOptions
) -> Iterator[Label]:
    """The best of ``options.labels`` for each row's ``text``, in the rows' order; the probabilities sum to 1.

    Raises :class:`UserError` for fewer than two labels and for a model that has no way to do it.
    """
    labels = split_labels(options.labels)
    if not 2 <= len(labels) <= MAX_LABELS:
        raise UserError(
            "There are {count} labels to choose from.",
            "Name 2 to {most} labels, with commas between them: sports, politics, science.",
            count=len(labels), most=MAX_LABELS,
        )  # fmt: skip
    method = zero_shot_method(loaded.head, loaded.labels)
    if method is None:
        raise UserError(
            "{model} has learned other labels and cannot be asked about yours.",
            "Choose an encoder such as starter:encoder, a chat model, or a model of natural language inference.",
            model=loaded.reference,
        )
    score = _SCORERS[method](loaded, labels, options, ctx)

    def _run(texts: Sequence[str]) -> list[Label]:
        values = score(texts)
        shares = _softmax(values)
        return [Label(labels[int(row.argmax())], dict(zip(labels, map(float, row), strict=True))) for row in shares]

    texts_at_once = max(1, options.batch_size // len(labels))
    return stream_rows(rows, texts_at_once, ctx, lambda window: [row_text(row) for row in window], len, _run)


def _softmax(values: np.ndarray) -> np.ndarray:
    import numpy as np

    powers = np.exp(values - values.max(-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return shares


class _Entailment:
    """Logits of entailment, ``[texts, labels]``: softmax over the labels, as one of them has to be chosen."""

    def __init__(self, loaded: LoadedModel, labels: Sequence[str], options: ZeroShotOptions, ctx: JobContext) -> None:
        self._loaded, self._ctx, self._batch_size = loaded, ctx, options.batch_size
        self._hypotheses = [options.template.replace("{}", label) for label in labels]
        self._index = _find(loaded.labels, "entail") or 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np
        import torch

        loaded = self._loaded
        pairs = [(text, hypothesis) for text in texts for hypothesis in self._hypotheses]
        encoded = loaded.tokenizer(
            [text for text, _ in pairs],
            [hypothesis for _, hypothesis in pairs],
            truncation="only_first",
            max_length=longest_text(loaded),
            return_attention_mask=False,
        )
        names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
        features = [{name: encoded[name][row] for name in names} for row in range(len(pairs))]
        logits = []
        with torch.inference_mode(), interruptible(loaded.model, self._ctx):
            for start in range(0, len(features), self._batch_size):
                batch = pad_features(
                    features[start : start + self._batch_size], {"input_ids": loaded.tokenizer.pad_token_id or 0}
                )
                output = loaded.model(**{name: tensor.to(loaded.device) for name, tensor in batch.items()})
                logits.append(output.logits[:, self._index].float().cpu().numpy())
        return np.concatenate(logits).reshape(len(texts), len(self._hypotheses))


class _Likelihood:
    """Calibrated mean log-likelihoods of the labels, ``[texts, labels]``; see :class:`LabelLikelihood`."""

    def __init__(self, loaded: LoadedModel, labels: Sequence[str], options: ZeroShotOptions, ctx: JobContext) -> None:
        beginning = options.template.partition("{}")[0]
        self._likelihood = LabelLikelihood(loaded, labels, beginning, options.batch_size)
        self._ctx = ctx

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return self._likelihood.scores(texts, self._ctx)


class _Similarity:
    """cos(text, sentence with the label) / :data:`TEMPERATURE`, ``[texts, labels]``."""

    def __init__(self, loaded: LoadedModel, labels: Sequence[str], options: ZeroShotOptions, ctx: JobContext) -> None:
        self._embedder, self._ctx = Embedder(loaded), ctx
        self._labels = self._embedder.embed([options.template.replace("{}", label) for label in labels], ctx)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        cosines: np.ndarray = self._embedder.embed(texts, self._ctx) @ self._labels.T
        return cosines / TEMPERATURE


# method -> (model, labels, options, context) -> texts -> numbers [texts, labels], of which the softmax is taken
_SCORERS: Mapping[str, Callable[..., Callable[[Sequence[str]], np.ndarray]]] = {
    ENTAILMENT: _Entailment,
    LIKELIHOOD: _Likelihood,
    SIMILARITY: _Similarity,
}
ZERO_SHOT = Prediction(
    name="zero_shot",
    title="Your own labels",
    help="Sort texts by labels of your own, on a model that was not trained for them.",
    inputs=(TEXT,),
    heads=("base", "causal-lm", "sequence-classification"),
    output=Label,
    predict=choose_among,
    options=ZeroShotOptions,
)
