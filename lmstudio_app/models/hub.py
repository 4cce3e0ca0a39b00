"""Models of the Hugging Face hub, or of the mirror that ``HF_ENDPOINT`` names.

Metadata, addresses, credentials and the HTTP client are huggingface_hub's. The transfer itself is ours, as
``hf_hub_download`` looks up only once every 10 MB, too seldom to show a speed or to be cancelled.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app import __version__
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.transfer import Line, SourceError, call_beside

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
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model.pt")
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

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def endpoint() -> str:
    """The hub's address: ``$HF_ENDPOINT`` as it is now, or huggingface_hub's own."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def choose_files(repo_id: str, files: Iterable[HubFile]) -> tuple[HubFile, ...]:
    """Configuration, tokenizer and safetensors; never a pickle, nor the same weights in another format.

    Raises :class:`SourceError` when the repository has no safetensors or no configuration.
    """
    top = {file.path: file for file in files if "/" not in file.path}
    if "config.json" not in top:
        gguf = next((name for name in top if name.endswith(".gguf")), None)
        if gguf:
            raise _gguf(repo_id)
        raise SourceError(
            "{repo} has no config.json, so it is no model that transformers can read.",
            "Choose another model; models for transformers have config.json and model.safetensors.",
            repo=repo_id,
        )
    if "model.safetensors" in top:
        weights = ["model.safetensors"]
    elif "model.safetensors.index.json" in top:
        weights = ["model.safetensors.index.json", *sorted(name for name in top if _SHARD.fullmatch(name))]
    elif any(name in top for name in _PICKLES) or any(name.startswith("pytorch_model-") for name in top):
        raise SourceError(
            "{repo} has its weights only as a pickle, and opening a pickle can run any program.",
            "Choose a model that has model.safetensors; many models exist in both forms.",
            repo=repo_id,
        )
    elif any(name.endswith(".gguf") for name in top):
        raise _gguf(repo_id)
    else:
        raise SourceError("{repo} has no weights.", "Choose another model.", repo=repo_id)
    return tuple(top[name] for name in [*sorted(SMALL_FILES & top.keys()), *weights])


def _gguf(repo_id: str) -> SourceError:
    return SourceError(
        "{repo} has its weights only as GGUF, which this version cannot read yet.",
        "GGUF comes later; until then choose the same model with model.safetensors.",
        repo=repo_id,
    )


def plan_download(repo_id: str, revision: str, ctx: JobContext) -> HubPlan:
    """Ask the hub what the repository holds. Raises :class:`SourceError`, :class:`Cancelled`."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint(), library_name="lmstudio-app", library_version=__version__)

    def _ask(line: Line) -> Any:
        return api.model_info(repo_id, revision=revision, files_metadata=True, timeout=_timeout())

    try:
        info = call_beside(ctx, _ask)
    except Cancelled:
        raise
    except Exception as error:
        raise _explain(error, repo_id) from error
    files = [
        HubFile(
            sibling.rfilename,
            int(sibling.size or 0),
            sha256=sibling.lfs.sha256 if sibling.lfs else None,
            blob_id=None if sibling.lfs else sibling.blob_id,
        )
        for sibling in info.siblings or []
    ]
    card = info.card_data.to_dict() if info.card_data else {}
    license_name = card.get("license_name") if card.get("license") == "other" else None
    license_name = license_name or card.get("license")
    return HubPlan(
        repo_id,
        info.sha or revision,
        license_name if isinstance(license_name, str) else "",
        choose_files(repo_id, files),
    )


def already_here(plan: HubPlan, folder: Path) -> int:
    """Bytes of ``plan`` that an earlier, interrupted download left in ``folder``."""
    return sum(min(_size(folder / file.path), file.size) for file in plan.files)


def download(plan: HubPlan, folder: Path, ctx: JobContext) -> None:
    """Bring the files of ``plan`` into ``folder``; what is there already is completed, not fetched again.

    After a cancel, or a connection that stays cut, ``folder`` keeps what came, for the next time. Every file
    is checked against the hub's SHA-256 (or git's SHA-1). Raises :class:`SourceError`, :class:`Cancelled`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meter = ctx.meter(plan.size, "B")

    def _work(line: Line) -> None:
        before = 0
        for file in plan.files:
            _download_file(plan, file, folder / file.path, line, before)
            before += file.size
            line.done = before

    try:
        call_beside(ctx, _work, meter, already_here(plan, folder))
    except (Cancelled, UserError, OSError):  # an OSError is the disk's; the network's are httpx2's
        raise
    except Exception as error:
        raise _explain(error, plan.repo_id) from error
    meter.update(plan.size)


def _timeout() -> float:
    """Seconds without a byte after which a connection counts as cut (``$HF_HUB_DOWNLOAD_TIMEOUT``)."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


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


def _download_file(plan: HubPlan, file: HubFile, path: Path, line: Line, before: int) -> None:
    import httpx2

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
            _stream(plan, file, path, checksum, line, before)
            if _size(path) < file.size:
                raise httpx2.RemoteProtocolError("the connection ended early")
        except httpx2.TransportError as error:
            line.check()
            failures = 0 if _size(path) > have else failures + 1
            if failures >= RETRIES:
                raise _explain(error, plan.repo_id) from error
            line.pause(min(8.0, 0.25 * 2**failures))
    if not checksum.fits():
        path.unlink()
        raise SourceError(
            "The file {name} of {repo} arrived damaged: its checksum is not the one that the hub states.",
            "Start the download again; only this file is fetched anew.",
            name=file.path,
            repo=plan.repo_id,
        )


def _stream(plan: HubPlan, file: HubFile, path: Path, checksum: _Checksum, line: Line, before: int) -> None:
    """One request: append what comes to ``path``. Raises ``httpx2.TransportError`` when the line is cut."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status

    url = hf_hub_url(plan.repo_id, file.path, revision=plan.commit, endpoint=endpoint())
    headers = build_hf_headers(library_name="lmstudio-app", library_version=__version__)
    headers["Accept-Encoding"] = "identity"  # ranges count the file's own bytes
    have = _size(path)
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, timeout=_timeout()) as response:
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
            if child.name != commit:
                shutil.rmtree(child, ignore_errors=True)


def _explain(error: Exception, repo_id: str) -> Exception:
    """A sentence and a remedy for what huggingface_hub or the network raised."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return SourceError(
            "The hub is switched off by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE.",
            "Unset the variable and start the application again.",
        )
    if isinstance(error, HFValidationError):
        return SourceError("{repo} is no valid hub id.", "A hub id is organisation/name.", repo=repo_id)
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error.response.status_code, repo_id)
    if isinstance(error, httpx2.HTTPError):
        return SourceError(
            "The hub at {host} cannot be reached ({reason}).",
            "Check the network and the proxy. A download goes on where it ended. HF_ENDPOINT can name a mirror.",
            host=endpoint(),
            reason=str(error) or type(error).__name__,
        )
    return error


def _explain_status(status: int, repo_id: str) -> SourceError:
    if status in (401, 403):
        return SourceError(
            "The hub does not give out {repo}: it does not exist, is private, or wants its terms accepted.",
            "Check the name; for a private or gated model log in with `hf auth login` and accept its terms.",
            repo=repo_id,
        )
    if status == 404:
        return SourceError(
            "The hub has no model {repo}.", "Check the spelling: a hub id is organisation/name.", repo=repo_id
        )
    if status == 429:
        return SourceError("The hub is asked too often from here.", "Wait some minutes and start again.")
    return SourceError(
        "The hub answers with an error (HTTP {status}).", "Try again later.", status=status, repo=repo_id
    )
