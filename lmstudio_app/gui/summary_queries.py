"""The jobs behind the Summarise page: a file's text, how it will be read, its summary, and what supports it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lmstudio_app.events import Event
from lmstudio_app.gui.chat_replies import EngineHolder
from lmstudio_app.gui.try_queries import Study, study_model
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks.summarizing import Draft, ReadingPlan, Summary
    from lmstudio_app.tasks.summary_support import Support
    from lmstudio_app.tasks.summary_writers import SummaryOptions


@dataclass(frozen=True, kw_only=True)
class DraftWritten(Event):
    """How far a summary is."""

    kind: ClassVar[str] = "draft"
    draft: Draft


@dataclass(frozen=True)
class OpenedText:
    """``notes`` are templates with their parameters, as reading a document has them."""

    path: Path
    text: str
    notes: tuple[tuple[str, dict[str, object]], ...] = ()


def open_text(path: Path, ctx: JobContext) -> OpenedText:
    """The text of a txt, md, html, pdf or docx file. Raises :class:`UserError` when it has none."""
    from lmstudio_app.knowledge.documents import read_document
    from lmstudio_app.knowledge.extraction import Extractor

    with Extractor() as extractor:
        document = read_document(path, extractor, ctx)
    return OpenedText(path, document.text, document.notes)


@dataclass(frozen=True, eq=False)
class TextLook:
    text: str
    options: SummaryOptions


class TextLooker:
    """Looks how a model would read a text. It has a tokenizer of its own: they are not safe to share, and the model may
    be writing meanwhile.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._shared = loaded
        self._own: LoadedModel | None = None

    def look(self, question: TextLook, ctx: JobContext) -> ReadingPlan:
        from lmstudio_app.tasks.summarizing import plan_reading

        return plan_reading(self._model(), question.text, ctx, question.options)

    def study(self, _: None, ctx: JobContext) -> Study:
        """Which samples suit the model."""
        return study_model(self._model(), ctx)

    def _model(self) -> LoadedModel:
        if self._own is None:
            self._own = dataclasses.replace(self._shared, tokenizer=copy.deepcopy(self._shared.tokenizer))
        return self._own


@dataclass(frozen=True, eq=False)
class SummaryQuestion:
    """``holder`` keeps a faster engine of a chat model, where there is one."""

    loaded: LoadedModel
    text: str
    options: SummaryOptions
    holder: EngineHolder | None = None


@dataclass(frozen=True, eq=False)
class SummaryAnswer:
    """A summary of ``text``, the seconds it took, and what supports it."""

    text: str
    summary: Summary
    seconds: float
    support: Support
    model: str


def summarize_text(question: SummaryQuestion, ctx: JobContext) -> SummaryAnswer:
    """Tells by :class:`DraftWritten` how the summary grows, and its progress in parts. A stop keeps what there is."""
    from lmstudio_app.tasks.summarizing import summarize_texts
    from lmstudio_app.tasks.summary_support import find_support

    start = time.perf_counter()
    meter = ctx.meter(None, "parts")
    done = 0
    before = 0  # parts of the rounds before
    last_round = 0

    def _watch(draft: Draft) -> None:
        nonlocal done, before, last_round
        if draft.round != last_round:
            before, last_round = done, draft.round
        # behind every round but the last there is another one, of one part at least
        meter.total = before + draft.count + (0 if draft.is_last else 1)
        done += draft.done
        ctx.emit(DraftWritten(draft=draft))
        meter.update(done)

    with contextlib.ExitStack() as stack:
        talker = None
        if question.holder is not None and _has_fast_engine(question):
            talker = stack.enter_context(question.holder.use(question.loaded, ctx))
            start = time.perf_counter()  # it may have been opened first
        (summary,) = summarize_texts(
            question.loaded, [question.text], ctx, question.options, ends_early=True, watch=_watch, talker=talker
        )
    seconds = time.perf_counter() - start
    title = question.loaded.card.title or question.loaded.reference
    return SummaryAnswer(question.text, summary, seconds, find_support(question.text, summary.text, ctx), title)


def _has_fast_engine(question: SummaryQuestion) -> bool:
    from lmstudio_app.chat.engine import is_fast
    from lmstudio_app.tasks.summary_writers import talks

    loaded = question.loaded
    return loaded.head == "causal-lm" and talks(question.options) and is_fast(loaded.folder)


@dataclass(frozen=True, eq=False)
class SupportQuestion:
    """``encoder`` is a loaded one, for a comparison by meaning; None: by words."""

    text: str
    summary: str
    encoder: Any = None


def support_summary(question: SupportQuestion, ctx: JobContext) -> Support:
    from lmstudio_app.tasks.embedding import Embedder
    from lmstudio_app.tasks.summary_support import find_support

    embed = None if question.encoder is None else Embedder(question.encoder).embed
    return find_support(question.text, question.summary, ctx, embed)


def export_texts(answer: SummaryAnswer, support: Support) -> dict[str, str]:
    """The summary as files, by suffix: alone, with its sources, and with everything for programs."""
    return {
        ".txt": answer.summary.text + "\n",
        ".md": _as_markdown(answer, support),
        ".jsonl": json.dumps(_as_row(answer, support), ensure_ascii=False) + "\n",
    }


def _as_markdown(answer: SummaryAnswer, support: Support) -> str:
    lines = ["# Summary", "", answer.summary.text, "", f"Model: {answer.model}", "", "## Sources", ""]
    for number, sentence in enumerate(support.sentences, 1):
        lines.append(f"{number}. {_one_line(answer.summary.text[sentence.start : sentence.end])}")
        if not sentence.supported:
            lines.append("   - (not supported by the text)")
        lines += [
            f"   > {_one_line(answer.text[source.start : source.end])} ({source.score:.2f})"
            for source in sentence.sources
        ]
    if answer.summary.parts:
        lines += ["", "## Summaries of the parts", ""]
        lines += [f"- {_one_line(part.summary)}" for part in answer.summary.parts if part.round == 0]
    return "\n".join(lines) + "\n"


def _as_row(answer: SummaryAnswer, support: Support) -> dict[str, Any]:
    return {
        "text": answer.summary.text,
        "source": answer.text,
        "model": answer.model,
        "complete": answer.summary.complete,
        "parts": [dataclasses.asdict(part) for part in answer.summary.parts],
        "support": {"method": support.method, "sentences": [_sentence(item) for item in support.sentences]},
    }


def _sentence(item: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(item), "unknown": list(item.unknown)}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def first_words(text: str, count: int = 8) -> str:
    """What a text is called in a list."""
    return " ".join(text[:400].split()[:count])
