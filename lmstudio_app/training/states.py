"""A run's model at several times, each ready to be loaded: what it began from, its checkpoints, what became of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.files import atomic_folder
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.adapters import ADAPTER_WEIGHTS, complete_adapter, is_adapter
from lmstudio_app.models.conversion import conversions_folder
from lmstudio_app.models.preloading import preload_libraries
from lmstudio_app.models.provenance import write_provenance
from lmstudio_app.models.references import resolve
from lmstudio_app.tasks import find_task
from lmstudio_app.training.checkpoints import checkpoint_folders, step_of
from lmstudio_app.training.runs import CHECKPOINTS
from lmstudio_app.training.summaries import FINAL, RECIPE, read_recipe, require_run

KINDS = ("base", "checkpoint", "final")


@dataclass(frozen=True)
class ModelState:
    """``kind`` is one of :data:`KINDS`; ``step`` counts the optimizer steps, of a checkpoint.

    ``reference`` is what :func:`loadable` takes.
    """

    kind: str
    reference: str
    step: int = 0


def list_states(folder: Path) -> tuple[ModelState, ...]:
    """In the order of time. A model that was trained from scratch has no base; a run that did not end has no final.

    Raises :class:`UserError` when ``folder`` holds no run.
    """
    folder = require_run(folder)
    base = str(read_recipe(folder).get("model") or "")
    found = [ModelState("base", base)] if base else []
    found += [ModelState("checkpoint", str(path), step_of(path)) for path in checkpoint_folders(folder / CHECKPOINTS)]
    if (folder / FINAL / "config.json").is_file():
        found.append(ModelState("final", str(folder / FINAL)))
    return tuple(found)


def loadable(reference: str, ctx: JobContext) -> str:
    """A reference that :func:`lmstudio_app.models.loading.load_model` takes.

    It is the same one, except for a checkpoint that holds adapters alone: a copy of it, which is small, gets the
    tokenizer and says which model the adapters are for. Raises :class:`UserError` when that model is not here.
    """
    folder = Path(reference).expanduser()
    run = folder.parent.parent
    if folder.parent.name != CHECKPOINTS or not (run / RECIPE).is_file() or not is_adapter(folder):
        return reference
    recipe = read_recipe(run)
    base = str(recipe["model"])
    status = (folder / ADAPTER_WEIGHTS).stat()
    stamp = hashlib.sha256(f"{folder.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
    target = conversions_folder() / f"{run.name}-{folder.name}-{stamp}"
    if not (target / "config.json").is_file():
        found = resolve(base, ctx)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(target) as temporary:
            for name in ("config.json", "adapter_config.json", ADAPTER_WEIGHTS):
                shutil.copyfile(folder / name, temporary / name)
            preload_libraries(ctx)
            _name_architecture(temporary, find_task(str(recipe["task"])).head)
            complete_adapter(temporary, found)
            title = f"{run.name}, step {step_of(folder)}"
            write_provenance(temporary, {"title": title, "reference": str(folder), "base_model": base})
    return str(target)


def _name_architecture(folder: Path, head: str) -> None:
    """The configuration of a checkpoint still says what the model was before it got the task's head."""
    import transformers

    from lmstudio_app.models.loading import AUTO_CLASSES, load_config

    classes = getattr(transformers, AUTO_CLASSES[head])._model_mapping
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["architectures"] = [classes[type(load_config(folder))].__name__]
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
