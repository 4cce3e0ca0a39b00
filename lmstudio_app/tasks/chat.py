"""Chat and instruction tuning: a causal language model learns to answer (Ouyang et al. 2022, its first step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.options import check_options, option
from lmstudio_app.tasks.chat_templates import (
    EncodedChat,
    Messages,
    TemplateRefused,
    encode_chat,
    encode_prompt,
    ensure_chat_template,
    fit_chat,
    prepare_messages,
)
from lmstudio_app.tasks.cross_entropy import perplexity
from lmstudio_app.tasks.labelled_loss import count_targets, labelled_loss
from lmstudio_app.tasks.replying import CHAT_REPLY, MESSAGES, ReplyOptions, write_replies
from lmstudio_app.tasks.task import IGNORED, Evaluation, Features, Rows, Setup, Task

if TYPE_CHECKING:
    import numpy as np
    import torch

TRAIN_ON = ("answers", "all")
_SHOWN = 2000  # characters of a conversation in a sample
_PLAIN = "This model has no chat template; a plain one (User: … Assistant: …) is used, and saved with it."
_REFUSED = "{count} conversations are left out: the model's chat template does not take them in this order of roles."
_EMPTY = "{count} conversations are left out: no token of an answer is within training.max_length."
_CUT = "{count} conversations are longer than training.max_length: their oldest turns, or the end of the last, are cut."
_REWRITTEN = (
    "The model's chat template writes earlier turns differently once others follow; so each answer of {count} "
    "conversations is learned as an example of its own."
)


@dataclass(frozen=True)
class ChatOptions:
    """What of a conversation is learned, and what an evaluation shows."""

    train_on: str = option(
        "answers",
        "Learn",
        "answers: what the assistant says, the loss leaves out the rest; all: every token of the conversation.",
        basic=True,
        choices=TRAIN_ON,
    )
    system: str = option(
        "", "System prompt", "Put before every conversation that has none: who the model is to be.", basic=True
    )
    generate_rows: int = option(
        8, "Sample replies", "Evaluation rows for which a reply is written and shown.", minimum=0, maximum=50
    )
    max_new_tokens: int = option(
        64, "Longest reply", "A sample reply ends after this many tokens at the latest.", minimum=1, maximum=100_000
    )

    def __post_init__(self) -> None:
        check_options(self, "options")


def encode(rows: Rows, setup: Setup) -> Features:
    """Token ids of each conversation, and as labels the ids of what is learned.

    A conversation that is too long loses its oldest turns; when its last turn alone is too long, its end is cut off.
    One of which nothing is left to learn is left out.
    """
    if ensure_chat_template(setup.tokenizer):
        setup.notes[_PLAIN] += 1
    features: Features = {"input_ids": [], "labels": [], "row": []}
    for row, messages in enumerate(rows["messages"]):
        try:
            chats = _encode_one(prepare_messages(messages, setup.options.system), setup)
        except TemplateRefused:
            setup.notes[_REFUSED] += 1
            continue
        if len(chats) > 1:
            setup.notes[_REWRITTEN] += 1
        learned = 0
        for chat in chats:
            ids = chat.input_ids[: setup.max_length]
            is_all = setup.options.train_on == "all"
            # nothing stands before the first token to tell it from
            counts = [False, *(is_all or is_answer for is_answer in chat.is_answer[1 : len(ids)])]
            if any(counts):
                learned += 1
                features["input_ids"].append(ids)
                features["labels"].append([i if c else IGNORED for i, c in zip(ids, counts, strict=True)])
                features["row"].append(row)
        if not learned:
            setup.notes[_EMPTY] += 1
    return features


def _encode_one(messages: Messages, setup: Setup) -> list[EncodedChat]:
    if setup.options.train_on == "answers":  # what is said behind the last answer tells nothing about it
        last = max((index for index, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
        messages = messages[: last + 1]
    if not messages:
        return []
    chats = encode_chat(setup.tokenizer, messages)
    if any(len(chat.input_ids) > setup.max_length for chat in chats):
        setup.notes[_CUT] += 1
        chats = encode_chat(setup.tokenizer, fit_chat(setup.tokenizer, messages, setup.max_length))
    return chats


def collate(
    features: Sequence[Mapping[str, Any]], setup: Setup, random: np.random.Generator | None = None
) -> dict[str, torch.Tensor]:
    return pad_features(features, {"input_ids": setup.tokenizer.pad_token_id or 0, "labels": IGNORED})


def evaluate(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Any]]:
    """Loss of a learned token, its perplexity, and sample replies of some rows."""
    total: Any = 0.0
    count = 0
    for inputs, _ in evaluation.batches():
        evaluation.ctx.check()
        items = count_targets(inputs)
        total = total + labelled_loss(evaluation.model, inputs).double() * items
        count += items
    loss = float(total) / count
    return {"loss": loss, "perplexity": perplexity(loss)}, {"samples": _sample_replies(evaluation)}


def _sample_replies(evaluation: Evaluation) -> list[dict[str, str]]:
    """Greedy replies for some conversations without their last answer; the same ones in every evaluation."""
    setup = evaluation.setup
    options = ReplyOptions(max_new_tokens=setup.options.max_new_tokens)
    room = max(setup.max_length - options.max_new_tokens, setup.max_length // 2)
    samples, prompts = [], []
    for row in evaluation.sample(setup.options.generate_rows):
        messages = prepare_messages(evaluation.rows[row]["messages"], setup.options.system)
        last = max((index for index, m in enumerate(messages) if m["role"] == "assistant"), default=0)
        if not any(message["role"] != "system" for message in messages[:last]):
            continue  # there is no question before the answer
        try:
            prompts.append(encode_prompt(setup.tokenizer, messages[:last], room))
        except TemplateRefused:
            continue  # as in the training
        shown = "\n".join(f"{message['role']}: {message['content']}" for message in messages[:last])
        samples.append({"input": shown[-_SHOWN:], "reference": messages[last]["content"][:_SHOWN]})
    if prompts:
        evaluation.ctx.status("Writing {count} sample replies", count=len(prompts))
    replies = write_replies(evaluation.loaded, prompts, evaluation.ctx, options)
    return [{**sample, "output": reply} for sample, reply in zip(samples, replies, strict=True)]


SYSTEM = ColumnSpec(
    "system",
    "System prompt",
    "The column with the system prompt, where every row has its own.",
    required=False,
    aliases=("system", "system_prompt", "system_message"),
    role="system",
)
PROMPT = ColumnSpec(
    "prompt",
    "Question",
    "The column with what the user says, where a row is one question and one answer.",
    required=False,
    aliases=("prompt", "instruction", "question", "input", "query", "user"),
    role="user",
)
RESPONSE = ColumnSpec(
    "response",
    "Answer",
    "The column with what the assistant answers.",
    required=False,
    aliases=("response", "answer", "output", "completion", "chosen", "assistant"),
    role="assistant",
)
CHAT = Task(
    name="chat",
    title="Chat",
    help="Teach a language model to answer as the assistant of your conversations does.",
    columns=(MESSAGES, SYSTEM, PROMPT, RESPONSE),
    head="causal-lm",
    main_metric="loss",
    greater_is_better=False,
    encode=encode,
    collate=collate,
    evaluate=evaluate,
    predictions=(CHAT_REPLY,),
    options=ChatOptions,
    loss=labelled_loss,
    items=count_targets,
    recommended={"training.max_length": 512, "training.batch_size": 8, "training.learning_rate": 5e-5},
)
