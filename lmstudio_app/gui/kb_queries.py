"""The jobs behind the Question answering page: what knowledge bases there are, what is in one, and a question to it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.gui.chat_replies import EngineHolder
    from lmstudio_app.gui.try_queries import Sample
    from lmstudio_app.knowledge.answering import AskOptions
    from lmstudio_app.knowledge.asking import BothAnswers
    from lmstudio_app.knowledge.building import BuildReport, BuildRequest
    from lmstudio_app.knowledge.desk import Desk
    from lmstudio_app.knowledge.shelf import ShelfEntry
    from lmstudio_app.knowledge.store import StoredFile
    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks.outputs import Answer


def look_at_shelf(_: None, ctx: JobContext) -> list[ShelfEntry]:
    from lmstudio_app.knowledge.shelf import list_shelf

    return list_shelf(ctx)


@dataclass(frozen=True)
class Contents:
    """What is in a knowledge base. ``sources`` are what was put in: files and folders.

    ``lacks_encoder``: the one that it was built with is not on this computer (any longer). ``error``: it cannot be
    opened.
    ``digest`` changes with everything that answers come from.
    """

    folder: Path
    sources: tuple[Path, ...] = ()
    files: tuple[StoredFile, ...] = ()
    waiting: int = 0
    encoder: str = ""
    lacks_encoder: bool = False
    digest: str = ""
    error: UserError | None = None


def look_into(folder: Path, ctx: JobContext) -> Contents:
    """Raises nothing for a knowledge base that is not built yet: there is nothing in it."""
    from lmstudio_app.knowledge.encoder import STARTER_ENCODER
    from lmstudio_app.knowledge.prediction import content_digest
    from lmstudio_app.knowledge.store import Store, is_knowledge_base
    from lmstudio_app.models.references import is_present

    if not is_knowledge_base(folder):
        return Contents(folder, lacks_encoder=not is_present(STARTER_ENCODER))
    try:
        store = Store(folder)
    except UserError as error:
        return Contents(folder, error=error)
    try:
        known = store.fact("encoder") or {"title": "", "reference": STARTER_ENCODER}
        return Contents(
            folder,
            tuple(store.sources()),
            tuple(store.files()),
            store.count_waiting(),
            known["title"],
            not is_present(known["reference"]),
            content_digest(folder),
        )
    finally:
        store.close()


@dataclass(frozen=True)
class ShelfChange:
    """``make``, ``rename`` (to ``new``) or ``trash`` the knowledge base called ``name``."""

    kind: str
    name: str
    new: str = ""


def change_shelf(change: ShelfChange, ctx: JobContext) -> Path | None:
    """The folder where it is then; None when it is gone."""
    from lmstudio_app.knowledge.shelf import create_base, rename_base, trash_base

    if change.kind == "make":
        return create_base(change.name)
    if change.kind == "rename":
        return rename_base(change.name, change.new)
    trash_base(change.name)
    return None


def build(request: BuildRequest, ctx: JobContext) -> BuildReport | None:
    """Build or update a knowledge base; of the handbook (whose request is only its folder) None comes back."""
    from lmstudio_app.knowledge.building import build_knowledge_base
    from lmstudio_app.knowledge.handbook import ensure_handbook, handbook_folder

    if request.folder == handbook_folder():
        ensure_handbook(ctx)
        return None
    return build_knowledge_base(request, ctx)


AROUND = 50_000  # characters of a document that are shown on either side of a passage


@dataclass(frozen=True)
class DocumentRequest:
    """Characters ``start`` to ``end`` of ``file`` in the knowledge base in ``folder``, with what is around them."""

    folder: Path
    file: str
    start: int
    end: int


@dataclass(frozen=True)
class DocumentPart:
    """``text`` begins at character ``start`` of a document that has ``total``."""

    text: str
    start: int
    total: int


def read_document_text(request: DocumentRequest, ctx: JobContext) -> DocumentPart:
    """The text that was taken out of a file. Raises :class:`UserError` when the file is not in there any longer."""
    from lmstudio_app.knowledge.store import Store

    store = Store(request.folder)
    try:
        text = store.text(request.file)
    finally:
        store.close()
    if text is None or len(text) < request.end:
        raise UserError(
            "{file} has changed since it was asked, or is no longer in the knowledge base.", "Ask again.",
            file=request.file,
        )  # fmt: skip
    start = max(0, request.start - AROUND)
    return DocumentPart(_unwrapped(text[start : request.end + AROUND]), start, len(text))


def _unwrapped(text: str) -> str:
    """The text with paragraphs that were wrapped to lines in one piece; every character stays where it is."""
    from lmstudio_app.tasks.sentences import split_paragraphs

    parts, at = [], 0
    for begin, end in split_paragraphs(text):
        parts += [text[at:begin], text[begin:end].replace("\n", " ")]
        at = end
    return "".join(parts) + text[at:]


@dataclass(frozen=True, eq=False)
class KnowledgeQuestion:
    """A question to the knowledge base in ``folder``, which ``desk`` keeps open.

    ``writer`` is the reference of a chat model (empty: none), whose engine ``holder`` keeps in memory.
    """

    desk: Desk
    folder: Path
    question: str
    options: AskOptions
    holder: EngineHolder
    reader: LoadedModel | None = None
    writer: str = ""


def ask_knowledge_base(question: KnowledgeQuestion, ctx: JobContext) -> BothAnswers:
    from lmstudio_app.knowledge.asking import ask
    from lmstudio_app.knowledge.handbook import ensure_handbook, handbook_folder

    if question.folder == handbook_folder():
        ensure_handbook(ctx)  # another version of the app may have another one
    base = question.desk.open(question.folder, ctx)
    ctx.check()
    with contextlib.ExitStack() as stack:
        chat = stack.enter_context(question.holder.use(question.writer, ctx)) if question.writer else None
        return ask(base, question.question, ctx, question.options, reader=question.reader, chat=chat)


@dataclass(frozen=True, eq=False)
class TextQuestion:
    """A question about one text of the reader's own."""

    reader: LoadedModel
    question: str
    context: str
    options: Any


def ask_text(question: TextQuestion, ctx: JobContext) -> tuple[Answer, float]:
    """The answer, and the seconds that it took."""
    from lmstudio_app.tasks.answer_search import predict_answers

    begun = time.perf_counter()
    row = {"question": question.question, "context": question.context}
    found = next(iter(predict_answers(question.reader, [row], ctx, question.options)), None)
    if found is None:
        raise Cancelled
    return found, time.perf_counter() - begun


def read_question_samples(_: None, ctx: JobContext) -> dict[str, list[Sample]]:
    """Questions to begin with, about a text (``question_answering``) and to the handbook (``knowledge_base``)."""
    from lmstudio_app.assets import resource
    from lmstudio_app.gui.try_queries import read_samples

    samples = read_samples(resource("samples"))
    return {
        name: [sample for sample in samples[name] if sample.language == "en"]
        for name in ("question_answering", "knowledge_base")
    }
