"""Texts of any length into another language: cut into sentences, translated in batches, put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.jobs import JobContext
from lmstudio_app.models.languages import check_language
from lmstudio_app.tasks.alignment import Alignment
from lmstudio_app.tasks.outputs import Text
from lmstudio_app.tasks.segments import Span, cut_text, join_text, piece_text
from lmstudio_app.tasks.streaming import READ_AHEAD, read_ahead, row_text
from lmstudio_app.tasks.translators import Done, TranslateOptions, Translator, make_translator
from lmstudio_app.tasks.writing import Hypothesis

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_AT_ONCE = 16  # sentences of one text, so that its beginning is there soon
_WINDOW = 2  # batches of rows among which sentences of one length are looked for; more would come out later


@dataclass(frozen=True)
class TranslatedSentence:
    """A piece of the text: its place there, the place of its translation in the whole, and what else it may be."""

    source: Span
    target: Span
    hypotheses: tuple[Hypothesis, ...]
    alignment: Alignment | None = None


@dataclass(frozen=True)
class Translation(Text):
    """``sentences`` are in the rows of a file when ``is_detailed``: alternatives or an alignment were asked for."""

    source: str = ""
    sentences: tuple[TranslatedSentence, ...] = ()
    is_detailed: bool = False

    def to_row(self) -> dict[str, Any]:
        if not self.is_detailed:
            return super().to_row()
        return {**super().to_row(), "sentences": [self._row(sentence) for sentence in self.sentences]}

    def _row(self, sentence: TranslatedSentence) -> dict[str, Any]:
        row: dict[str, Any] = {
            "source": self.source[slice(*sentence.source)],
            "text": self.text[slice(*sentence.target)],
            "start": sentence.source[0],
            "end": sentence.source[1],
        }
        if len(sentence.hypotheses) > 1:
            row["alternatives"] = [{"text": item.text, "score": item.probability} for item in sentence.hypotheses]
        if sentence.alignment is not None:
            row["alignment"] = sentence.alignment.to_row()
        return row


@dataclass(frozen=True)
class Plan:
    """A text, where its pieces are, and the language that they are to be in."""

    text: str
    spans: tuple[Span, ...]
    target: str

    @property
    def pieces(self) -> list[str]:
        return [piece_text(self.text, span) for span in self.spans]

    def finish(
        self,
        found: Sequence[Sequence[Hypothesis]],
        alignments: Sequence[Alignment | None],
        *,
        is_detailed: bool = False,
    ) -> Translation:
        """The translation of the whole of its pieces' hypotheses."""
        joined = join_text(self.text, self.spans, [hypotheses[0].text for hypotheses in found])
        sentences = tuple(
            TranslatedSentence(source, target, tuple(hypotheses), alignment)
            for source, target, hypotheses, alignment in zip(self.spans, joined.spans, found, alignments, strict=True)
        )
        return Translation(joined.text, self.text, sentences, is_detailed)


def plan_translation(translator: Translator, text: str, target: str, *, by_sentence: bool) -> Plan:
    """Raises :class:`UserError` where the model needs to be told a language, or does not have it."""
    if not text.strip():
        text = ""
    spans = cut_text(text, lambda pieces: translator.too_long(pieces, target), by_sentence=by_sentence)
    return Plan(text, tuple(spans), target)


def translate_text(
    loaded: LoadedModel,
    text: str,
    ctx: JobContext,
    options: TranslateOptions,
    *,
    planned: Callable[[Plan], object],
    done: Done,
) -> Translation:
    """One text, watched: ``planned`` is told of its pieces, and ``done`` of each of them, the first ones first."""
    translator = make_translator(loaded, options)
    plan = plan_translation(translator, text, "", by_sentence=options.by_sentence)
    planned(plan)
    pieces = plan.pieces
    found: list[list[Hypothesis]] = []
    for begin in range(0, len(pieces), _AT_ONCE):
        ctx.check()
        chosen = pieces[begin : begin + _AT_ONCE]

        def _done(row: int, hypotheses: list[Hypothesis], begin: int = begin) -> None:
            done(begin + row, hypotheses)

        found += translator.write(
            chosen, [""] * len(chosen), ctx, _done,
            count=max(1, options.alternatives),
        )  # fmt: skip
    _warn_of_ends(found, ctx)
    return plan.finish(found, [None] * len(found))


def translate(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: TranslateOptions
) -> Iterator[Translation]:
    """The translation of each row's ``text``, in the rows' order; a row's ``language`` goes before the options.

    Languages and prefix that are not given are those of the model's training by this app; a model with a single target
    language needs none.
    """
    translator = make_translator(loaded, options)
    for window in read_ahead(rows, max(1, options.batch_size * _WINDOW // READ_AHEAD)):
        plans = []
        for row in window:
            ctx.check()
            language = str(row.get("language") or "")
            target = check_language(language) if language else ""
            plans.append(plan_translation(translator, row_text(row), target, by_sentence=options.by_sentence))
        pieces = [piece for plan in plans for piece in plan.pieces]
        targets = [plan.target for plan in plans for _ in plan.spans]
        found = translator.write(pieces, targets, ctx, count=max(1, options.alternatives)) if pieces else []
        _warn_of_ends(found, ctx)
        alignments: list[Alignment | None] = [None] * len(found)
        if options.alignment:
            pairs = [(piece, items[0].text) for piece, items in zip(pieces, found, strict=True)]
            alignments = translator.align(pairs, targets, ctx)
        at = 0
        is_detailed = options.alignment or options.alternatives > 1
        for plan in plans:
            chosen = slice(at, at + len(plan.spans))
            yield plan.finish(found[chosen], alignments[chosen], is_detailed=is_detailed)
            at += len(plan.spans)


def _warn_of_ends(found: Sequence[Sequence[Hypothesis]], ctx: JobContext) -> None:
    cut = sum(not hypotheses[0].ended for hypotheses in found if hypotheses)
    if cut:
        ctx.warn("{count} translations were cut off: they reached the longest output without an end.", count=cut)
