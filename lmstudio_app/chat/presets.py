"""Named ways to answer: sampling options and a system prompt. The app's own, and the user's in one JSON file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_write_text
from lmstudio_app.settings import home
from lmstudio_app.tasks.replying import ReplyOptions

VERSION = 1
_KEPT = tuple(item.name for item in dataclasses.fields(ReplyOptions) if item.name != "batch_size")


@dataclass(frozen=True)
class Preset:
    """``help`` is one sentence. Those of the app (``is_built_in``) are neither changed nor deleted."""

    name: str
    help: str
    options: ReplyOptions = field(default_factory=ReplyOptions)
    is_built_in: bool = False


PRESETS = (
    Preset(
        "Precise",
        "Always the most probable word: the same question gets the same answer.",
        ReplyOptions(temperature=0.0),
        is_built_in=True,
    ),
    Preset(
        "Balanced",
        "Keeps to what is probable, and says it in other words each time.",
        ReplyOptions(temperature=0.7, top_p=0.9, top_k=40, repetition_penalty=1.05),
        is_built_in=True,
    ),
    Preset(
        "Creative",
        "Dares improbable words: for stories and ideas, not for facts.",
        ReplyOptions(temperature=1.1, top_p=0.95, top_k=100, repetition_penalty=1.1),
        is_built_in=True,
    ),
)


def presets_file() -> Path:
    return home() / "chat" / "presets.json"


def read_presets(path: Path | None = None) -> list[Preset]:
    """The app's presets, then the user's by name. Raises :class:`UserError` for a file that cannot be read."""
    return [*PRESETS, *sorted(_read(path or presets_file()), key=lambda preset: preset.name.casefold())]


def find_preset(name: str, path: Path | None = None) -> Preset:
    """The preset of this name, in upper or lower case. Raises :class:`UserError` when there is none."""
    known = read_presets(path)
    for preset in known:
        if preset.name.casefold() == name.strip().casefold():
            return preset
    names = ", ".join(preset.name for preset in known)
    raise UserError("There is no preset {name}.", "Choose one of: {names}.", name=name, names=names)


def save_preset(preset: Preset, path: Path | None = None) -> None:
    """Keep a preset of the user's, in the place of one of the same name. Raises :class:`UserError`."""
    path = path or presets_file()
    name = preset.name.strip()
    if not name:
        raise UserError("The preset has no name.", "Give it one.")
    _require_own(name)
    with _lock(path):
        others = [known for known in _read(path) if known.name.casefold() != name.casefold()]
        _write(path, [*others, dataclasses.replace(preset, name=name, is_built_in=False)])


def delete_preset(name: str, path: Path | None = None) -> Preset:
    """Take one of the user's presets away, and return it. Raises :class:`UserError`."""
    path = path or presets_file()
    _require_own(name)
    with _lock(path):
        found = find_preset(name, path)
        _write(path, [known for known in _read(path) if known.name != found.name])
    return found


def _require_own(name: str) -> None:
    if name.strip().casefold() in (preset.name.casefold() for preset in PRESETS):
        raise UserError("{name} is one of the app's own presets.", "Save yours under another name.", name=name)


def _lock(path: Path) -> filelock.BaseFileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path.with_name(f".{path.name}.lock"))


def _read(path: Path) -> list[Preset]:
    if not path.is_file():
        return []
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if int(data["version"]) > VERSION:
            raise UserError("{path} is of a newer version.", "Update the application.", path=str(path))
        return [_preset(row) for row in data["presets"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            "The presets in {path} cannot be read ({reason}).",
            "Mend the file, or move it to another place.",
            path=str(path),
            reason=str(error) or type(error).__name__,
        ) from error


def _preset(row: dict[str, Any]) -> Preset:
    options = ReplyOptions(**{name: value for name, value in row["options"].items() if name in _KEPT})
    return Preset(str(row["name"]), str(row.get("help", "")), options)


def _write(path: Path, presets: Sequence[Preset]) -> None:
    rows = [
        {"name": preset.name, "help": preset.help, "options": {name: getattr(preset.options, name) for name in _KEPT}}
        for preset in presets
    ]
    atomic_write_text(path, json.dumps({"version": VERSION, "presets": rows}, ensure_ascii=False, indent=1) + "\n")
