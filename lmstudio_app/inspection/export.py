"""Write attention to a file: numbers (.npz, .csv), a picture (.png, .svg, .pdf) or an interactive page (.html).

Nothing is held twice: what is in memory is written from there, and a long text is read again while it is written.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_path
from lmstudio_app.inspection import drawing
from lmstudio_app.inspection.arrangement import Arrangement
from lmstudio_app.inspection.attention import AttentionMap, AttentionRequest, ModelAndTokenizer
from lmstudio_app.inspection.drawing import PictureStyle, save_figure
from lmstudio_app.inspection.export_numbers import write_csv, write_npz
from lmstudio_app.inspection.export_source import (
    Source,
    arranged,
    only_head,
    source_of_aggregate,
    source_of_layer,
    source_of_maps,
    source_of_request,
)
from lmstudio_app.inspection.picture_views import VIEWS, draw_view, subtitles_of
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.inspection.picture_views import Thumbnails
    from lmstudio_app.inspection.reading import Reading

__all__ = ["FORMATS", "VIEWS", "AttentionJob", "SaveJob", "check_format", "run_attention_job", "run_save_job"]

FORMATS = ("npz", "csv", *drawing.FORMATS, "html")
_TEXT = 20_000  # characters of the text that a page shows


@dataclass(frozen=True)
class AttentionJob:
    """Everything ``lmstudio-app attention`` needs. ``view`` empty: the grid, or the head where there is only one."""

    model: str
    request: AttentionRequest
    output: Path
    view: str = ""
    device: str = "auto"
    style: PictureStyle = field(default_factory=PictureStyle)
    arrangement: Arrangement = field(default_factory=Arrangement)


@dataclass(frozen=True, eq=False)
class SaveJob:
    """What a reading shows: of one head (views "head" and "lines"), of all ("grid") or of all together ("rollout").

    ``layer_map`` is the head's layer where it is in memory already. ``output`` None: nothing is written.
    """

    reading: Reading
    view: str
    layer: int
    head: int
    output: Path | None
    style: PictureStyle
    arrangement: Arrangement
    layer_map: AttentionMap | None = None


def check_format(output: Path) -> str:
    """The format that the name of a file asks for. Raises :class:`UserError` when there is no such format."""
    found = output.suffix.lower().removeprefix(".")
    if found not in FORMATS:
        raise UserError(
            "A file that ends in {suffix} cannot be written.",
            "Choose a name that ends in .npz or .csv (numbers), .png, .svg or .pdf (a picture) or .html (a page).",
            suffix=output.suffix or output.name,
        )
    return found


def run_attention_job(job: AttentionJob, ctx: JobContext) -> Path:
    """Load the model in float32, read its attention and write it. Returns the file; nothing is fetched."""
    from lmstudio_app.models.loading import LoadRequest, load_model

    check_format(job.output)
    loaded = load_model(LoadRequest(job.model, device=job.device, precision="float32"), ctx)
    return read_and_save(loaded, job, ctx)


def read_and_save(loaded: ModelAndTokenizer, job: AttentionJob, ctx: JobContext) -> Path:
    """:func:`run_attention_job` for a model that is loaded already."""
    form = check_format(job.output)
    ctx.status("Reading the attention weights")
    request = job.request
    if job.view == "rollout":
        shown = _Shown("rollout", source_of_aggregate(loaded, request, "rollout", ctx), None)
    else:
        source = source_of_request(loaded, request, ctx)
        is_one = len(source.layers) * len(source.heads) == 1
        chosen = (source.layers[0], source.heads[0])
        view = job.view or ("head" if is_one else "grid")
        if view in ("head", "lines") and not is_one:
            raise UserError(
                "A picture of one head needs to know which one.",
                "Name one, for example --layers {layer} --heads {head}.",
                layer=chosen[0],
                head=chosen[1],
            )
        if view == "head" and job.style.scale == "difference" and form in drawing.FORMATS:
            source = source_of_request(loaded, replace(request, heads=None), ctx)  # the mean is of all heads
        shown = _Shown(view, source, chosen if view != "grid" else None)
    ctx.check()
    _save(job.output, shown, job.arrangement, job.style, request.text, ctx)
    ctx.status("Saved {path}", path=str(job.output))
    return job.output


def run_save_job(job: SaveJob, ctx: JobContext) -> bytes:
    """Write what is shown to ``job.output``; or return it as PNG, when there is none."""
    from lmstudio_app.inspection.reading import LayerRequest, read_layer

    ctx.check()
    reading, view = job.reading, job.view
    thumbnails, chosen = None, None
    if view == "rollout":
        source = source_of_aggregate(reading.loaded, reading.request, "rollout", ctx)
    elif view == "grid":
        if reading.maps is not None:
            source = source_of_maps(reading.maps)
        else:
            source = source_of_request(reading.loaded, reading.request, ctx)
            if job.arrangement == Arrangement():
                thumbnails = reading.overview.thumbnails  # a long text need not be read again for its grid
    else:
        chosen = (job.layer, job.head)
        source = source_of_layer(job.layer_map or read_layer(LayerRequest(reading, job.layer), ctx))
    shown = _Shown(view, source, chosen, thumbnails)
    if job.output is not None:
        _save(job.output, shown, job.arrangement, job.style, reading.request.text, ctx)
        return b""
    buffer = io.BytesIO()
    _write_picture(buffer, "png", shown, arranged(source, job.arrangement), job.style, ctx)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class _Shown:
    """``chosen``: layer and head, for the views of one head."""

    view: str
    source: Source
    chosen: tuple[int, int] | None
    thumbnails: Thumbnails | None = None


def _save(
    output: Path, shown: _Shown, arrangement: Arrangement, style: PictureStyle, text: str, ctx: JobContext
) -> None:
    form = check_format(output)
    source = arranged(shown.source, arrangement)
    with atomic_path(output) as temporary, temporary.open("wb") as file:
        if form in drawing.FORMATS:
            _write_picture(file, form, shown, source, style, ctx)
        else:
            if shown.chosen is not None and len(source.heads) > 1:
                source = only_head(source, *shown.chosen)
            if form == "npz":
                write_npz(file, source, ctx)
            elif form == "csv":
                write_csv(file, source, ctx)
            else:
                _write_page(file, shown, source, style, text, ctx)
        ctx.check()  # whoever cancels at the last moment keeps the old file


def _write_picture(
    file: IO[bytes], form: str, shown: _Shown, source: Source, style: PictureStyle, ctx: JobContext
) -> None:
    figure = draw_view(shown.view, source, shown.chosen, style, ctx, shown.thumbnails)
    ctx.check()
    save_figure(figure, file, form, subtitles_of(shown.view, source, shown.chosen).title)


def _write_page(
    file: IO[bytes], shown: _Shown, source: Source, style: PictureStyle, text: str, ctx: JobContext
) -> None:
    from lmstudio_app.inspection.page_html import PageContent, write_page

    subtitles = subtitles_of("head", source, shown.chosen)
    content = PageContent(
        subtitles,
        text=text if len(text) <= _TEXT else text[:_TEXT] + " …",
        view="lines" if shown.view == "lines" else "map",
        chosen=shown.chosen,
        single=subtitles.title if source.method else "",
    )
    write_page(file, source, content, ctx, style)
