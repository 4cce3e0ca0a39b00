"""Building a knowledge base, and bringing one up to date: only what has changed is read and embedded again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError, as_user_error, is_disk_full
from lmstudio_app.jobs import JobContext, Meter
from lmstudio_app.knowledge.documents import KINDS, Document, find_files, read_document
from lmstudio_app.knowledge.encoder import STARTER_ENCODER, Encoder, load_encoder
from lmstudio_app.knowledge.extraction import Extractor
from lmstudio_app.knowledge.passages import Passage, cut_passages
from lmstudio_app.knowledge.store import FileState, Note, Store, build_lock, is_knowledge_base
from lmstudio_app.options import check_options, option

WINDOW = 512  # passages that are embedded between two commits: what a kill can cost
_COMMIT_EVERY = 1.0  # seconds, while files are read
_COMMIT_SIZE = 4_000_000  # characters
_LEAST_TOKENS = 8


@dataclass(frozen=True)
class PassageOptions:
    """How documents are cut into passages."""

    passage_tokens: int = option(
        160, "Passage length", "Tokens of the encoder that a passage has at most.", basic=True, minimum=16, maximum=4096
    )
    overlap_tokens: int = option(
        40, "Overlap", "Tokens at the end of a passage that the next one begins with.", minimum=0, maximum=2048
    )

    def __post_init__(self) -> None:
        check_options(self, "passages")
        if self.overlap_tokens > self.passage_tokens // 2:
            raise UserError(
                "An overlap of {overlap} tokens is more than half of a passage.", "Make it {most} at most.",
                overlap=self.overlap_tokens, most=self.passage_tokens // 2,
            )  # fmt: skip


@dataclass(frozen=True)
class BuildRequest:
    """Put ``sources`` (files and folders) into the knowledge base in ``folder``, beside what is in it already.

    Without any, what is in it is brought up to date. ``remove`` are sources that leave. An empty ``encoder`` and no
    ``passages`` mean: as it was built, or else the starter encoder and the defaults.
    """

    folder: Path
    sources: tuple[Path, ...] = ()
    remove: tuple[Path, ...] = ()
    encoder: str = ""
    device: str = "auto"
    passages: PassageOptions | None = None


@dataclass(frozen=True)
class BuildReport:
    """What a build did, in files and passages. ``problems`` are sentences about files that are not in it."""

    folder: Path
    files: int
    passages: int
    added: int
    changed: int
    removed: int
    unchanged: int
    embedded: int
    problems: tuple[Note, ...] = ()


@dataclass
class _Counts:
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    problems: list[Note] = field(default_factory=list)


def build_knowledge_base(request: BuildRequest, ctx: JobContext, encoder: Encoder | None = None) -> BuildReport:
    """The job: read, cut, index and embed what has changed. It can be killed at any moment and goes on where it was.

    ``encoder`` is one that is loaded already. Files that cannot be read are warned about, and the others go in. Raises
    :class:`UserError` for sources that do not exist, while another process builds, and as loading the encoder does.
    """
    sources = [_existing(path) for path in request.sources]
    is_new = not is_knowledge_base(request.folder)
    if is_new and not sources:
        raise UserError(
            "There is nothing to build a knowledge base from.",
            "Name files or folders: {kinds}.",
            kinds=", ".join(KINDS),
        )
    if not is_new and encoder is None:
        store = Store(request.folder)
        reference = request.encoder or (store.fact("encoder") or {}).get("reference", "")
        store.close()
    else:
        reference = request.encoder
    encoder = encoder or load_encoder(reference or STARTER_ENCODER, ctx, request.device)
    with build_lock(request.folder):
        store = Store(request.folder, write=True)
        try:
            return _build(store, sources, request, encoder, ctx)
        finally:
            store.close(at_rest=True)


def _existing(path: Path) -> Path:
    found = absolute(path)
    if not found.exists():
        raise UserError("There is no file or folder {path}.", "Check the path.", path=str(path))
    if found.is_file() and found.suffix.lower() not in KINDS:
        raise UserError(
            "{path} is of a kind that cannot be read.", "Choose one of: {kinds}.",
            path=str(path), kinds=", ".join(KINDS),
        )  # fmt: skip
    return found


def absolute(path: Path) -> Path:
    """As files are known in a knowledge base: absolute, and links are left as they are."""
    return Path(os.path.abspath(path.expanduser()))


def _build(
    store: Store, sources: Sequence[Path], request: BuildRequest, encoder: Encoder, ctx: JobContext
) -> BuildReport:
    counts = _Counts()
    cut = _agree_on_passages(store, request.passages, encoder)
    _agree_on_encoder(store, encoder, ctx)
    with store.transaction():
        if store.fact("cut") is None:
            store.set_fact("cut", cut)
        for path in request.remove:
            store.remove_source(absolute(path))
        store.add_sources(sources)
    ctx.status("Looking for files")
    for source in store.sources():
        if not source.exists():
            ctx.warn("{path} is gone, and with it its passages", path=str(source))
            with store.transaction():
                store.remove_source(source)
    found = list(find_files(store.sources(), ctx))
    _remove(store, set(map(str, found)), counts, ctx)
    _read_all(store, found, cut, encoder, counts, ctx)
    with store.transaction():
        store.set_fact("cut", cut)
    embedded = _embed_all(store, encoder, ctx)
    store.tidy(encoder.identity.dimension)
    files = store.files()
    problems = [note for file in files for note in file.notes if note.is_problem]
    known = {note.message for note in problems}
    problems += [note for note in counts.problems if note.message not in known]
    usable = sum(1 for file in files if file.passages)
    report = BuildReport(
        request.folder, usable, store.count_passages(), counts.added, counts.changed, counts.removed, counts.unchanged,
        embedded, tuple(problems),
    )  # fmt: skip
    ctx.status("The knowledge base has {passages} passages of {files} files", passages=report.passages, files=usable)
    return report


def _agree_on_passages(store: Store, options: PassageOptions | None, encoder: Encoder) -> dict[str, int]:
    """How passages are cut: as wished, else as before; never longer than the encoder reads."""
    stored = store.fact("cut")
    wished = dataclasses.asdict(options or PassageOptions()) if options or not stored else stored
    size = max(_LEAST_TOKENS, min(wished["passage_tokens"], encoder.limit - 2))
    return {"passage_tokens": size, "overlap_tokens": min(wished["overlap_tokens"], size // 2)}


def _agree_on_encoder(store: Store, encoder: Encoder, ctx: JobContext) -> None:
    """Vectors of two encoders cannot be compared: those of another one are forgotten."""
    stored: dict[str, Any] | None = store.fact("encoder")
    identity = encoder.identity
    is_same = stored is not None and stored["fingerprint"] == identity.fingerprint
    if stored is not None and not is_same:
        ctx.warn("The vectors are of {old}: every passage is embedded again, by {new}",
                 old=stored["title"], new=identity.title)  # fmt: skip
    elif is_same and not store.has_vectors(identity.dimension):
        ctx.warn("The vectors of the knowledge base are missing: every passage is embedded again")
        is_same = False
    with store.transaction():
        if not is_same:
            store.forget_vectors()
        store.set_fact("encoder", dataclasses.asdict(identity))


def _remove(store: Store, found: set[str], counts: _Counts, ctx: JobContext) -> None:
    gone = [path for path in store.states() if path not in found]
    if not gone:
        return
    with store.transaction():
        for path in gone:
            ctx.check()
            store.remove_document(path)
    counts.removed = len(gone)
    ctx.status("Files that are gone or no longer wanted, and left the knowledge base: {count}", count=len(gone))


@dataclass(frozen=True)
class _ReadFile:
    path: str
    state: FileState
    text: str
    passages: Sequence[Passage]
    notes: Sequence[Note]


def _read_all(
    store: Store, paths: Sequence[Path], cut: dict[str, int], encoder: Encoder, counts: _Counts, ctx: JobContext
) -> None:
    """Put in the files that are new or have changed, some at a time: each time costs a wait for the disk."""
    pending: list[_ReadFile] = []
    last = time.monotonic()
    for item in _read_changed(store, paths, cut, encoder, counts, ctx):
        pending.append(item)
        if time.monotonic() - last > _COMMIT_EVERY or sum(len(file.text) for file in pending) > _COMMIT_SIZE:
            _write(store, pending, ctx)
            pending, last = [], time.monotonic()
    _write(store, pending, ctx)


def _write(store: Store, files: Sequence[_ReadFile], ctx: JobContext) -> None:
    if files:
        with store.transaction():
            for file in files:
                store.replace_document(file.path, file.state, file.text, file.passages, file.notes, ctx.check)


def _read_changed(
    store: Store, paths: Sequence[Path], cut: dict[str, int], encoder: Encoder, counts: _Counts, ctx: JobContext
) -> Iterator[_ReadFile]:
    known = store.states()
    cut_anew = store.fact("cut") not in (None, cut)
    with Extractor() as extractor:
        for path in ctx.track(paths, len(paths), "files"):
            old = known.get(str(path))
            if not _is_text(str(path)):
                _tell(Note("The name of {path} cannot be written as text.", {"path": _printable(path)},
                           "Rename it.", is_problem=True), counts, ctx)  # fmt: skip
                continue
            try:
                status = path.stat()
                is_same = old is not None and (old.size, old.mtime) == (status.st_size, status.st_mtime_ns)
                if is_same and not cut_anew:
                    counts.unchanged += 1
                    continue
                state = FileState(status.st_size, status.st_mtime_ns, _digest(path, ctx))
            except OSError as error:
                _tell(_as_note(as_user_error(error)), counts, ctx)
                continue
            if old is not None and old.digest == state.digest and not cut_anew:
                with store.transaction():
                    store.set_state(str(path), state)
                counts.unchanged += 1
                continue
            counts.added += old is None
            counts.changed += old is not None
            yield _read(path, state, extractor, cut, encoder, counts, ctx)


def _is_text(name: str) -> bool:
    """Names of files are bytes, which need not mean anything."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _printable(path: Path) -> str:
    return str(path).encode("utf-8", "replace").decode("utf-8")


def _digest(path: Path, ctx: JobContext) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            ctx.check()
            digest.update(chunk)
    return digest.hexdigest()


def _read(
    path: Path, state: FileState, extractor: Extractor, cut: dict[str, int], encoder: Encoder, counts: _Counts,
    ctx: JobContext,
) -> _ReadFile:  # fmt: skip
    if state.size > 1_000_000:
        ctx.status("Reading {name}", name=path.name)
    try:
        document = read_document(path, extractor, ctx)
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and is_disk_full(error):
            raise
        note = _as_note(as_user_error(error))
        _tell(note, counts, ctx)
        return _ReadFile(str(path), state, "", (), (note,))
    notes = [Note(template, parameters) for template, parameters in document.notes]
    for note in notes:
        ctx.warn(note.template, **note.parameters)
    return _ReadFile(str(path), state, document.text, _cut(document, cut, encoder, ctx), notes)


def _cut(document: Document, cut: dict[str, int], encoder: Encoder, ctx: JobContext) -> list[Passage]:
    return list(cut_passages(document, encoder.count_tokens, cut["passage_tokens"], cut["overlap_tokens"], ctx))


def _as_note(error: UserError) -> Note:
    return Note(error.template, error.parameters, error.remedy_template, is_problem=True)


def _tell(note: Note, counts: _Counts, ctx: JobContext) -> None:
    counts.problems.append(note)
    ctx.warn(note.template, **note.parameters)


def _embed_all(store: Store, encoder: Encoder, ctx: JobContext) -> int:
    """Give every passage that waits for it its vector, the longest first; each window is kept as soon as it is done."""
    total = store.count_waiting()
    if not total:
        return 0
    ctx.status("Embedding {count} passages with {name}", count=total, name=encoder.identity.title)
    meter = ctx.meter(total, "passages")
    meter.update(0)
    done = 0
    while waiting := store.waiting(WINDOW):
        vectors = encoder.embed([text for _, text in waiting], ctx, functools.partial(_advance, meter, done))
        store.add_vectors([identifier for identifier, _ in waiting], vectors)
        done += len(waiting)
    return done


def _advance(meter: Meter, before: int, count: int) -> None:
    meter.update(before + count)
