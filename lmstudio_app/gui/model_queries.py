"""What the Model page asks the core, as jobs: a description of a model, and of this computer's devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card import ModelCard, read_card
from lmstudio_app.models.conversion import is_readable
from lmstudio_app.models.preloading import preload_libraries
from lmstudio_app.models.references import resolve


@dataclass(frozen=True)
class DeviceChoice:
    """One line of the device chooser. ``memory`` in bytes; ``fast_bf16``: its hardware computes with bfloat16."""

    name: str
    title: str
    memory: int
    fast_bf16: bool


def find_devices(_: None, ctx: JobContext) -> list[DeviceChoice]:
    """The devices of this computer, the best first. Imports torch."""
    preload_libraries(ctx)
    import torch

    from lmstudio_app.devices import available_devices, has_fast_bf16

    return [
        DeviceChoice(device.name, device.title, device.memory, has_fast_bf16(torch.device(device.name)))
        for device in available_devices()
    ]


def describe_model(reference: str, ctx: JobContext) -> ModelCard:
    """The card of a model on this disk. Raises :class:`UserError` as :func:`resolve` and :func:`read_card` do, and for
    one that has to be converted first, which takes too long for a look.
    """
    path = Path(reference).expanduser()
    if path.exists() and not is_readable(path):
        raise UserError(
            "{name} has no safetensors yet.",
            "Load it: they are made of it once, which takes some seconds. Its own files stay as they are.",
            name=path.name,
        )
    return read_card(resolve(reference, ctx), reference)
