"""A model that begins with random weights: a vocabulary learned from the training texts, and the recipe's shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app import settings
from lmstudio_app.devices import resolve_device
from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import ArchitectureConfig, create_model
from lmstudio_app.models.card import ModelCard
from lmstudio_app.models.loading import LoadedModel, load_tokenizer, move_model, preload_libraries, quiet_transformers
from lmstudio_app.models.references import resolve
from lmstudio_app.models.tokenizers import MAX_CHARACTERS, train_tokenizer
from lmstudio_app.tasks import Task
from lmstudio_app.training.checkpoints import checkpoint_folders, find_damage
from lmstudio_app.training.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset

_FORMAT = 1  # part of every key: raise it when the same texts give another tokenizer
_BATCH = 1000
_NEEDED = {
    "bert": ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
    "gpt2": ("pad_token", "eos_token"),
    "llama": ("pad_token", "eos_token"),
    "marian": ("pad_token", "eos_token"),
}


def start_from_scratch(
    recipe: Recipe, task: Task, train: Dataset, labels: Sequence[str], ctx: JobContext, saved: Path | None = None
) -> LoadedModel:
    """The new model of ``recipe.architecture`` with the task's head, its tokenizer and a card, on the device.

    The tokenizer is that of the folder ``saved`` (a checkpoint that a run goes on from: the weights belong to it, even
    if the data has changed since), else the recipe's ready one, else it is learned from the rows of ``train`` and kept
    in the cache. The weights depend on the recipe's seed alone. Raises :class:`UserError` as learning a vocabulary and
    loading a tokenizer do.
    """
    config = recipe.architecture
    if config is None:
        raise ValueError("the recipe has no architecture")
    ctx.status("Loading the libraries")
    preload_libraries(ctx)
    device = resolve_device(recipe.training.device)
    extra = tuple(task.special_tokens(train, recipe.options)) if task.special_tokens is not None else ()
    folder = saved or tokenizer_folder(config, task, train, extra, ctx)
    with quiet_transformers(ctx):
        tokenizer = load_tokenizer(folder)
        require_tokens(tokenizer, config.family, folder)
        ctx.status("Making the model with random weights: {title}", title=config.title)
        model = create_model(config, task.head, tokenizer, labels, recipe.training.seed)
    if device.type != "cpu":
        model = move_model(model, device)
    card = _card(recipe.title, folder, config, model, task.head, labels)
    ctx.status(
        "It has {count} parameters and a vocabulary of {size} pieces", count=card.parameters, size=len(tokenizer)
    )
    return LoadedModel(recipe.title, folder, model, tokenizer, card, device, model.dtype, task.head)


def saved_tokenizer(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint, whose tokenizer a run goes on with; None before the first."""
    return next((folder for folder in reversed(checkpoint_folders(checkpoints)) if not find_damage(folder)), None)


def training_texts(train: Dataset, task: Task) -> Iterator[str]:
    """Every text of the rows, in their order: of the task's text columns, and what is said in its chats.

    Of a large data set as many rows as :data:`MAX_CHARACTERS` allow, spread evenly over it.
    """
    names = [
        spec.name
        for spec in task.columns
        if spec.type in ("text", "document", "messages") and spec.name in train.column_names
    ]
    size = sum(_characters(train, name) for name in names)
    step = max(1, -(-size // MAX_CHARACTERS))
    for start in range(0, len(train), _BATCH * step):
        rows = train[start : start + _BATCH * step : step]
        for values in zip(*(rows[name] for name in names), strict=True):
            for value in values:
                if isinstance(value, str):
                    yield value
                elif value is not None:
                    yield from (str(message["content"]) for message in value)


def _characters(train: Dataset, name: str) -> int:
    """How many characters a column holds, estimated for chats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = train.data.column(name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return int(pc.sum(pc.utf8_length(column)).as_py() or 0)
    return int(column.nbytes)


def tokenizer_folder(
    config: ArchitectureConfig, task: Task, train: Dataset, extra: Sequence[str], ctx: JobContext
) -> Path:
    """The ready tokenizer's folder, or one in the cache in which the learned one lies."""
    if config.tokenizer.folder:
        return resolve(config.tokenizer.folder, ctx)
    digest = hashlib.sha256()
    for text in training_texts(train, task):
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    learned = config.tokenizer
    key = [_FORMAT, learned.kind, learned.vocabulary, learned.lowercase, config.family, config.max_length, list(extra)]
    digest.update(json.dumps(key).encode())
    folder = settings.cache_folder() / "tokenizers" / digest.hexdigest()[:32]
    marker = folder / "tokenizer_config.json"
    if not marker.is_file():
        tokenizer = train_tokenizer(
            learned, training_texts(train, task), ctx, family=config.family, max_length=config.max_length, extra=extra
        )
        with atomic_folder(folder, unless=marker.is_file) as temporary, quiet_transformers():
            tokenizer.save_pretrained(temporary)
    return folder


def require_tokens(tokenizer: Any, family: str, folder: Path) -> None:
    missing = [name for name in _NEEDED[family] if getattr(tokenizer, name) is None]
    if missing == ["pad_token"] and tokenizer.eos_token is not None:  # as decoders are commonly published
        tokenizer.pad_token = tokenizer.eos_token
        return
    if missing:
        raise UserError(
            "The tokenizer in {folder} has no {missing}, which a {family} model needs.",
            "Leave the tokenizer's folder empty to learn one, or choose that of a model of the same family.",
            folder=str(folder), missing=", ".join(missing), family=family,
        )  # fmt: skip


def _card(
    title: str, folder: Path, config: ArchitectureConfig, model: Any, head: str, labels: Sequence[str]
) -> ModelCard:
    count = sum(parameter.numel() for parameter in model.parameters())
    return ModelCard(
        reference=title,
        folder=folder,
        architecture=type(model).__name__,
        model_type=config.family,
        layers=config.layers,
        heads=config.heads,
        key_value_heads=config.heads,
        hidden_size=config.hidden_size,
        vocabulary=int(model.config.vocab_size),
        max_length=config.max_length,
        parameters=count,
        memory_float32=4 * count,
        memory_bf16=2 * count,
        license="",
        labels=tuple(labels),
        head=head,
        title=title,
        source="training",
        stored_type="F32",
    )
