"""The jobs behind the Translation page: a text, sentence by sentence; other translations of one; words that match."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lmstudio_app.events import Event
from lmstudio_app.gui.try_queries import Sample, study_model
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks.alignment import Alignment
    from lmstudio_app.tasks.segments import Span
    from lmstudio_app.tasks.translating import Plan, Translation
    from lmstudio_app.tasks.translation_direction import Offer
    from lmstudio_app.tasks.translators import TranslateOptions
    from lmstudio_app.tasks.writing import Hypothesis


@dataclass(frozen=True, kw_only=True)
class TextCut(Event):
    """A text is going to be translated in these pieces."""

    kind: ClassVar[str] = "text_cut"
    plan: Plan


@dataclass(frozen=True, kw_only=True)
class PieceTranslated(Event):
    kind: ClassVar[str] = "piece_translated"
    number: int
    hypotheses: Sequence[Hypothesis]


@dataclass(frozen=True, eq=False)
class TextQuestion:
    loaded: LoadedModel
    text: str
    options: TranslateOptions


@dataclass(frozen=True, eq=False)
class TextAnswer:
    translation: Translation
    seconds: float
    tokens: int


def translate_whole(question: TextQuestion, ctx: JobContext) -> TextAnswer:
    """Tells of the pieces (:class:`TextCut`), then of each that is done (:class:`PieceTranslated`)."""
    from lmstudio_app.tasks.translating import translate_text

    begun = time.perf_counter()
    translation = translate_text(
        question.loaded,
        question.text,
        ctx,
        question.options,
        planned=lambda plan: ctx.emit(TextCut(plan=plan)),
        done=lambda number, found: ctx.emit(PieceTranslated(number=number, hypotheses=found)),
    )
    seconds = time.perf_counter() - begun
    return TextAnswer(translation, seconds, sum(item.hypotheses[0].tokens for item in translation.sentences))


def write_alternatives(question: TextQuestion, ctx: JobContext) -> list[Hypothesis]:
    """Several translations of one piece."""
    from lmstudio_app.tasks.translators import make_translator

    options = question.options
    translator = make_translator(question.loaded, options)
    return translator.write([question.text], [""], ctx, count=options.alternatives)[0]


@dataclass(frozen=True, eq=False)
class PairQuestion:
    loaded: LoadedModel
    source: str
    target: str
    options: TranslateOptions


def align_pair(question: PairQuestion, ctx: JobContext) -> Alignment | None:
    """Which words of the two belong together; None where the model cannot say."""
    from lmstudio_app.tasks.translators import make_translator

    translator = make_translator(question.loaded, question.options)
    return translator.align([(question.source, question.target)], [""], ctx)[0]


@dataclass(frozen=True, eq=False)
class TranslatorStudy:
    """What is good to know of a translator: its languages, whether it can show matching words, samples."""

    offer: Offer
    aligns: bool
    samples: Sequence[Sample]


def study_translator(loaded: LoadedModel, ctx: JobContext) -> TranslatorStudy:
    from lmstudio_app.tasks.alignment import can_align
    from lmstudio_app.tasks.translation_direction import offered_languages

    samples = study_model(loaded, ctx).samples.get("translation", [])
    return TranslatorStudy(offered_languages(loaded), can_align(loaded), samples)


class Draft:
    """A translation that grows, and in which pieces are replaced by others."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._found: list[str | None] = [None] * len(plan.spans)
        self._scores = [math.nan] * len(plan.spans)
        self.joined_text = ""
        self.spans: tuple[Span, ...] = ()
        self._join()

    @property
    def done(self) -> int:
        return sum(text is not None for text in self._found)

    def put(self, found: Mapping[int, tuple[str, float]]) -> None:
        """Texts of pieces, with their probability."""
        for number, (text, score) in found.items():
            self._found[number], self._scores[number] = text, score
        self._join()

    def piece(self, number: int) -> str:
        """A translation; empty while it is not there."""
        return self._found[number] or ""

    def source(self, number: int) -> str:
        return self.plan.text[slice(*self.plan.spans[number])]

    def rows(self) -> list[dict[str, Any]]:
        """Each piece that is done, as a row of a file."""
        rows = []
        for number, text in enumerate(self._found):
            if text is not None:
                row: dict[str, Any] = {"source": self.source(number), "text": text}
                rows.append(row if math.isnan(self._scores[number]) else {**row, "score": self._scores[number]})
        return rows

    def number_at(self, place: int, spans: Sequence[Span]) -> int:
        """The piece that holds this character of the source or of the translation; -1: none."""
        return next((number for number, (begin, end) in enumerate(spans) if begin <= place < end), -1)

    def _join(self) -> None:
        from lmstudio_app.tasks.segments import join_text

        joined = join_text(self.plan.text, self.plan.spans, ["…" if text is None else text for text in self._found])
        self.joined_text, self.spans = joined.text, joined.spans


def with_languages(manner: Any, source: str, target: str, **others: Any) -> TranslateOptions:
    """The options of a page's form, and the languages that it shows."""
    from lmstudio_app.tasks.translators import TranslateOptions

    fields = {item.name: getattr(manner, item.name) for item in dataclasses.fields(manner)}
    return TranslateOptions(**{**fields, "source_language": source, "target_language": target, **others})
