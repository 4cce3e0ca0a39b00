"""Conversations as tokens by the model's own chat template, and which of the tokens are the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.tasks.streaming import whole_characters

Messages = list[dict[str, str]]

# For models without a template of their own. An answer ends with the end-of-text token, which is learned with it.
DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant:' }}"
    "{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['role'] | capitalize + ': ' + message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_MARKS_ANSWERS = re.compile(r"\{%-?\s*generation\s*-?%\}")


class TemplateRefused(Exception):
    """The chat template does not take these messages, for example because of the order of their roles."""


@dataclass(frozen=True)
class EncodedChat:
    """Token ids of a conversation, and for each whether it is of an answer, its end of turn included."""

    input_ids: list[int]
    is_answer: list[bool]


def ensure_chat_template(tokenizer: Any) -> bool:
    """Give a tokenizer without a chat template the plain default one; True when that was needed.

    It is saved with the tokenizer. Raises :class:`UserError` when there is no token that could end an answer.
    """
    if tokenizer.chat_template:
        return False
    if tokenizer.eos_token is None:
        if tokenizer.sep_token is None:
            raise UserError(
                "The tokenizer of this model has no token for the end of a text, so an answer could never end.",
                "Choose a model with an end-of-text token.",
            )
        tokenizer.eos_token = tokenizer.sep_token
    tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
    return True


def prepare_messages(messages: Sequence[Any], system: str = "") -> Messages:
    """The messages as templates take them, with ``system`` before them when they have no system message."""
    made = [{"role": m["role"], "content": whole_characters(m["content"])} for m in messages]
    if system.strip() and all(message["role"] != "system" for message in made):
        made.insert(0, {"role": "system", "content": system})
    return made


def render(tokenizer: Any, messages: Messages, *, prompt: bool = False) -> str:
    """The conversation as text; with ``prompt`` up to where the next answer begins. Raises :class:`TemplateRefused`."""
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    except Exception as error:  # a template is a program, and may fail in any way
        raise TemplateRefused(str(error)) from error
    return text


def with_accepted_system(tokenizer: Any, messages: Messages, *, prompt: bool = False) -> Messages:
    """The messages, or where the template knows no system message, with it at the beginning of the first question.

    Raises :class:`TemplateRefused` when the template takes neither.
    """
    try:
        render(tokenizer, messages, prompt=prompt)
    except TemplateRefused:
        if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
            raise
        joined = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        messages = [joined, *messages[2:]]
        render(tokenizer, messages, prompt=prompt)
    return messages


# --- which tokens are answers


def encode_chat(tokenizer: Any, messages: Messages) -> list[EncodedChat]:
    """The conversation with its answers marked: by the template's ``{% generation %}`` where it has that.

    Else an answer is what rendering the messages up to it adds to rendering those before it with the beginning of an
    answer. Of a template that writes earlier turns differently once others follow (many leave out the reasoning then),
    each answer becomes an example of its own, as the model will see it when it answers; that is the only case of
    several. Raises :class:`TemplateRefused`.
    """
    messages = with_accepted_system(tokenizer, messages)
    if tokenizer.is_fast and _MARKS_ANSWERS.search(tokenizer.get_chat_template()):
        # not verbose: a warning about the length would tell nothing, since long conversations are shortened
        found = tokenizer.apply_chat_template(
            messages, return_dict=True, return_assistant_tokens_mask=True, tokenizer_kwargs={"verbose": False}
        )
        return [_with_end_of_turn(tokenizer, found["input_ids"], [bool(part) for part in found["assistant_masks"]])]
    whole = render(tokenizer, messages)
    spans = [
        span
        for index, message in enumerate(messages)
        if message["role"] == "assistant" and message["content"].strip()
        if (span := _answer_span(tokenizer, messages, index)) is not None
    ]
    if all(whole.startswith(text) for text, _ in spans):
        return [_mark(tokenizer, whole, [(start, len(text)) for text, start in spans])]
    return [_mark(tokenizer, text, [(start, len(text))]) for text, start in spans]


def _answer_span(tokenizer: Any, messages: Messages, index: int) -> tuple[str, int] | None:
    """The text up to the end of an answer, and where in it the answer begins; None when it is not in there."""
    text = render(tokenizer, messages[: index + 1])
    try:
        before = render(tokenizer, messages[:index])
        prompt = render(tokenizer, messages[:index], prompt=True)
    except TemplateRefused:  # nothing stands before it, and templates want a question
        before, prompt = "", ""
    shared = len(prompt) if text.startswith(prompt) else _shared_length(prompt, text)
    # the beginning of an answer may differ from the prompt for one, which can open a reasoning; what is before may not
    if prompt and shared >= len(before) and text.startswith(before):
        return text, shared
    start = text.rfind(messages[index]["content"].strip())
    return None if start < 0 else (text, start)


def _mark(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> EncodedChat:
    """Tokens of a rendered text, and which of them reach into one of the spans of characters."""
    if not tokenizer.is_fast:
        return _mark_by_prefixes(tokenizer, text, spans)
    encoding = tokenizer(text, add_special_tokens=False, verbose=False).encodings[0]
    marks, at = [False] * len(encoding.ids), 0
    for index, (begin, end) in enumerate(encoding.offsets):
        while at < len(spans) and begin >= spans[at][1]:
            at += 1
        marks[index] = at < len(spans) and end > spans[at][0]
    return _with_end_of_turn(tokenizer, encoding.ids, marks)


def _mark_by_prefixes(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> EncodedChat:
    """The same for a tokenizer that keeps no offsets: a span lies between the tokens that two prefixes share."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    marks = [False] * len(ids)
    for span in spans:
        begin, end = (
            _shared_length(tokenizer(text[:place], add_special_tokens=False, verbose=False)["input_ids"], ids)
            for place in span
        )
        marks[begin:end] = [True] * (end - begin)
    return _with_end_of_turn(tokenizer, ids, marks)


def _shared_length(some: Sequence[Any], others: Sequence[Any]) -> int:
    """How much of their beginnings is the same."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(some), len(others)))


def _with_end_of_turn(tokenizer: Any, ids: list[int], marks: list[bool]) -> EncodedChat:
    """Let every answer end with its end-of-turn token, where the template writes one: neither before nor behind it."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    marks = list(marks)
    index = 0
    while index < len(ids):
        if not marks[index]:
            index += 1
            continue
        begin = index
        while index < len(ids) and marks[index]:
            index += 1
        last = next((place for place in range(index - 1, begin - 1, -1) if ids[place] in special), None)
        if last is not None and not tokenizer.decode(ids[last + 1 : index]).strip():
            marks[last + 1 : index] = [False] * (index - last - 1)  # the line break behind it
        elif last is None and index < len(ids) and ids[index] in special:
            marks[index] = True
            index += 1
    return EncodedChat(ids, marks)


def end_of_turn_ids(tokenizer: Any, generation_config: Any = None) -> list[int]:
    """The tokens that end an answer: the template's, the tokenizer's end of text, and those the model names."""
    named = getattr(generation_config, "eos_token_id", None)
    found = [*(named if isinstance(named, list | tuple) else [named]), tokenizer.eos_token_id]
    try:
        (chat, *_) = encode_chat(
            tokenizer, [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello."}]
        )
    except TemplateRefused:
        chat = EncodedChat([], [])
    answer = [token for token, is_answer in zip(chat.input_ids, chat.is_answer, strict=True) if is_answer]
    if answer and answer[-1] in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}:
        found.append(answer[-1])
    return sorted({token for token in found if token is not None})


# --- what fits


def _split_turns(messages: Messages) -> tuple[Messages, list[Messages]]:
    """The system messages at the beginning, and turns: a question with all that follows it."""
    begin = next((index for index, message in enumerate(messages) if message["role"] != "system"), len(messages))
    turns: list[Messages] = []
    for message in messages[begin:]:
        if not turns or (message["role"] == "user" and any(m["role"] != "user" for m in turns[-1])):
            turns.append([])
        turns[-1].append(message)
    return messages[:begin], turns


def fit_chat(tokenizer: Any, messages: Messages, limit: int, *, prompt: bool = False) -> Messages:
    """The conversation without as many of its oldest turns as it takes to be ``limit`` tokens at most.

    System messages and the last turn stay in any case. Raises :class:`TemplateRefused`.
    """
    system, turns = _split_turns(messages)

    def _fits(dropped: int) -> bool:
        kept = [*system, *(message for turn in turns[dropped:] for message in turn)]
        text = render(tokenizer, with_accepted_system(tokenizer, kept, prompt=prompt), prompt=prompt)
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) <= limit

    low, high = 0, max(0, len(turns) - 1)  # the fewest turns to drop
    while low < high:
        middle = (low + high) // 2
        if _fits(middle):
            high = middle
        else:
            low = middle + 1
    return [*system, *(message for turn in turns[low:] for message in turn)]


def encode_prompt(tokenizer: Any, messages: Messages, limit: int) -> list[int]:
    """Token ids up to where the next answer begins, at most ``limit``: the oldest turns give way first.

    Raises :class:`TemplateRefused`.
    """
    for shortened in (False, True):
        kept = fit_chat(tokenizer, messages, limit, prompt=True) if shortened else messages
        text = render(tokenizer, with_accepted_system(tokenizer, kept, prompt=True), prompt=True)
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) <= limit:
            break
    return ids[-limit:]
