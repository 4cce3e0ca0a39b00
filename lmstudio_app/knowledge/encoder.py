"""The encoder of a knowledge base, and how one tells which encoder made its vectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.devices import has_fast_bf16, resolve_device
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.models.preloading import preload_libraries
from lmstudio_app.tasks.embedding import Embedder

STARTER_ENCODER = "starter:encoder"
_SAMPLES, _SAMPLE_SIZE = 64, 1 << 14


@dataclass(frozen=True)
class EncoderIdentity:
    """Which encoder made the vectors: ``fingerprint`` tells models apart wherever they are kept."""

    reference: str
    title: str
    fingerprint: str
    dimension: int


class Encoder(Embedder):
    """An embedder that says which vectors its are (see :class:`EncoderIdentity`)."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__(loaded)
        self.identity = EncoderIdentity(
            loaded.reference,
            loaded.card.title or loaded.folder.name,
            fingerprint(loaded.folder),
            self.dimension,
        )


def load_encoder(reference: str, ctx: JobContext, device: str = "auto") -> Encoder:
    """An encoder that is on disk, in bfloat16 where the hardware computes in it.

    Raises :class:`UserError` as loading does, and for a model that gives no vectors.
    """
    preload_libraries(ctx)
    precision = "bf16" if has_fast_bf16(resolve_device(device)) else "float32"
    loaded = load_model(LoadRequest(reference, head="base", device=device, precision=precision), ctx)
    return Encoder(loaded)


def fingerprint(folder: Path) -> str:
    """Tells models apart by their configuration, their vocabulary and samples from their weights.

    It is the same wherever the model is kept, and reads a megabyte or so of each weight file, not hundreds.
    """
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "1_Pooling/config.json", "adapter_config.json"):
        if (folder / name).is_file():
            digest.update(name.encode() + (folder / name).read_bytes())
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(
            "{folder} has no weights in safetensors files.", "Download or convert the model again.", folder=str(folder)
        )
    for path in weights:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for index in range(_SAMPLES):
                file.seek(size * index // _SAMPLES)
                digest.update(file.read(_SAMPLE_SIZE))
    return digest.hexdigest()
