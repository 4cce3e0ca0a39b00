"""Answering in a chat: the next message of a conversation, by the model's own chat template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import sorted_batches
from lmstudio_app.data.chats import ROLES
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import generate_behind, interruptible, stopping_criterion
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.models.sampling import sampling_processor
from lmstudio_app.options import option
from lmstudio_app.tasks.chat_templates import (
    Messages,
    TemplateRefused,
    encode_prompt,
    end_of_turn_ids,
    ensure_chat_template,
    prepare_messages,
)
from lmstudio_app.tasks.outputs import Text
from lmstudio_app.tasks.streaming import BadRow, longest_text, read_ahead
from lmstudio_app.tasks.task import Prediction, PredictOptions

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel


@dataclass(frozen=True)
class ReplyOptions(PredictOptions):
    """How a reply is written. At temperature 0 the best token is always taken."""

    batch_size: int = option(
        8, "Batch size", "Conversations that go through the model at once.", minimum=1, maximum=4096
    )
    max_new_tokens: int = option(
        256, "Longest reply", "A reply ends after this many tokens at the latest.",
        basic=True, minimum=1, maximum=100_000,
    )  # fmt: skip
    temperature: float = option(
        0.0,
        "Temperature",
        "0: always the most probable token; below 1 keeps to the probable, above it dares more.",
        basic=True,
        minimum=0.0,
        maximum=10.0,
    )
    top_p: float = option(
        1.0, "Top p", "Draws from the most probable tokens that make up this share.", minimum=0.01, maximum=1.0
    )
    top_k: int = option(
        0, "Top k", "Draws from this many of the most probable tokens only; 0: from all.", minimum=0, maximum=1_000_000
    )
    repetition_penalty: float = option(
        1.0, "Repetition penalty", "Above 1 makes tokens that occurred less probable.", minimum=0.1, maximum=10.0
    )
    seed: int = option(0, "Seed", "The same seed draws the same reply again.", minimum=0, maximum=2**31)
    system: str = option(
        "", "System prompt", "Put before every conversation that has none: who the model is to be.", basic=True
    )


_DEFAULTS = ReplyOptions()


def write_replies(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    ctx: JobContext,
    options: ReplyOptions,
    *,
    first_row: int = 0,
    ends_early: bool = False,
) -> list[str]:
    """What the model writes behind each prompt (token ids), in the prompts' order.

    Prompts of similar length go through the model together, filled up on the left. A row draws its random numbers by
    seed and row alone, so that batches make no difference. With ``ends_early`` a stop ends the replies where they are.
    """
    import numpy as np
    import torch

    model, tokenizer = loaded.model, loaded.tokenizer
    ends = end_of_turn_ids(tokenizer, model.generation_config)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [0])[0]
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    limit = longest_text(loaded)  # of question and reply together
    replies = [""] * len(prompts)
    with quiet_transformers(), torch.inference_mode(), interruptible(model, ctx):
        for rows in sorted_batches(lengths, options.batch_size):
            ctx.check()
            width = int(lengths[rows].max())
            seeds = [(options.seed, first_row + int(row)) for row in rows]
            written = generate_behind(
                loaded,
                [prompts[row] for row in rows],
                pad=pad,
                ends=ends,
                max_new_tokens=max(1, min(options.max_new_tokens, limit - width)),
                processors=lambda mask, seeds=seeds: [  # type: ignore[misc]
                    sampling_processor(
                        mask,
                        seeds,
                        temperature=options.temperature,
                        top_k=options.top_k,
                        top_p=options.top_p,
                        repetition_penalty=options.repetition_penalty,
                    )
                ],
                stopping=stopping_criterion(ctx, ends_early=ends_early),
            )
            for row, reply in zip(rows, written, strict=True):
                replies[row] = tokenizer.decode(reply, skip_special_tokens=True).strip()
    return replies


def predict_replies(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: ReplyOptions = _DEFAULTS
) -> Iterator[Text]:
    """The next answer of each row's ``messages``, in the rows' order.

    Answers behind the last question are left out first. Where a conversation and the reply do not fit into what the
    model reads, its oldest turns give way. A stop ends the replies that are being written, and then the rows. Raises
    :class:`UserError` for a model that writes no text, and for a row that holds no conversation or one that the chat
    template does not take.
    """
    if loaded.head != "causal-lm":
        raise UserError(
            "{model} does not write text, so it cannot chat.",
            "Choose a causal language model, such as Llama or GPT-2, best one trained for chats.",
            model=loaded.reference,
        )
    ensure_chat_template(loaded.tokenizer)
    limit = longest_text(loaded)
    room = max(limit - options.max_new_tokens, limit // 2)
    first_row = 0
    for window in read_ahead(rows, options.batch_size):
        if ctx.stopping:
            break
        prompts = []
        for row in window:
            ctx.check()
            messages = prepare_messages(read_messages(row), options.system)
            try:
                prompts.append(encode_prompt(loaded.tokenizer, messages, room))
            except TemplateRefused as error:
                raise BadRow(
                    row,
                    "The chat template of {model} does not take this conversation ({reason}): {row}.",
                    "Let user and assistant take turns, and begin with the user.",
                    model=loaded.reference,
                    reason=str(error)[:200],
                ) from error
        for reply in write_replies(loaded, prompts, ctx, options, first_row=first_row, ends_early=True):
            yield Text(reply)
        first_row += len(window)


def read_messages(row: Mapping[str, Any]) -> Messages:
    """The messages of a row up to its last question. Raises :class:`UserError` when there are none."""
    value = row.get("messages")
    messages: Messages = []
    for item in value if isinstance(value, list) else []:
        role = ROLES.get(str(item.get("role")).strip().lower()) if isinstance(item, Mapping) else None
        if role is None or not isinstance(item.get("content"), str):
            messages = []
            break
        messages.append({"role": role, "content": item["content"]})
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not any(message["role"] != "system" for message in messages):
        raise BadRow(
            row,
            "A row has no conversation with a question: {row}.",
            'Each row needs {{"messages": [{{"role": "user", "content": …}}]}}.',
        )
    return messages


MESSAGES = ColumnSpec(
    "messages",
    "Conversation",
    "The column with the conversations: lists of messages with role and content.",
    type="messages",
    required=False,
    aliases=("messages", "conversations", "conversation", "chat", "dialogue", "dialog"),
)
_QUESTIONS = ("question", "prompt", "message", "instruction", "input", "text")  # columns of texts, each a first message
CHAT_REPLY = Prediction(
    name="chat",
    title="Chat",
    help="Write the next answer of a conversation.",
    inputs=(replace(MESSAGES, aliases=(*MESSAGES.aliases, *_QUESTIONS)),),
    heads=("causal-lm",),
    output=Text,
    predict=predict_replies,
    options=ReplyOptions,
)
