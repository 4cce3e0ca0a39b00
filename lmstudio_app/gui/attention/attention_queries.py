"""What the attention page asks a model before it looks inside, as small jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks.translation_direction import Offer


def find_languages(loaded: LoadedModel, ctx: JobContext) -> Offer:
    """Between which languages it translates; one that does not has none."""
    from lmstudio_app.tasks.translation_direction import Offer, offered_languages

    return offered_languages(loaded) if loaded.head == "seq2seq-lm" else Offer()
