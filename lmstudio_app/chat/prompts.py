"""Messages as the prompt of the next answer: by the model's chat template, and no longer than the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmstudio_app.chat.engine import MessagesRefused
from lmstudio_app.tasks.chat_templates import (
    Messages,
    TemplateRefused,
    end_of_turn_ids,
    ensure_chat_template,
    fit_chat,
    prepare_messages,
    render,
    with_accepted_system,
)
from lmstudio_app.tasks.replying import ReplyOptions, read_messages
from lmstudio_app.tasks.streaming import whole_characters


@dataclass(frozen=True)
class Prompt:
    """Token ids up to where the answer begins, how long that may become, and how many messages gave way."""

    ids: list[int]
    max_new_tokens: int
    dropped_messages: int


class Prompter:
    """Makes prompts for one model. ``limit``: tokens of prompt and reply together."""

    def __init__(self, tokenizer: Any, reference: str, limit: int, generation_config: Any = None) -> None:
        ensure_chat_template(tokenizer)
        self.tokenizer = tokenizer
        self.reference = reference
        self.limit = limit
        self.end_ids = frozenset(end_of_turn_ids(tokenizer, generation_config))

    def count(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of the prompt before anything gives way; 0 without messages. Raises :class:`MessagesRefused`."""
        if not messages:
            return 0
        return len(self._encode(prepare_messages(messages)))

    def prompt(self, messages: Sequence[Mapping[str, str]], options: ReplyOptions, prefix: str = "") -> Prompt:
        """The prompt for the answer to the last question, which begins with ``prefix``. Raises :class:`UserError`."""
        asked = prepare_messages(read_messages({"messages": [dict(message) for message in messages]}), options.system)
        room = max(self.limit - options.max_new_tokens, self.limit // 2)
        prefix = whole_characters(prefix)
        ids, dropped = self._encode(asked, prefix), 0
        if len(ids) > room:
            try:
                kept = fit_chat(self.tokenizer, asked, max(1, room - len(self._ids(prefix))), prompt=True)
            except TemplateRefused as error:
                raise self._refused(error) from error
            ids, dropped = self._encode(kept, prefix)[-room:], len(asked) - len(kept)
        return Prompt(ids, max(1, min(options.max_new_tokens, self.limit - len(ids))), dropped)

    def _encode(self, messages: Messages, prefix: str = "") -> list[int]:
        try:
            text = render(self.tokenizer, with_accepted_system(self.tokenizer, messages, prompt=True), prompt=True)
        except TemplateRefused as error:
            raise self._refused(error) from error
        return self._ids(text + prefix)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _refused(self, error: TemplateRefused) -> MessagesRefused:
        return MessagesRefused(
            "The chat template of {model} does not take this conversation ({reason}).",
            "Let user and assistant take turns, and begin with the user.",
            model=self.reference,
            reason=str(error)[:200],
        )
