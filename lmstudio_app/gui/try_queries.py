"""The jobs behind the Try page: one question to a model, sample inputs that suit it, and models to try."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import Cancelled
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks import Prediction, Task

_KNOWN = 0.1  # share of unknown tokens up to which a sample is worth showing


@dataclass(frozen=True, eq=False)
class Question:
    """``inputs`` is one row for ``prediction``; ``options`` is an instance of its options."""

    loaded: LoadedModel
    prediction: Prediction
    inputs: Mapping[str, Any]
    options: Any


@dataclass(frozen=True, eq=False)
class Reply:
    """What the model says, and how long it took.

    ``continued`` goes with a next token's candidates: for each the text with it behind, or None for a token that is no
    text. ``mask`` is the model's own mask token, empty where it has none.
    """

    output: Any
    seconds: float
    continued: tuple[str | None, ...] = ()
    mask: str = ""


def ask_model(question: Question, ctx: JobContext) -> Reply:
    """Raises :class:`Cancelled` when it was stopped before anything was said, and what the prediction raises.

    It runs where all quick answers do, one after the other, so the tokenizer is nobody else's meanwhile.
    """
    from lmstudio_app.tasks.next_token import NEXT_TOKEN, append_token

    prediction, loaded = question.prediction, question.loaded
    start = time.perf_counter()
    output = next(iter(prediction.predict(loaded, [question.inputs], ctx, question.options)), None)
    seconds = time.perf_counter() - start
    if output is None:
        raise Cancelled
    continued: tuple[str | None, ...] = ()
    if prediction.name == NEXT_TOKEN.name:
        text = question.inputs["text"]
        continued = tuple(append_token(loaded.tokenizer, text, item.token) for item in output.places[0])
    return Reply(output, seconds, continued, loaded.tokenizer.mask_token or "")


@dataclass(frozen=True, eq=False)
class Sample:
    """An input to begin with. ``language`` is an ISO 639-1 code."""

    language: str
    inputs: Mapping[str, Any]


def read_samples(folder: Path) -> dict[str, list[Sample]]:
    """The sample inputs of every prediction, by its name."""
    import yaml

    found = yaml.safe_load((folder / "try.yaml").read_text(encoding="utf-8"))
    return {
        name: [
            Sample(item["language"], {key: value for key, value in item.items() if key != "language"}) for item in items
        ]
        for name, items in found.items()
    }


def read_probes(task: Task, ctx: JobContext) -> list[tuple[str, str]]:
    """Sentences that may be watched while a model learns ``task``, each with a second one or none."""
    from lmstudio_app.assets import resource

    samples = read_samples(resource("samples"))
    names = [prediction.name for prediction in task.predictions]
    found = next((samples[name] for name in names if name in samples), samples["sentiment"])
    texts = [_texts(sample.inputs)[:2] for sample in found if sample.language == "en"]
    return [(first, "".join(rest)) for first, *rest in texts]


@dataclass(frozen=True, eq=False)
class Study:
    """What is good to know of a model: samples by prediction, and the predictions that it was trained for by name."""

    samples: Mapping[str, list[Sample]] = field(default_factory=dict)
    trained_for: tuple[str, ...] = ()


def study_model(loaded: LoadedModel, ctx: JobContext) -> Study:
    """All samples in English, those in other languages whose characters the vocabulary has, and the model's origin."""
    from lmstudio_app.assets import resource
    from lmstudio_app.models.provenance import read_provenance
    from lmstudio_app.tasks import TASKS

    samples = {
        name: [item for item in items if item.language == "en" or _knows(loaded.tokenizer, item)]
        for name, items in read_samples(resource("samples")).items()
    }
    task = read_provenance(loaded.folder).get("task")
    trained_for = tuple(item.name for known in TASKS if known.name == task for item in known.predictions)
    return Study(samples, trained_for)


def _knows(tokenizer: Any, sample: Sample) -> bool:
    text = " ".join(_texts(sample.inputs))
    ids = tokenizer(text.replace("[MASK]", " "), truncation=True, add_special_tokens=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    return bool(ids) and (unknown is None or ids.count(unknown) <= _KNOWN * len(ids))


def _texts(inputs: Mapping[str, Any]) -> list[str]:
    return [
        text
        for value in inputs.values()
        for text in ([value] if isinstance(value, str) else [message["content"] for message in value])
    ]


@dataclass(frozen=True)
class Trained:
    """A model that was trained here; ``title`` is what its run is called."""

    task: str
    title: str
    folder: Path


def newest_trained(limit: int, ctx: JobContext) -> list[Trained]:
    """The newest trained model of each task, the newest first."""
    from lmstudio_app.gui.run_texts import dated_title
    from lmstudio_app.training.summaries import list_runs

    found: dict[str, Trained] = {}
    for run in sorted(list_runs(ctx=ctx), key=lambda run: -run.started):
        if run.task not in found and (folder := run.model_folder) is not None:
            found[run.task] = Trained(run.task, dated_title(run), folder)
        if len(found) == limit:
            break
    return list(found.values())
