"""Chats in the forms they come in, as one list of messages.

``[{"role": "user", "content": …}, …]`` is the form of the chat templates; ShareGPT files say ``from`` and ``value``,
with ``human`` and ``gpt`` for the roles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "bot": "assistant", "model": "assistant", "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
_WRAPPERS = ("messages", "conversations", "conversation")
Messages = list[dict[str, str]]


def parse_messages(value: Any) -> Messages:
    """The messages of one chat, each ``{"role", "content"}`` with a role of the values of :data:`ROLES`.

    ``value`` is a list of messages, an object with one, or either as JSON text. Raises :class:`ValueError` that says
    what does not fit; a chat needs an answer of the assistant, which is what is learned.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError("not JSON") from error
    if isinstance(value, Mapping):
        value = next((value[name] for name in _WRAPPERS if name in value), value)
    if not isinstance(value, list):
        raise ValueError("not a list of messages")
    messages = [_message(item) for item in value]
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        raise ValueError("no answer of the assistant")
    return messages


def _message(item: Any) -> dict[str, str]:
    if not isinstance(item, Mapping):
        raise ValueError("a message that is no object")
    role = item["role"] if "role" in item else item.get("from")
    content = item["content"] if "content" in item else item.get("value")
    if role is None or content is None:
        raise ValueError("a message without role or content")
    known = ROLES.get(str(role).strip().lower())
    if known is None:
        raise ValueError(f"an unknown role: {role!s:.40}")
    return {"role": known, "content": _text(content)}


def _text(content: Any) -> str:
    """A text, or the texts of a list of parts (``{"type": "text", "text": …}``)."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise ValueError("a message whose content is no text")


def messages_of(parts: Sequence[tuple[str, str | None]]) -> Messages:
    """Messages of (role, text) pairs; the ones without a text are left out."""
    return [{"role": role, "content": text} for role, text in parts if text and text.strip()]


def chat_text(messages: Sequence[Mapping[str, str]]) -> str:
    """All that is said, a message a line: for measuring and comparing."""
    return "\n".join(message["content"] for message in messages)
