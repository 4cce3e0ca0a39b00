"""Weights that are no safetensors (GGUF, pickles) are made into safetensors once; everything else reads only those.

Models of the catalogue and of the hub are converted in their own folder when they are fetched. A file or folder of the
user's is left as it is, and its conversion is kept in ``cache/converted``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder, format_bytes, require_free_space, sweep
from lmstudio_app.jobs import JobContext, Meter
from lmstudio_app.models import conversion_worker
from lmstudio_app.models.child_process import run_lines
from lmstudio_app.models.provenance import read_provenance, write_provenance
from lmstudio_app.models.weights import INDEX_NAME, SINGLE_NAME, is_weights_pickle
from lmstudio_app.settings import cache_folder

GGUF = ".gguf"
ADAPTER_CONFIG = "adapter_config.json"
_STAGES = {
    "header": "Reading {name}",
    "tokenizer": "Reading the tokenizer of {name}",
    "weights": "Unpacking the weights of {name}",
    "saving": "Writing {name} as safetensors, {size}",
}
_PICKLE_INDEX = "pytorch_model.bin.index.json"


def conversions_folder() -> Path:
    return cache_folder() / "converted"


def convertible(folder: Path) -> list[Path]:
    """The files of a model folder that have to be made into safetensors; none when it has safetensors already.

    One GGUF file, or the pickles of one model. Raises :class:`UserError` when several GGUF files leave the choice open.
    """
    if any((folder / name).exists() for name in (SINGLE_NAME, INDEX_NAME, ADAPTER_CONFIG)):
        return []
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    ggufs = [name for name in names if name.endswith(GGUF)]
    if len(ggufs) > 1:
        raise UserError(
            "There are {count} GGUF files in {folder}: {names}.",
            "Choose one of the files.",
            count=len(ggufs),
            folder=str(folder),
            names=", ".join(ggufs),
        )
    if ggufs:
        return [folder / ggufs[0]]
    if "config.json" not in names:
        return []
    return [folder / name for name in names if is_weights_pickle(name)]


def gguf_of(folder: Path) -> Path | None:
    """The GGUF file that the safetensors in ``folder`` were made of, when it is still there (for llama.cpp, say)."""
    known = read_provenance(folder).get("converted_from")
    path = folder / str(known) if known else None  # an absolute path stays one
    return path if path is not None and path.suffix == GGUF and path.is_file() else None


def readable_folder(path: Path, ctx: JobContext) -> Path:
    """The folder with safetensors for a model folder or a GGUF file: itself, or its conversion, made when missing.

    Raises :class:`UserError` and :class:`Cancelled`.
    """
    if (path / ADAPTER_CONFIG).is_file() and not (path / "config.json").is_file():
        return _completed_adapter(path, ctx)
    sources = [path] if path.suffix == GGUF and path.is_file() else convertible(path)
    if not sources:
        return path
    target = _place(path, sources)
    with _one_at_a_time(target, ctx):
        if not (target / "config.json").is_file():
            with atomic_folder(target) as temporary:
                convert(sources, temporary, ctx)
                if not path.is_file():
                    _copy_small_files(path, temporary)
                _note(temporary, sources, reference=str(path), title=path.stem)
    return target


def is_readable(path: Path) -> bool:
    """Are there safetensors of it, its own or those of a conversion, so that :func:`readable_folder` takes no time?

    Raises :class:`UserError` as :func:`convertible` does.
    """
    if path.is_dir() and (path / ADAPTER_CONFIG).is_file():
        return True  # small files are copied at most
    sources = [path] if path.suffix == GGUF and path.is_file() else convertible(path) if path.is_dir() else []
    return not sources or (_place(path, sources) / "config.json").is_file()


def _place(path: Path, sources: list[Path]) -> Path:
    """Where a conversion is kept: known by the path, size and time of the files that it was made of."""
    digest = hashlib.sha256()
    for source in sources:
        status = source.stat()
        digest.update(f"{source.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return conversions_folder() / f"{path.stem if path.is_file() else path.name}-{digest.hexdigest()[:12]}"


def _completed_adapter(path: Path, ctx: JobContext) -> Path:
    """A copy of adapters that peft has saved alone, with the configuration and tokenizer of their model."""
    from lmstudio_app.models.adapters import base_of, complete_adapter  # it needs this module to find the model
    from lmstudio_app.models.references import resolve

    target = _place(path, [path / ADAPTER_CONFIG])
    with _one_at_a_time(target, ctx):
        if not (target / "config.json").is_file():
            base = base_of(path)
            with atomic_folder(target) as temporary:
                for file in path.iterdir():
                    if file.is_file():
                        shutil.copyfile(file, temporary / file.name)
                complete_adapter(temporary, resolve(base, ctx))
                write_provenance(temporary, {"title": path.name, **read_provenance(path), "base_model": base})
    return target


def convert_in_place(folder: Path, ctx: JobContext) -> None:
    """Put safetensors beside the GGUF file that was just fetched into ``folder``, or in place of its pickles."""
    sources = convertible(folder)
    if not sources:
        return
    convert(sources, folder, ctx)
    _note(folder, sources)
    if sources[0].suffix != GGUF:
        for source in (*sources, folder / _PICKLE_INDEX):
            source.unlink(missing_ok=True)


def convert(sources: list[Path], folder: Path, ctx: JobContext) -> None:
    """Write the safetensors of a GGUF file (with configuration and tokenizer) or of pickles into ``folder``.

    A process of its own does it, which a cancel kills. Raises :class:`UserError` for a file that cannot be read and for
    a disk without room.
    """
    name = sources[0].name
    is_gguf = sources[0].suffix == GGUF
    if not is_gguf:
        ctx.warn(
            "The weights are a pickle ({name}), a format that can hide programs; only its tensors are read, nothing is "
            "run, and they are kept as safetensors.",
            name=name,
        )
    found = _Report(name, folder, ctx)
    with tempfile.TemporaryDirectory() as temporary:
        request = Path(temporary) / "request.json"
        source: Any = str(sources[0].resolve()) if is_gguf else [str(path.resolve()) for path in sources]
        values = {"kind": "gguf" if is_gguf else "pickle", "source": source, "output": str(folder.resolve())}
        request.write_text(json.dumps(values), encoding="utf-8")
        # -P: the worker's own folder has modules that are called as libraries are
        command = [sys.executable, "-P", conversion_worker.__file__, str(request)]
        environment = {name: value for name, value in os.environ.items() if "TOKEN" not in name}  # it asks nobody
        code = run_lines(command, ctx, found, {**environment, "HF_HUB_OFFLINE": "1"})
    if code:
        raise UserError(
            "{name} cannot be read ({reason}).",
            "Download or copy the file again, or choose the same model as a folder with model.safetensors.",
            name=name,
            reason=found.problem or f"exit code {code}",
            details="".join(found.other),
        )


class _Report:
    """What the worker says, as the job's own events."""

    def __init__(self, name: str, folder: Path, ctx: JobContext) -> None:
        self._name, self._folder, self._ctx = name, folder, ctx
        self._needed = 0
        self._meter: Meter | None = None
        self.problem = ""
        self.other: list[str] = []

    def __call__(self, line: str) -> None:
        try:
            values: Mapping[str, Any] = json.loads(line) if line.startswith("{") else {}
        except ValueError:
            values = {}
        if not values:
            self.other.append(line)
        if "needed" in values:
            self._needed = int(values["needed"])
            require_free_space(self._folder, self._needed)
        if "stage" in values:
            self._ctx.status(_STAGES[values["stage"]], name=self._name, size=format_bytes(self._needed))
        if "done" in values:
            self._meter = self._meter or self._ctx.meter(values["total"], "tensors")
            self._meter.update(values["done"])
        self.problem = str(values.get("problem", self.problem))


@contextlib.contextmanager
def _one_at_a_time(target: Path, ctx: JobContext) -> Iterator[None]:
    """Whoever comes second waits, and finds the conversion made."""
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    while True:
        ctx.check()
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0.05)
            break
    try:
        sweep(target.parent, target.name)
        yield
    finally:
        lock.release()


def _copy_small_files(source: Path, target: Path) -> None:
    """Configuration, tokenizer and model card; what the conversion wrote itself stays."""
    for path in source.iterdir():
        wanted = path.suffix in (".json", ".txt", ".model", ".spm", ".jinja", ".md", ".py")
        if wanted and path.is_file() and path.name != _PICKLE_INDEX and not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)


def _note(folder: Path, sources: list[Path], **more: str) -> None:
    """Add to ``provenance.json`` what the safetensors were made of."""
    source = sources[0]
    is_here = source.parent == folder
    values = {**more, **read_provenance(folder), "converted_from": source.name if is_here else str(source.resolve())}
    checksums = dict(values.get("sha256") or {})
    if source.name not in checksums:
        with source.open("rb") as file:
            checksums[source.name] = hashlib.file_digest(file, "sha256").hexdigest()
    write_provenance(folder, {**values, "sha256": checksums})
