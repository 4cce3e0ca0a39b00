"""The model cards that people read: ``README.md`` in a model's folder, as the hub has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.references import resolve

FILE_NAME = "README.md"
_LONGEST = 1_000_000  # characters


@dataclass(frozen=True)
class CardText:
    """``text`` is Markdown, without the YAML that stands before it in the file."""

    reference: str
    path: Path
    text: str


def read_card_text(reference: str, ctx: JobContext) -> CardText:
    """The card of a model on this disk; one that comes with the app is read even where it cannot be loaded yet.

    Raises :class:`UserError` for a model that is not here or has no card.
    """
    entry = load_catalog().get(reference.strip())
    is_bundled = entry is not None and entry.bundled is not None
    folder = install_folder(reference.strip()) if is_bundled else resolve(reference, ctx)
    path = folder / FILE_NAME
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST)
    except FileNotFoundError:
        raise UserError(
            "{name} came without a model card.",
            "What can be told from its files: lmstudio-app models info {name}",
            name=reference,
        ) from None
    return CardText(reference, path, _without_front_matter(text))


def _without_front_matter(text: str) -> str:
    if not text.startswith("---\n"):
        return text.strip() + "\n"
    _, separator, rest = text[4:].partition("\n---")
    return (rest.partition("\n")[2] if separator else text).strip() + "\n"
