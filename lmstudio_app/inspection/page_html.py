"""A page that stands alone: all heads, the chosen one as a map and as lines, in one file that asks no network.

Its script and style are ours and are named by their hashes in a content security policy that forbids everything else.
What comes from outside (tokens, text) is data in it, never markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import zlib
from dataclasses import dataclass
from string import Template
from typing import IO, TYPE_CHECKING, Any

from lmstudio_app.assets import resource
from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.inspection.colormaps import COLORMAPS, colormap
from lmstudio_app.inspection.drawing import PictureStyle
from lmstudio_app.inspection.export_source import Source, for_each_layer
from lmstudio_app.inspection.picture import Subtitles, pool_largest
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.inspection.attention import Weights
    from lmstudio_app.inspection.statistics import HeadStatistics

MOST_WEIGHTS = 64 * 2**20  # a page has at most 64 MiB of them, before they are packed
_EXACT_WEIGHTS = 2**21  # up to so many are kept in 16 bits, more in 8
_THUMBNAIL = 48  # cells along the longer side
_COMPRESSION = 3  # of zlib: more takes three times as long for a few per cent
_SCALES = ("head", "shared", "row", "log")  # that the page knows
_PATTERNS = {
    "diagonal": "each token at itself",
    "previous": "at the token before",
    "next": "at the token after",
    "first": "at the first token",
    "separator": "at the separators",
    "broad": "spread over many tokens",
    "mixed": "no single habit",
}


@dataclass(frozen=True)
class PageContent:
    """``single``: the name of the one map there is, where it is no layer's head. ``chosen``: layer and head."""

    subtitles: Subtitles
    text: str = ""
    view: str = "map"  # or "lines"
    chosen: tuple[int, int] | None = None
    single: str = ""


def write_page(
    file: IO[bytes], source: Source, content: PageContent, ctx: JobContext, style: PictureStyle | None = None
) -> None:
    """Write the page while the layers come. Raises :class:`UserError` when it would be too large for a browser."""
    style = style or PictureStyle()
    if source.count > MOST_WEIGHTS:
        raise UserError(
            "The page would hold {count} weights, about {size}, which is too much for a browser.",
            "Choose one head, or fewer layers, or a shorter text; or save the numbers as .npz.",
            count=f"{source.count:,}",
            size=format_bytes(source.count * 4 // 3),
        )
    style_sheet, script = _read("page.css"), _read("functions.js") + _read("page.js")
    opening = Template(_read("page.html")).substitute(
        title=html.escape(content.subtitles.title),
        style=style_sheet,
        style_hash=_hash(style_sheet),
        script_hash=_hash(script),
    )
    file.write(opening.encode())
    weights = _Weights(file, source)
    for_each_layer(source, lambda _, layer: weights.write(layer, ctx), ctx)
    _write_data(file, "thumbnails", _base64(b"".join(weights.thumbnails)))
    information = _information(source, content, style, weights)
    _write_data(file, "information", json.dumps(information, ensure_ascii=False).replace("<", "\\u003c"))
    file.write(f"<script>{script}</script>\n</body>\n</html>\n".encode())


class _Weights:
    """Writes one layer after the other, and keeps what the page shows of all at once."""

    def __init__(self, file: IO[bytes], source: Source) -> None:
        self._file = file
        self._source = source
        self.bits = 16 if source.count <= _EXACT_WEIGHTS else 8
        queries, keys = len(source.queries), len(source.keys)
        scale = min(1.0, _THUMBNAIL / max(queries, keys))
        self.shape = (max(1, round(queries * scale)), max(1, round(keys * scale)))
        self.thumbnails: list[bytes] = []
        self.statistics: list[list[dict[str, str]]] = []

    def write(self, weights: Weights, ctx: JobContext) -> None:
        import numpy as np
        import torch

        from lmstudio_app.inspection.statistics import StatisticsGatherer

        source, row = self._source, len(self.statistics)
        missing = np.zeros((len(source.queries), len(source.keys)), dtype=np.float32)
        small = pool_largest(weights, *self.shape)
        for column in range(len(source.heads)):  # a layer may have fewer heads than others
            ctx.check()
            is_there = column < len(weights)
            codes, top = quantised(weights[column] if is_there else missing, self.bits)
            packed = _base64(zlib.compress(codes.tobytes(), _COMPRESSION))
            _write_data(self._file, f"weights-{row}-{column}", packed, f' data-top="{top!r}"')
            shades = quantised(small[column], 8)[0] if is_there else np.zeros(self.shape, dtype=np.uint8)
            self.thumbnails.append(shades.tobytes())
        gatherer = StatisticsGatherer(source.queries, source.keys)
        gatherer.add(0, torch.from_numpy(np.asarray(weights, dtype=np.float32)))
        found = [_in_words(each, source) for each in gatherer.result()]
        self.statistics.append(found + [{}] * (len(source.heads) - len(found)))


def quantised(weights: Weights, bits: int) -> tuple[npt.NDArray[np.unsignedinteger], float]:
    """Whole numbers of 8 or 16 bits, and the largest weight: ``weight = largest * (number / most) ** 2``.

    The root gives the many small weights their share of the numbers: with 8 bits a weight of a hundredth of the
    largest is right to 4 %.
    """
    import numpy as np

    top = max(float(weights.max()), 1e-12)
    most = 2**bits - 1
    roots = np.sqrt(np.maximum(weights, 0).astype(np.float32, copy=False) / np.float32(top))
    return np.minimum(np.rint(roots * most), most).astype("<u2" if bits == 16 else np.uint8), top


def _information(source: Source, content: PageContent, style: PictureStyle, weights: _Weights) -> dict[str, Any]:
    layer, head = content.chosen or (source.layers[0], source.heads[0])
    maps = {name: _base64(colormap(name).tobytes()) for name in COLORMAPS}
    maps["ink-dark"] = _base64(colormap("ink", dark=True).tobytes())
    return {
        "title": content.subtitles.title,
        "caption": " ".join(content.subtitles.captions),
        "text": content.text,
        "kind": source.kind,
        "layers": source.layers,
        "heads": source.heads,
        "queries": source.queries.labels,
        "keys": source.keys.labels,
        "bits": weights.bits,
        "thumbnail": weights.shape,
        "statistics": weights.statistics,
        "chosen": [source.layers.index(layer), source.heads.index(head)],
        "single": content.single,
        "view": content.view,
        "scale": style.scale if style.scale in _SCALES else "head",
        "colours": style.colormap,
        "names": COLORMAPS,
        "maps": maps,
    }


def _in_words(found: HeadStatistics, source: Source) -> dict[str, str]:
    """What the page says about a head, in the order in which it is said."""
    lines = {
        "Looks": _PATTERNS[found.pattern],
        "Spread (entropy)": f"{found.entropy:.2f} bits, of {math.log2(max(2, len(source.keys))):.2f} at most",
    }
    if found.distance is not None:  # between two texts there is none
        lines["Mean distance"] = f"{found.distance:.1f} tokens"
    if any(source.keys.special):
        lines["To special tokens"] = f"{round(100 * found.special_share)} %"
    query, key = source.queries.labels[found.query], source.keys.labels[found.key]
    lines["Strongest"] = f"“{query}” looks at “{key}” ({found.strongest:.2f})"
    return lines


def _write_data(file: IO[bytes], name: str, text: str, attributes: str = "") -> None:
    """A block that no browser runs; ``text`` must not hold ``<``."""
    file.write(f'<script type="text/plain" id="{name}"{attributes}>{text}</script>\n'.encode())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _hash(text: str) -> str:
    """As a content security policy names a script."""
    return _base64(hashlib.sha256(text.encode()).digest())


def _read(name: str) -> str:
    return resource("attention_page", name).read_text("utf-8")
