"""Answers in a chat model's own words, from the passages that were found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answers import NOT_FOUND, Citation, KnowledgeAnswer, Source
from lmstudio_app.knowledge.marking import best_probability, no_answer, sources_of
from lmstudio_app.knowledge.search import FoundPassage
from lmstudio_app.tasks.replying import ReplyOptions, predict_replies
from lmstudio_app.tasks.streaming import longest_text

if TYPE_CHECKING:
    from lmstudio_app.chat.engine import ChatEngine
    from lmstudio_app.models.loading import LoadedModel

Text = TypeVar("Text", FoundPassage, Source)
_SYSTEM = (
    "Answer the question in one or two sentences, from the passages alone. "
    f'If they do not hold the answer, reply: "{NOT_FOUND}".'
)
_SIGNS = re.compile(r"^\s*(?:#{1,6}|>|[-*•])\s+")
_STOP = ("\n\n",)  # two sentences have no empty line between them; what comes behind one is made up
_TEMPLATE_TOKENS = 32  # that a chat template puts around the messages, at most


def chat_messages(question: str, passages: Sequence[FoundPassage | Source]) -> list[dict[str, str]]:
    """What a chat model is asked: the passages as plain text, and the question behind them.

    Without numbers and headings: models of 100 million parameters take these for what they are to write.
    """
    parts = ["\n".join(plain_lines(item.text)) for item in passages]
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": "\n\n".join([*parts, f"Question: {question}"])},
    ]


def plain_lines(text: str) -> list[str]:
    """The lines of a passage that hold something, without the signs of Markdown that they begin with."""
    return [line for line in (_SIGNS.sub("", line).strip() for line in text.splitlines()) if line]


def fit_passages(
    question: str, passages: Sequence[Text], room: int, count_tokens: Callable[[list[dict[str, str]]], int]
) -> list[Text]:
    """As many of the best passages as make a prompt of at most ``room`` tokens; at least one."""
    kept = list(passages)
    while len(kept) > 1 and count_tokens(chat_messages(question, kept)) > room:
        kept.pop()
    return kept


def stream_answer(
    chat: ChatEngine, question: str, passages: Sequence[Text], ctx: JobContext, max_new_tokens: int
) -> Iterator[str]:
    """What a chat model writes, piece by piece, the most probable token each; a stop ends it."""
    limit = chat.context_length
    kept = fit_passages(question, passages, max(limit - max_new_tokens, limit // 2), chat.count_tokens)
    options = ReplyOptions(max_new_tokens=max_new_tokens)
    for piece in chat.reply(chat_messages(question, kept), options, ctx, stop=_STOP, candidates=0):
        yield piece.text


def write_answers(
    chat: LoadedModel | ChatEngine, pairs: Sequence[tuple[str, Sequence[Source]]], ctx: JobContext, max_new_tokens: int
) -> list[str]:
    """What a chat model writes to each question and its passages: a loaded one to several at once."""
    from lmstudio_app.models.loading import LoadedModel

    if not isinstance(chat, LoadedModel):
        return ["".join(stream_answer(chat, *pair, ctx, max_new_tokens)).strip() for pair in pairs]
    require_writer(chat)
    tokenizer, limit = chat.tokenizer, longest_text(chat)
    room = max(limit - max_new_tokens, limit // 2) - _TEMPLATE_TOKENS

    def _count(messages: list[dict[str, str]]) -> int:
        text = "\n".join(message["content"] for message in messages)
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    rows = (
        {"messages": chat_messages(question, fit_passages(question, passages, room, _count))}
        for question, passages in pairs
    )
    replies = ReplyOptions(batch_size=4, max_new_tokens=max_new_tokens)
    return [reply.text for reply in predict_replies(chat, rows, ctx, replies)]


def require_writer(chat: LoadedModel) -> None:
    """Raises :class:`UserError` for a model that writes no text."""
    if chat.head != "causal-lm":
        raise UserError(
            "{model} does not write text, so it cannot answer in its own words.",
            "Choose a causal language model, best one trained for chats.",
            model=chat.reference,
        )


def written_answer(
    text: str,
    question: str,
    passages: Sequence[FoundPassage],
    marked: KnowledgeAnswer | None,
    citations: tuple[Citation, ...] = (),
) -> KnowledgeAnswer:
    """The answer in the chat model's words, which may say that there is none. ``marked`` stands beside it."""
    text = text.strip()
    if not text or NOT_FOUND in text.casefold():
        return no_answer(question, passages)
    sources = marked.sources if marked is not None and marked.is_found else sources_of(question, passages)
    span = marked.span if marked is not None else None
    return KnowledgeAnswer(text, best_probability(question, passages), sources, "generated", span, citations)
