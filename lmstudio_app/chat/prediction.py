"""The chat prediction by the faster engine, where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lmstudio_app.chat.engine import MessagesRefused, ReplyOptions, engine_for, is_fast, reply_text
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.outputs import Text
from lmstudio_app.tasks.replying import predict_replies, read_messages
from lmstudio_app.tasks.streaming import BadRow

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_DEFAULTS = ReplyOptions()


def predict_chat(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: ReplyOptions = _DEFAULTS
) -> Iterator[Text]:
    """As :func:`lmstudio_app.tasks.replying.predict_replies`; a model that came as a GGUF file answers by llama.cpp.

    That one writes a reply after the other, each as if it were the only one: all are drawn with the same seed.
    """
    if loaded.head != "causal-lm" or loaded.device.type != "cpu" or not is_fast(loaded.folder):
        yield from predict_replies(loaded, rows, ctx, options)
        return
    with engine_for(loaded, ctx) as engine:
        for row in rows:
            if ctx.stopping:
                return
            messages = read_messages(row)
            try:
                reply = reply_text(list(engine.reply(messages, options, ctx, candidates=0)))
            except MessagesRefused as error:
                raise BadRow(row, error.template, error.remedy_template, **error.parameters) from error
            yield Text(reply)
