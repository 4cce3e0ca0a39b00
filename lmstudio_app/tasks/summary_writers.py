"""How a model is made to summarise: an encoder-decoder by its prefix, a language model by a prompt."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lmstudio_app.data.batching import sorted_batches
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.options import option
from lmstudio_app.tasks.chat_templates import (
    DEFAULT_CHAT_TEMPLATE,
    Messages,
    TemplateRefused,
    encode_prompt,
)
from lmstudio_app.tasks.instructed_writing import Ask, Manner, Written, write_behind
from lmstudio_app.tasks.sentences import split_paragraphs, split_sentences
from lmstudio_app.tasks.seq2seq import WriteOptions, declared_prefix, encode_sources, trained_options
from lmstudio_app.tasks.streaming import longest_text
from lmstudio_app.tasks.summary_lengths import LENGTHS, Target
from lmstudio_app.tasks.summary_talking import Talker, TalkingWriter
from lmstudio_app.tasks.writing import Hypothesis, Prompt, decoder_limit, require_writer, write_hypotheses

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

# the wording of the Smol-summarize data (Ben Allal et al. 2025), which small chat models have learned from
INSTRUCTION = (
    "Provide a concise, objective summary of the input text in {sentences}, focusing on key actions and intentions "
    "without using second or third person pronouns. Use about {words} words."
)
_SMALL_MODEL = 1_000_000_000  # parameters below which a model loses the thread of long prompts
_SMALL_PART = 1024  # tokens that such a model is given at once
_BATCH_TOKENS = 32_768  # source tokens times beams in a batch, as in writing.py
_SHORTEST_PART = 16  # tokens below which nothing can be summarised
_INTRODUCTION = re.compile(r"\A[^\n]{0,120}:\s*\n+(?=\S)")  # "Here is a summary of the text:"
_LABEL = re.compile(r"\A\W*(?:summary|tl;dr|in summary)\W*[:：]\W*\s*", re.IGNORECASE)
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class SummaryOptions(WriteOptions):
    """How long a summary is to be, and how it is written."""

    length: str = option(
        "medium",
        "Length",
        "short: a sentence or two; medium: about a fifth of the text, 40 to 80 words; long: a third of it, up to 200.",
        basic=True,
        choices=LENGTHS,
    )
    sentences: int = option(
        0,
        "Sentences",
        "How many sentences to aim at instead; 0: as the length says.",
        basic=True,
        minimum=0,
        maximum=50,
    )
    beams: int = option(
        4,
        "Beams",
        "Beginnings that are followed at once, of which the best whole text is taken; chat models follow one.",
        minimum=1,
        maximum=64,
    )
    max_new_tokens: int = option(
        0,
        "Longest output",
        "A summary ends after this many tokens at the latest; 0: as the length says.",
        basic=True,
        minimum=0,
        maximum=100_000,
    )
    min_new_tokens: int = option(
        0, "Shortest output", "Tokens that a summary has at least; 0: as the length says.", minimum=0, maximum=100_000
    )
    part_tokens: int = option(
        0,
        "Tokens at once",
        "Longer texts are read in parts of so many tokens, whose summaries are summarised; 0: as many as suit the "
        "model.",
        minimum=0,
        maximum=1_000_000,
    )
    instruction: str = option(
        "",
        "Instruction",
        "What a chat model is told to do with the text; {words} and {sentences} stand for the length. Empty: the usual "
        "one.",
    )
    repetition_penalty: float = option(
        1.0,
        "Repetition penalty",
        "Chat models: above 1 makes words that were written already less probable.",
        minimum=0.1,
        maximum=10.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.instruction.format(words=1, sentences="one sentence")
        except (LookupError, ValueError) as error:
            raise UserError(
                "The instruction cannot be filled in ({reason}).",
                "Use {{words}} and {{sentences}} only, and write other braces twice.",
                reason=str(error),
            ) from error


@dataclass(frozen=True)
class Request:
    """A text to summarise, and how long its summary is to be."""

    text: str
    target: Target


Watch = Callable[[int, str], object]  # number of the request, its summary so far
Done = Callable[[int, Written], object]


class Writer(Protocol):
    """A model that summarises texts it can read at once."""

    @property
    def window(self) -> int:
        """Tokens of text that it is given at once."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without what is put around it."""

    def write(self, requests: Sequence[Request], ctx: JobContext, watch: Watch, done: Done) -> list[Written]:
        """A summary a request. ``watch`` is told how they grow where that can be seen, ``done`` of each that is done.

        A stop ends them where they are, if the writer was made so.
        """


def make_writer(
    loaded: LoadedModel,
    options: SummaryOptions,
    *,
    longest_summary: int,
    ends_early: bool = False,
    talker: Talker | None = None,
) -> Writer:
    """The writer for a model; ``longest_summary`` is what it will be asked for at most, in tokens.

    A ``talker`` writes in the place of a chat model, unless the options ask for what it cannot do. Raises
    :class:`UserError` for a model that cannot write.
    """
    if loaded.head == "causal-lm":
        if talker is None or not talks(options):
            return InstructedWriter(loaded, options, longest_summary, ends_early=ends_early)
        limit = min(talker.context_length, longest_text(loaded))
        plan = InstructedWriter(loaded, options, longest_summary, ends_early=ends_early, limit=limit)
        return TalkingWriter(plan, talker) if plan.chats else plan
    require_writer(loaded)
    return EncoderDecoderWriter(loaded, options, ends_early=ends_early)


def talks(options: SummaryOptions) -> bool:
    """Can an engine that streams replies do what the options ask for?"""
    return not options.no_repeat_ngram and not options.min_new_tokens


def _window(loaded: LoadedModel, options: SummaryOptions, room: int, usual: int) -> int:
    """``room`` is what the model can read, ``usual`` what suits it."""
    if room < _SHORTEST_PART:
        raise UserError(
            "{model} has no room for a text beside its instruction and the summary.",
            "Ask for a shorter summary, or choose a model that reads longer texts.",
            model=loaded.card.title or loaded.reference,
        )
    return max(_SHORTEST_PART, min(room, options.part_tokens or usual))


def _count(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    if not texts:
        return []
    found = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [len(ids) for ids in found["input_ids"]]


class EncoderDecoderWriter:
    """BART, T5, Pegasus, Marian and their like, with the prefix that they were trained with."""

    def __init__(self, loaded: LoadedModel, options: SummaryOptions, *, ends_early: bool) -> None:
        self._loaded, self._options, self._ends_early = loaded, options, ends_early
        prefix = options.source_prefix or str(trained_options(loaded).get("source_prefix") or "")
        self._prefix = prefix or declared_prefix(loaded.model.config, "summarization")
        self._limit = longest_text(loaded)
        frame = len(encode_sources(loaded.tokenizer, [self._prefix], self._limit)[0])
        trained = (read_provenance(loaded.folder).get("recipe") or {}).get("training") or {}
        learned = trained.get("max_length")  # longer texts than in its training it has never read
        usual = max(self._limit, _SHORTEST_PART) if not isinstance(learned, int) else learned
        self.window = _window(loaded, options, self._limit - frame, usual - frame)

    def count(self, texts: Sequence[str]) -> list[int]:
        return _count(self._loaded.tokenizer, texts)

    def write(self, requests: Sequence[Request], ctx: JobContext, watch: Watch, done: Done) -> list[Written]:
        """Batch by batch: beams show nothing before they are done."""
        import numpy as np

        options, tokenizer = self._options, self._loaded.tokenizer
        sources = encode_sources(tokenizer, [self._prefix + request.text for request in requests], self._limit)
        found = [Written("", 0, ended=False)] * len(requests)
        most = decoder_limit(self._loaded.model.config)
        # requests of one target go together, since a batch has one length
        targets = sorted({(request.target.min_tokens, request.target.max_tokens) for request in requests})
        for shortest, longest in targets:
            rows = [
                row
                for row, request in enumerate(requests)
                if (request.target.min_tokens, request.target.max_tokens) == (shortest, longest)
            ]
            lengths = np.array([len(sources[row]) for row in rows])
            decoding = dataclasses.replace(
                options, max_new_tokens=max(1, min(longest, most)), min_new_tokens=min(shortest, longest, most)
            )
            tokens = max(1, _BATCH_TOKENS // options.beams)
            for batch in sorted_batches(lengths, options.batch_size, tokens):
                if self._ends_early and ctx.stopping:
                    return found
                chosen = [rows[place] for place in batch.tolist()]

                def _done(place: int, hypotheses: list[Hypothesis], chosen: list[int] = chosen) -> None:
                    best = hypotheses[0]
                    text = tidy(best.text, whole=best.ended)
                    found[chosen[place]] = Written(text, best.tokens, best.ended)
                    done(chosen[place], found[chosen[place]])

                prompts = [Prompt(sources[row]) for row in chosen]
                write_hypotheses(self._loaded, prompts, ctx, decoding, batch_size=options.batch_size, done=_done)
        return found


class InstructedWriter:
    """A language model by a prompt: its chat template where it has one, else ``TL;DR:`` (Radford et al. 2019)."""

    def __init__(
        self,
        loaded: LoadedModel,
        options: SummaryOptions,
        longest_summary: int,
        *,
        ends_early: bool,
        limit: int | None = None,
    ) -> None:
        self._loaded, self._options, self.ends_early = loaded, options, ends_early
        self.manner = Manner(
            temperature=options.temperature if options.sample else 0.0,
            top_k=options.top_k,
            top_p=options.top_p,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram=options.no_repeat_ngram or _NO_REPEAT,
            seed=options.seed,
        )
        # the plain template may have been lent to a model that never saw a chat
        self.chats = loaded.tokenizer.chat_template not in (None, DEFAULT_CHAT_TEMPLATE)
        self._limit = limit or longest_text(loaded)
        frame = len(self._prompt("", Target(words=100, sentences=5, min_tokens=0, max_tokens=0, aim_tokens=0)))
        usual = _SMALL_PART if loaded.card.parameters < _SMALL_MODEL else self._limit
        self.window = _window(loaded, options, self._limit - frame - longest_summary - _SHORTEST_PART, usual)

    def count(self, texts: Sequence[str]) -> list[int]:
        return _count(self._loaded.tokenizer, texts)

    def _prompt(self, text: str, target: Target) -> list[int]:
        tokenizer = self._loaded.tokenizer
        if not self.chats:
            ids: list[int] = tokenizer(f"{text}\n\nTL;DR:", verbose=False)["input_ids"]
            return ids
        messages = self.messages(text, target)
        try:
            return encode_prompt(tokenizer, messages, self._limit)
        except TemplateRefused as error:
            raise UserError(
                "The chat template of {model} does not take an instruction and a text ({reason}).",
                "Choose another chat model.",
                model=self._loaded.card.title or self._loaded.reference,
                reason=str(error)[:200],
            ) from error

    def messages(self, text: str, target: Target) -> Messages:
        """What a chat model is told."""
        instruction = (self._options.instruction or INSTRUCTION).format(
            words=target.words, sentences=_sentences(target.sentences)
        )
        # a break within a paragraph is the page's, and small models copy it
        paragraphs = [" ".join(text[begin:end].split()) for begin, end in split_paragraphs(text)]
        return [
            {"role": "system", "content": instruction},
            {"role": "user", "content": "\n\n".join(paragraphs)},
        ]

    def write(self, requests: Sequence[Request], ctx: JobContext, watch: Watch, done: Done) -> list[Written]:
        asks = []
        for request in requests:
            ctx.check()
            target = request.target
            prompt = self._prompt(request.text, target)
            asks.append(Ask(prompt, target.min_tokens, target.max_tokens, target.aim_tokens))

        def _tidied(written: Written) -> Written:
            return dataclasses.replace(written, text=tidy(written.text, whole=written.ended))

        return [
            _tidied(written)
            for written in write_behind(
                self._loaded,
                asks,
                ctx,
                self.manner,
                batch_size=self._options.batch_size,
                ends_early=self.ends_early,
                watch=lambda row, text: watch(row, tidy(text, whole=True)),
                done=lambda row, written: done(row, _tidied(written)),
            )
        ]


_NO_REPEAT = 6  # tokens in a row that a chat model does not write twice, where nothing else is said


def _sentences(count: int) -> str:
    if count == 1:
        return "one sentence"
    return f"up to {_NUMBERS[count] if count < len(_NUMBERS) else count} sentences"


def tidy(text: str, *, whole: bool) -> str:
    """A summary without what models say around it: an introducing line, a label, and sentences said twice.

    One that is not ``whole``, because its tokens ran out, loses the sentence that it broke off in, unless it is the
    only one.
    """
    text = _LABEL.sub("", _INTRODUCTION.sub("", text.strip())).strip()
    spans = split_sentences(text)
    if not whole and len(spans) > 1 and text[spans[-1][1] - 1] not in ".!?…。！？｡؟।”\"'»)":
        spans.pop()
    seen: set[str] = set()
    kept = ""
    at = 0
    for begin, end in spans:
        sentence = " ".join(text[begin:end].casefold().split())
        if sentence not in seen:
            kept += (text[at:begin] if kept else "") + text[begin:end]
        seen.add(sentence)
        at = end
    return kept
