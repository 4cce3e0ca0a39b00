"""The frames of a run: what its model looked at in the watched sentence, after each of some steps.

``attention/step-00000123.npz`` in the run's folder has the arrays that ``lmstudio-app attention`` writes
(:func:`lmstudio_app.inspection.export_numbers.write_npz`), the weights in float16, and beside them ``step``, how each
token reads (``labels``), which are ``special``, and the ``words`` they are pieces of (-1: of none); with ``target_``
before the name for the queries of cross-attention. The files are the truth: a frame is there whole or not at all, and
those of steps that a resume trains again are taken away before it begins.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError, first_line
from lmstudio_app.files import atomic_path, sweep
from lmstudio_app.inspection.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.inspection.attention import AttentionMaps

FRAMES = "attention"  # the folder in a run's folder
_PREFIX = "step-"


@dataclass(frozen=True)
class FrameFile:
    """A frame that can be read: after ``step`` optimizer steps. ``modified`` (ns) tells it from one made anew."""

    step: int
    path: Path
    modified: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """``weights`` is float32 ``[layers, heads, query, key]``, NaN where a layer has fewer heads than others.

    ``layers`` and ``heads`` say which ones these are; ``kind`` is encoder, decoder or cross.
    """

    step: int
    kind: str
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    queries: Tokens
    keys: Tokens
    weights: npt.NDArray[np.float32]


def frame_path(folder: Path, step: int) -> Path:
    """Where the frame of ``step`` stands in the run's ``folder``, or would."""
    return folder / FRAMES / f"{_PREFIX}{step:08}.npz"


def read_frames(folder: Path) -> tuple[FrameFile, ...]:
    """The frames of a run so far, by step; also of one that another process is writing: ask again for newer ones."""
    found = []
    for path in (folder / FRAMES).glob(f"{_PREFIX}*.npz"):
        number = path.stem.removeprefix(_PREFIX)
        if number.isdecimal():
            with contextlib.suppress(FileNotFoundError):  # just taken away by a resume
                found.append(FrameFile(int(number), path, path.stat().st_mtime_ns))
    return tuple(sorted(found, key=lambda frame: frame.step))


def write_frame(folder: Path, step: int, maps: AttentionMaps, heads: Sequence[int] | None = None) -> tuple[Path, int]:
    """Write the frame of ``step``, whole or not at all. ``heads`` None: all. Returns the file and its size in bytes."""
    import numpy as np

    chosen = tuple(heads) if heads is not None else tuple(range(maps.heads))
    shape = (len(maps.maps), len(chosen), len(maps.queries), len(maps.keys))
    weights = np.full(shape, np.nan, dtype=np.float16)
    for row, item in enumerate(maps.maps):
        for column, head in enumerate(chosen):
            if head < len(item.weights):
                weights[row, column] = item.weights[head]
    kind = maps.maps[0].kind
    arrays: dict[str, Any] = _arrays(maps.keys, "")
    if kind == "cross":
        arrays |= _arrays(maps.queries, "target_")
    path = frame_path(folder, step)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            weights=weights,
            layers=np.array(maps.layers),
            heads=np.array(chosen),
            kind=np.array(kind),
            step=np.array(step),
            **arrays,
        )
    return path, path.stat().st_size


def _arrays(tokens: Tokens, prefix: str) -> dict[str, Any]:
    import numpy as np

    numbers = {
        "words": np.array([-1 if word is None else word for word in tokens.words]),
        "segments": np.array([-1 if segment is None else segment for segment in tokens.segments]),
        "special": np.array(tokens.special, dtype=np.bool_),
    }
    texts = {"tokens": tokens.tokens, "labels": tokens.labels}
    arrays: dict[str, Any] = {name: np.array(values, dtype=np.str_) for name, values in texts.items()}
    return {f"{prefix}{name}": array for name, array in (arrays | numbers).items()}


def load_frame(file: FrameFile) -> Frame:
    """Read one frame. Raises :class:`UserError` when it is damaged, or has been taken away by a resume."""
    import numpy as np

    try:
        with np.load(file.path, allow_pickle=False) as arrays:
            keys = _tokens(arrays, "")
            queries = _tokens(arrays, "target_") if "target_tokens" in arrays else keys
            weights = arrays["weights"].astype(np.float32)
            frame = Frame(
                step=int(arrays["step"]),
                kind=str(arrays["kind"]),
                layers=tuple(map(int, arrays["layers"])),
                heads=tuple(map(int, arrays["heads"])),
                queries=queries,
                keys=keys,
                weights=weights,
            )
        if weights.shape != (len(frame.layers), len(frame.heads), len(queries), len(keys)):
            raise ValueError(f"weights of the shape {weights.shape}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            "The recording {name} cannot be read ({reason}).",
            "Look at another step; if the training goes on, it may have been made anew.",
            name=file.path.name,
            reason=first_line(error),
        ) from error
    return frame


def _tokens(arrays: Any, prefix: str) -> Tokens:
    def _known(name: str) -> tuple[int | None, ...]:
        return tuple(None if number < 0 else int(number) for number in arrays[f"{prefix}{name}"])

    return Tokens(
        tokens=tuple(map(str, arrays[f"{prefix}tokens"])),
        labels=tuple(map(str, arrays[f"{prefix}labels"])),
        special=tuple(map(bool, arrays[f"{prefix}special"])),
        segments=_known("segments"),
        words=_known("words"),
    )


def drop_frames(folder: Path, after: int) -> None:
    """Take away the frames of steps behind ``after``, which will be trained again, and what a killed process left."""
    sweep(folder / FRAMES)
    for frame in read_frames(folder):
        if frame.step > after:
            frame.path.unlink(missing_ok=True)


def mean_entropy(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """``[layers, heads]`` of ``[layers, heads, query, key]``: −Σ w·log₂ w of each query, in bits, and their mean.

    0: every token looks at one only; log₂ of the number of keys: at all alike. NaN where there is no such head.
    """
    import numpy as np

    positive = np.maximum(weights, np.finfo(np.float32).tiny)  # lim w·log w = 0
    entropy: npt.NDArray[np.float64] = -(weights * np.log2(positive)).sum(axis=-1, dtype=np.float64).mean(axis=-1)
    return entropy


def join_frames(files: Sequence[FrameFile], output: Path) -> None:
    """All frames in one ``.npz``: as of one, but ``weights`` ``[steps, layers, heads, query, key]``, and ``steps``.

    Raises :class:`UserError` when they cannot be read or do not belong together.
    """
    import numpy as np

    frames = [load_frame(file) for file in files]
    first = frames[0]
    if any((f.keys.tokens, f.layers, f.heads) != (first.keys.tokens, first.layers, first.heads) for f in frames):
        raise UserError("The recordings of this run are not of one sentence.", "Take the files one by one.")
    arrays = _arrays(first.keys, "")
    if first.kind == "cross":
        arrays |= _arrays(first.queries, "target_")
    with atomic_path(output) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            weights=np.stack([frame.weights for frame in frames]),
            steps=np.array([frame.step for frame in frames]),
            layers=np.array(first.layers),
            heads=np.array(first.heads),
            kind=np.array(first.kind),
            **arrays,
        )
