"""Answers in a chat model's own words, from the passages that were found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answers import NOT_FOUND, Citation, KnowledgeAnswer, Source
from lmstudio_app.knowledge.marking import Pair, best_probability, no_answer, sources_of
from lmstudio_app.knowledge.search import FoundPassage
from lmstudio_app.tasks.replying import ReplyOptions, predict_replies
from lmstudio_app.tasks.streaming import longest_text

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_SYSTEM = (
    "Answer the question in one or two sentences, from the passages alone. "
    f'If they do not hold the answer, reply: "{NOT_FOUND}".'
)
_TEMPLATE_TOKENS = 32  # that a chat template puts around the messages, at most


def chat_messages(question: str, passages: Sequence[FoundPassage | Source]) -> list[dict[str, str]]:
    """What a chat model is asked: the passages with their headings, and the question behind them."""
    parts = [f"[{number}] {item.heading}\n{item.text}".strip() for number, item in enumerate(passages, 1)]
    text = "\n\n".join(["Passages:", *parts, f"Question: {question}"])
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]


def fit_passages(
    question: str,
    passages: Sequence[FoundPassage],
    limit: int,
    max_new_tokens: int,
    count_tokens: Callable[[str], int],
) -> list[FoundPassage]:
    """As many of the best passages as a model that reads ``limit`` tokens can take before it writes; at least one."""
    room = max(limit - max_new_tokens, limit // 2) - _TEMPLATE_TOKENS
    kept = list(passages)
    while len(kept) > 1:
        text = "\n".join(message["content"] for message in chat_messages(question, kept))
        if count_tokens(text) <= room:
            break
        kept.pop()
    return kept


def write_answers(chat: LoadedModel, pairs: Sequence[Pair], ctx: JobContext, max_new_tokens: int) -> list[str]:
    """What a chat model writes to each question, several together."""
    require_writer(chat)
    limit = longest_text(chat)

    def _count(text: str) -> int:
        return len(chat.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    rows = (
        {"messages": chat_messages(question, fit_passages(question, passages, limit, max_new_tokens, _count))}
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
