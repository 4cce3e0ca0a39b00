"""What a model reads: a text, a pair, or a chat, as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.targets import Languages
from lmstudio_app.inspection.tokens import EncodedText, encode_text
from lmstudio_app.tasks.chat_templates import (
    TemplateRefused,
    ensure_chat_template,
    prepare_messages,
    render,
    with_accepted_system,
)
from lmstudio_app.tasks.streaming import whole_characters


class Source(Protocol):
    """``messages`` are in the place of ``text`` and ``pair`` where there are any."""

    @property
    def text(self) -> str: ...
    @property
    def pair(self) -> str | None: ...
    @property
    def messages(self) -> tuple[Mapping[str, str], ...]: ...


def encode_source(model: Any, tokenizer: Any, source: Source, languages: Languages) -> EncodedText:
    """The tokens of a text, a pair or a chat, with what a model that translates wants to have in front of them.

    Raises :class:`UserError` as :func:`lmstudio_app.inspection.tokens.encode_text` does, and for messages that the
    chat template refuses.
    """
    if source.messages:
        encoded = encode_text(model, tokenizer, chat_text(tokenizer, source.messages), None, is_laid_out=True)
    else:
        text = whole_characters(source.text)
        pair = whole_characters(source.pair) if source.pair else None
        with languages.told():
            encoded = encode_text(model, tokenizer, text, pair, lead=languages.lead)
    if not getattr(model.config, "type_vocab_size", 0):
        # GPT-2 would add the words of these numbers
        inputs = {name: tensor for name, tensor in encoded.inputs.items() if name != "token_type_ids"}
        return EncodedText(inputs, encoded.tokens, encoded.dropped)
    return encoded


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
