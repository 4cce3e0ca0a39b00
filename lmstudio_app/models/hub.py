"""Models of the Hugging Face hub, or of the mirror that ``HF_ENDPOINT`` names.

Metadata, addresses, credentials and the HTTP client are huggingface_hub's. The transfer itself is ours, as
``hf_hub_download`` looks up only once every 10 MB, too seldom to show a speed or to be cancelled.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.adapters import ADAPTER_WEIGHTS
from lmstudio_app.models.begun import note_begun
from lmstudio_app.models.conversion import ADAPTER_CONFIG
from lmstudio_app.models.credentials import find_token
from lmstudio_app.models.hub_client import endpoint, explain, hub_api, hub_headers, is_of_the_disk, patiently, timeout
from lmstudio_app.models.transfer import Line, SourceError, call_beside
from lmstudio_app.models.weights import INDEX_NAME, SINGLE_NAME, is_weights_pickle

# everything a tokenizer or a configuration may consist of, at the top of a repository
SMALL_FILES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "README.md",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "source.spm",
        "target.spm",
    }
)
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_PASSING = (500, 502, 504)  # answers of a server that may do better the next time
CHECKED = "All {count} files are here, each with the checksum that the hub states"
RETRIES = 5  # in a row without a single new byte
PIECE = 1 << 20  # bytes, when a file on disk is hashed


@dataclass(frozen=True)
class HubFile:
    """``size`` in bytes. ``sha256`` for large files, ``blob_id`` (git's SHA-1) for the others."""

    path: str
    size: int
    sha256: str | None = None
    blob_id: str | None = None


@dataclass(frozen=True)
class HubPlan:
    """What a download will bring: one commit of a repository, and the files that are needed of it."""

    repo_id: str
    commit: str
    license: str
    files: tuple[HubFile, ...]
    weights: tuple[str, ...] = ()  # those that were asked for by name

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def choose_files(repo_id: str, files: Iterable[HubFile], wanted: Sequence[str] = ()) -> tuple[HubFile, ...]:
    """Configuration, tokenizer, model card, and weights in one form: safetensors, else one GGUF file, else pickles.

    Adapters come with what belongs to them. ``wanted`` names the weights instead (a GGUF file of several, say); the
    small files come along. Raises :class:`SourceError` when the repository has nothing that can be loaded, or leaves
    the choice open.
    """
    everything = {file.path: file for file in files}
    top = {path: file for path, file in everything.items() if "/" not in path}
    weights = _wanted(repo_id, everything, wanted) if wanted else _weights(repo_id, top)
    has_code = [name for name in top if name.endswith(".py")]  # to be read; it runs only when it is allowed
    small = sorted((SMALL_FILES & top.keys()) | set(has_code))
    return tuple(everything[name] for name in [*(name for name in small if name not in weights), *weights])


def is_shard(name: str) -> bool:
    return _SHARD.fullmatch(name) is not None


def _wanted(repo_id: str, files: Mapping[str, HubFile], wanted: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in files:
            raise SourceError(
                "{repo} has no file {name}.",
                "It has: {names}.",
                repo=repo_id,
                name=name,
                names=", ".join(sorted(files)[:30]),
            )
    return list(wanted)


def _weights(repo_id: str, top: Mapping[str, HubFile]) -> list[str]:
    ggufs = sorted(name for name in top if name.endswith(".gguf"))
    if ADAPTER_CONFIG in top and ADAPTER_WEIGHTS in top and SINGLE_NAME not in top:
        return [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    if "config.json" in top:
        if SINGLE_NAME in top:
            return [SINGLE_NAME]
        if INDEX_NAME in top:
            return [INDEX_NAME, *sorted(filter(is_shard, top))]
        pickles = sorted(name for name in top if is_weights_pickle(name))
        if pickles and not ggufs:
            return pickles
    if len(ggufs) > 1:
        raise SourceError(
            "{repo} has {count} GGUF files: {names}.",
            "Choose one: `lmstudio-app models fetch {repo} --file NAME.gguf`.",
            repo=repo_id,
            count=len(ggufs),
            names=", ".join(ggufs),
        )
    if ggufs:
        return ggufs
    if "config.json" in top:
        raise SourceError("{repo} has no weights.", "Choose another model.", repo=repo_id)
    raise SourceError(
        "{repo} has no config.json, so it is no model that transformers can read.",
        "Choose another model; models for transformers have config.json and model.safetensors.",
        repo=repo_id,
    )


def plan_download(repo_id: str, revision: str, ctx: JobContext, wanted: Sequence[str] = ()) -> HubPlan:
    """Ask the hub what the repository holds. Raises :class:`SourceError`, :class:`Cancelled`."""
    info = ask_about(repo_id, revision, ctx)
    files = choose_files(repo_id, files_of(info), wanted)
    return HubPlan(repo_id, info.sha or revision, license_of(info), files, tuple(wanted))


def ask_about(repo_id: str, revision: str, ctx: JobContext) -> Any:
    """The hub's ``ModelInfo`` of a repository, with its files. Raises :class:`SourceError`, :class:`Cancelled`."""

    def _ask(line: Line) -> Any:
        api = hub_api(find_token())
        return patiently(
            line, lambda: api.model_info(repo_id, revision=revision, files_metadata=True, timeout=timeout())
        )

    try:
        return call_beside(ctx, _ask)
    except Cancelled:
        raise
    except Exception as error:
        raise explain(error, repo_id) from error


def files_of(info: Any) -> list[HubFile]:
    """The files of a ``ModelInfo`` that was asked for with ``files_metadata``."""
    return [
        HubFile(
            sibling.rfilename,
            int(sibling.size or 0),
            sha256=sibling.lfs.sha256 if sibling.lfs else None,
            blob_id=None if sibling.lfs else sibling.blob_id,
        )
        for sibling in info.siblings or []
        if ".." not in sibling.rfilename and "\\" not in sibling.rfilename and not sibling.rfilename.startswith("/")
    ]


def license_of(info: Any) -> str:
    """The licence that the front matter of a model card states; empty when it states none."""
    card = info.card_data.to_dict() if info.card_data else {}
    name = card.get("license_name") if card.get("license") == "other" else None
    name = name or card.get("license")
    return name if isinstance(name, str) else ""


def already_here(plan: HubPlan, folder: Path) -> int:
    """Bytes of ``plan`` that an earlier, interrupted download left in ``folder``."""
    return sum(min(_size(folder / file.path), file.size) for file in plan.files)


def download(plan: HubPlan, folder: Path, ctx: JobContext) -> None:
    """Bring the files of ``plan`` into ``folder``; what is there already is completed, not fetched again.

    After a cancel, or a connection that stays cut, ``folder`` keeps what came, for the next time. Every file
    is checked against the hub's SHA-256 (or git's SHA-1). Raises :class:`SourceError`, :class:`Cancelled`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note_begun(folder.parent, plan.repo_id, plan.weights, plan.size)
    meter = ctx.meter(plan.size, "B")

    def _work(line: Line) -> None:
        before = 0
        token = find_token()
        for file in plan.files:
            _download_file(plan, file, folder / file.path, line, before, token)
            before += file.size
            line.done = before

    try:
        call_beside(ctx, _work, meter, already_here(plan, folder))
    except (Cancelled, UserError):
        raise
    except Exception as error:
        if is_of_the_disk(error):
            raise
        raise explain(error, plan.repo_id) from error
    meter.update(plan.size)
    ctx.status(CHECKED, count=len(plan.files))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Checksum:
    """The digest that the hub states for a file, built up piece by piece."""

    def __init__(self, file: HubFile) -> None:
        self._file = file
        self.restart()

    def restart(self) -> None:
        if self._file.sha256:
            self._hash = hashlib.sha256()
        else:  # git's name of a file's content
            self._hash = hashlib.sha1(b"blob %d\0" % self._file.size, usedforsecurity=False)

    def add(self, data: bytes) -> None:
        self._hash.update(data)

    def fits(self) -> bool:
        expected = self._file.sha256 or self._file.blob_id
        return expected is None or self._hash.hexdigest() == expected


def _download_file(plan: HubPlan, file: HubFile, path: Path, line: Line, before: int, token: str | None) -> None:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = _Checksum(file)
    if _size(path) > file.size:
        path.unlink()
    if path.is_file():
        with path.open("rb") as existing:
            while piece := existing.read(PIECE):
                line.check()
                checksum.add(piece)
        line.done = before + _size(path)
    failures = 0
    while (have := _size(path)) < file.size or not path.is_file():
        try:
            patiently(line, lambda: _stream(plan, file, path, checksum, line, before, token))
            if _size(path) < file.size:
                raise httpx2.RemoteProtocolError("the connection ended early")
        except (httpx2.TransportError, HfHubHTTPError) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in _PASSING:
                raise
            line.check()
            failures = 0 if _size(path) > have else failures + 1
            if failures >= RETRIES:
                raise explain(error, plan.repo_id) from error
            line.pause(min(8.0, 0.25 * 2**failures))
    if not checksum.fits():
        path.unlink()
        raise SourceError(
            "The file {name} of {repo} arrived damaged: its checksum is not the one that the hub states.",
            "Start the download again; only this file is fetched anew.",
            name=file.path,
            repo=plan.repo_id,
        )


def _stream(
    plan: HubPlan, file: HubFile, path: Path, checksum: _Checksum, line: Line, before: int, token: str | None
) -> None:
    """One request: append what comes to ``path``. Raises ``httpx2.TransportError`` when the line is cut."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._http import hf_raise_for_status

    url = hf_hub_url(plan.repo_id, file.path, revision=plan.commit, endpoint=endpoint())
    headers = hub_headers(token)
    headers["Accept-Encoding"] = "identity"  # ranges count the file's own bytes
    have = _size(path)
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, timeout=timeout()) as response:
        line.watch(response)
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        resumed = response.status_code == 206
        if not resumed:
            checksum.restart()
        with path.open("ab" if resumed else "wb") as target:
            line.done = before + target.tell()
            for piece in response.iter_bytes():
                line.check()
                target.write(piece)
                checksum.add(piece)
                line.done += len(piece)


def discard_other_commits(folder: Path, commit: str) -> None:
    """Partial downloads of older commits are of no more use."""
    if folder.is_dir():
        for child in folder.iterdir():
            if child.is_dir() and child.name != commit:
                shutil.rmtree(child, ignore_errors=True)
