"""Write attention weights to a file: numbers (``.npz``) or a picture (``.png``)."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_path
from lmstudio_app.inspection.attention import (
    AttentionMaps,
    AttentionRequest,
    ModelAndTokenizer,
    read_attention,
)
from lmstudio_app.inspection.picture import PictureStyle, draw_head, draw_overview
from lmstudio_app.jobs import JobContext

FORMATS = (".npz", ".png")


@dataclass(frozen=True)
class AttentionJob:
    """Everything ``lmstudio-app attention`` needs. ``layer`` and ``head`` None mean all of them."""

    model: str
    text: str
    output: Path
    pair: str | None = None
    layer: int | None = None
    head: int | None = None
    device: str = "auto"
    style: PictureStyle = field(default_factory=PictureStyle)


def run_attention_job(job: AttentionJob, ctx: JobContext) -> Path:
    """Load the model in float32, read its attention and write it. Returns the file; nothing is fetched."""
    from lmstudio_app.models.loading import LoadRequest, load_model

    check_format(job.output)
    loaded = load_model(LoadRequest(job.model, device=job.device, precision="float32"), ctx)
    return read_and_save(loaded, job, ctx)


def read_and_save(loaded: ModelAndTokenizer, job: AttentionJob, ctx: JobContext) -> Path:
    """:func:`run_attention_job` for a model that is loaded already."""
    check_format(job.output)
    layers = None if job.layer is None else (job.layer,)
    ctx.status("Reading the attention weights")
    maps = read_attention(loaded, AttentionRequest(job.text, job.pair, layers), ctx)
    if job.head is not None:
        maps = maps.only_head(job.head)
    ctx.check()
    if job.output.suffix.lower() == ".npz":
        save_npz(maps, job.output)
    elif job.layer is not None and job.head is not None:
        save_head_png(maps, job.layer, job.head, job.output, job.style)
    else:
        save_overview_png(maps, job.output, ctx, job.style)
    ctx.status("Saved {path}", path=str(job.output))
    return job.output


def check_format(output: Path) -> None:
    if output.suffix.lower() not in FORMATS:
        raise UserError(
            "A file that ends in {suffix} cannot be written.",
            "Choose a name that ends in .npz (numbers) or .png (a picture).",
            suffix=output.suffix or output.name,
        )


def save_npz(maps: AttentionMaps, output: Path) -> None:
    """``tokens`` (strings), ``weights`` float32 ``[layers, heads, query, key]``, and which ``layers`` and
    ``heads``."""
    import numpy as np

    heads = np.arange(maps.first_head, maps.first_head + maps.heads)
    with atomic_path(output) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            tokens=np.array(maps.tokens, dtype=np.str_),
            weights=maps.weights,
            layers=np.array(maps.layers),
            heads=heads,
        )


def save_head_png(maps: AttentionMaps, layer: int, head: int, output: Path, style: PictureStyle | None = None) -> None:
    with atomic_path(output) as temporary:
        draw_head(maps, layer, head, style).save(temporary, format="PNG")


def save_overview_png(maps: AttentionMaps, output: Path, ctx: JobContext, style: PictureStyle | None = None) -> None:
    with atomic_path(output) as temporary:
        draw_overview(maps, ctx, style).save(temporary, format="PNG")


@dataclass(frozen=True, eq=False)
class PictureJob:
    """A picture of weights that were read already: of one head, or (``layer`` None) of all."""

    maps: AttentionMaps
    layer: int | None
    head: int | None
    style: PictureStyle
    output: Path | None = None


def run_picture_job(job: PictureJob, ctx: JobContext) -> bytes:
    """The picture as PNG; also written to ``output`` when that is given."""
    if job.output is not None and job.output.suffix.lower() != ".png":
        raise UserError(
            "A file that ends in {suffix} cannot be written.",
            "Choose a name that ends in .png.",
            suffix=job.output.suffix or job.output.name,
        )
    ctx.check()
    if job.layer is None or job.head is None:
        image = draw_overview(job.maps, ctx, job.style)
    else:
        image = draw_head(job.maps, job.layer, job.head, job.style)
    ctx.check()
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    if job.output is not None:
        with atomic_path(job.output) as temporary:
            temporary.write_bytes(buffer.getvalue())
    return buffer.getvalue()
