"""Summaries of texts of any length: what a model cannot read at once is read in parts (map-reduce).

The parts of a long text are summarised, then these summaries as if they were a text, and so on until what is left fits
(Wu et al. 2021). Nothing is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.instructed_writing import Written
from lmstudio_app.tasks.summary_lengths import Target, count_words, target_for, target_for_part, target_words
from lmstudio_app.tasks.summary_parts import Span, split_parts
from lmstudio_app.tasks.summary_talking import Talker
from lmstudio_app.tasks.summary_writers import Request, SummaryOptions, Writer, make_writer

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_BETWEEN = "\n\n"  # between the summaries of two parts


@dataclass(frozen=True)
class Part:
    """``text[start:end]`` of what was read in ``round`` (0: the text itself), and its summary."""

    round: int
    start: int
    end: int
    summary: str


@dataclass(frozen=True)
class Summary:
    """``parts`` are those of all rounds but the last, empty where the text was read at once; ``tokens`` were written.

    ``complete`` is False after a stop: then ``text`` is what there was. ``is_text`` says that the text was no longer
    than its summary would have been, and so is its own. ``joined``: the summaries of the parts could not be made
    shorter, and stand one behind the other.
    """

    text: str
    words: int
    parts: tuple[Part, ...] = ()
    tokens: int = 0
    complete: bool = True
    is_text: bool = False
    joined: bool = False


@dataclass(frozen=True)
class Draft:
    """How far a summary is: part ``index`` of ``count`` in ``round`` has come to ``text``, and is ``done`` or not.

    The last round has one part, which is the summary itself (``is_last``).
    """

    row: int
    round: int
    index: int
    count: int
    start: int
    end: int
    text: str
    done: bool
    is_last: bool


@dataclass(frozen=True)
class ReadingPlan:
    """What a text is for a model: how long, in how many parts it is read, and what its summary comes to."""

    words: int
    tokens: int
    window: int
    parts: tuple[Span, ...]
    target: Target
    is_text: bool


@dataclass
class _Work:
    """A text on its way to its summary."""

    text: str  # what is read in this round
    words: int
    wanted: int
    ratio: float  # tokens a word
    round: int = 0
    spans: list[Span] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    tokens: int = 0
    previous: int = 0  # parts of the round before


def plan_reading(loaded: LoadedModel, text: str, ctx: JobContext, options: SummaryOptions) -> ReadingPlan:
    """How :func:`summarize_texts` would read a text; nothing is written.

    Raises :class:`UserError` for a model that cannot summarise.
    """
    writer = _writer_for(loaded, options, ends_early=False)
    words = count_words(text)
    (tokens,) = writer.count([text])
    wanted = target_words(words, options.length, options.sentences)
    target = _last_target(options, wanted, _ratio(tokens, words))
    is_text = _is_own(words, wanted, options)
    spans = [] if is_text else split_parts(text, writer.window, writer.count, ctx)
    return ReadingPlan(words, tokens, writer.window, tuple(spans), target, is_text)


def summarize_texts(
    loaded: LoadedModel,
    texts: Sequence[str],
    ctx: JobContext,
    options: SummaryOptions,
    *,
    ends_early: bool = False,
    watch: Callable[[Draft], object] | None = None,
    talker: Talker | None = None,
) -> list[Summary]:
    """A summary a text, in their order. Parts of all texts go through the model together.

    A text with no more words than its summary would have is its own summary, and one of nothing but spaces has an empty
    one; where tokens are asked for by number, the model is asked in any case. ``watch`` is told how the summaries grow.
    With ``ends_early`` a stop ends the writing where it is. A ``talker`` is an engine of the same model that streams
    replies, which is faster for one text. Raises :class:`UserError` for a model that cannot write.
    """
    writer = _writer_for(loaded, options, ends_early=ends_early, talker=talker)
    found: dict[int, Summary] = {}
    works: dict[int, _Work] = {}
    for row, text in enumerate(texts):
        ctx.check()
        words = count_words(text)
        wanted = target_words(words, options.length, options.sentences)
        if not text.strip() or _is_own(words, wanted, options):
            found[row] = Summary(text.strip(), words, is_text=True)
        else:
            works[row] = _Work(text, words, wanted, _ratio(writer.count([text])[0], words))
    while works:
        finished = _run_round(writer, works, ctx, options, watch)
        if ends_early and ctx.stopping:
            for row, work in works.items():
                if row not in finished or not finished[row].text:
                    finished[row] = _what_there_is(work)
        for row, summary in finished.items():
            found[row] = summary
            del works[row]
    return [found[row] for row in range(len(texts))]


def _writer_for(
    loaded: LoadedModel, options: SummaryOptions, *, ends_early: bool, talker: Talker | None = None
) -> Writer:
    most = target_words(1_000_000, options.length, options.sentences)
    longest = options.max_new_tokens or target_for(most, 2.0).max_tokens
    return make_writer(loaded, options, longest_summary=longest, ends_early=ends_early, talker=talker)


def _is_own(words: int, wanted: int, options: SummaryOptions) -> bool:
    return words <= wanted and not options.max_new_tokens


def _ratio(tokens: int, words: int) -> float:
    return tokens / words if words else 1.0


def _last_target(options: SummaryOptions, wanted: int, ratio: float) -> Target:
    """What the whole summary comes to: by its length, or by the tokens that were asked for."""
    if options.max_new_tokens:
        words = min(wanted, max(1, round(options.max_new_tokens / (1.3 * max(ratio, 0.1)))))
        shortest = min(options.min_new_tokens, options.max_new_tokens)
        most = options.max_new_tokens
        return Target(words, target_for(words, ratio).sentences, shortest, most, most)
    target = target_for(wanted, ratio, sentences=options.sentences)
    shortest = options.min_new_tokens or target.min_tokens
    most = max(target.max_tokens, shortest)
    return Target(target.words, target.sentences, shortest, most, max(target.aim_tokens, shortest))


def _run_round(
    writer: Writer,
    works: dict[int, _Work],
    ctx: JobContext,
    options: SummaryOptions,
    watch: Callable[[Draft], object] | None,
) -> dict[int, Summary]:
    """Let every text get one round nearer to its summary; returns the summaries that are done."""
    requests: list[Request] = []
    places: list[tuple[int, int]] = []  # (row, number of its part)
    for row, work in works.items():
        work.spans = split_parts(work.text, writer.window, writer.count, ctx)
        for index, (start, end) in enumerate(work.spans):
            text = work.text[start:end]
            requests.append(Request(text, _target(work, text, writer, options)))
            places.append((row, index))

    def _tell(number: int, text: str, *, done: bool) -> None:
        row, index = places[number]
        work = works[row]
        if done and len(work.spans) > 1:
            work.parts.append(Part(work.round, *work.spans[index], text))
        if watch is not None:
            watch(Draft(row, work.round, index, len(work.spans), *work.spans[index], text, done, len(work.spans) == 1))

    for number in range(len(requests)):
        _tell(number, "", done=False)
    written = writer.write(
        requests,
        ctx,
        lambda number, text: _tell(number, text, done=False),
        lambda number, text: _tell(number, text.text, done=True),
    )
    by_row: dict[int, list[Written]] = {}
    for (row, _), result in zip(places, written, strict=True):
        by_row.setdefault(row, []).append(result)
    return {row: done for row, texts in by_row.items() if (done := _advance(works[row], texts, ctx)) is not None}


def _target(work: _Work, text: str, writer: Writer, options: SummaryOptions) -> Target:
    if len(work.spans) == 1:
        return _last_target(options, work.wanted, work.ratio)
    return target_for_part(count_words(text), len(work.spans), work.wanted, work.ratio, writer.window)


def _advance(work: _Work, texts: Sequence[Written], ctx: JobContext) -> Summary | None:
    """What the round has brought: the summary, or a shorter text to read in the next one."""
    work.tokens += sum(text.tokens for text in texts)
    work.parts.sort(key=lambda part: (part.round, part.start))
    parts = tuple(work.parts)
    if len(work.spans) == 1:
        stopped = ctx.stopping and not texts[0].ended
        return Summary(texts[0].text, work.words, parts, work.tokens, complete=not stopped)
    joined = _BETWEEN.join(text.text for text in texts if text.text)
    if not joined or (work.previous and len(work.spans) >= work.previous):
        return Summary(joined, work.words, parts, work.tokens, joined=True)
    work.text, work.previous = joined, len(work.spans)
    work.round += 1
    return None


def _what_there_is(work: _Work) -> Summary:
    """After a stop between parts: the summaries of the newest round that has any."""
    newest = max((part.round for part in work.parts), default=0)
    texts = [part.summary for part in work.parts if part.round == newest and part.summary]
    return Summary(
        _BETWEEN.join(texts), work.words, tuple(work.parts), work.tokens, complete=False, joined=len(texts) > 1
    )
