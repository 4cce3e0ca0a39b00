"""A chat as the text that a model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.tasks.chat_templates import (
    TemplateRefused,
    ensure_chat_template,
    prepare_messages,
    render,
    with_accepted_system,
)


def chat_text(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    """The messages laid out by the model's own template, special tokens included.

    Where the last one is not the assistant's, up to where its answer begins. Raises :class:`UserError` for messages
    that the template does not take.
    """
    ensure_chat_template(tokenizer)
    is_asked = messages[-1]["role"] != "assistant"
    try:
        prepared = with_accepted_system(tokenizer, prepare_messages(messages), prompt=is_asked)
        return render(tokenizer, prepared, prompt=is_asked)
    except TemplateRefused as error:
        raise UserError(
            "The chat template of this model refuses the messages ({reason}).",
            "Let the roles alternate: user, assistant, user.",
            reason=str(error)[:200],
        ) from error
