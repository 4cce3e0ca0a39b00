"""Models that bring program code of their own (``trust_remote_code`` in transformers): off, until a person allows it.

What is allowed is this very code of this model: a SHA-256 over its files. Once a file changes, it is asked again. The
permissions are a file of their own, ``allowed_code.json``, so that a window and a command see each other's at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_write_text, format_bytes
from lmstudio_app.models.card import read_config
from lmstudio_app.settings import home

FILE_NAME = "allowed_code.json"  # digest -> the reference that it was allowed for
_SHOWN_BYTES = 200_000  # of a file that is shown; nobody reads on after that


@dataclass(frozen=True)
class OwnCode:
    """The program files in a model's folder: ``(name, bytes)`` each, and the digest of them all (64 hex digits)."""

    folder: Path
    files: tuple[tuple[str, int], ...]
    digest: str

    def listing(self) -> str:
        return ", ".join(f"{name} ({format_bytes(size)})" for name, size in self.files)


def own_code(folder: Path) -> OwnCode | None:
    """The program code that transformers would run for this model; None when its configuration asks for none.

    Raises :class:`UserError` for code that is not in the folder but in another repository.
    """
    entries = _entries(read_config(folder))
    if not entries:
        return None
    elsewhere = [entry for entry in entries if "--" in entry]
    if elsewhere:
        raise UserError(
            "The model in {folder} wants to run program code of another repository ({name}).",
            "Choose a model that brings its code along, or one of a family that transformers knows.",
            folder=str(folder),
            name=elsewhere[0],
        )
    digest = hashlib.sha256()
    files = []
    for path in sorted(folder.glob("*.py")):
        data = path.read_bytes()
        files.append((path.name, len(data)))
        digest.update(f"{path.name}\0{len(data)}\0".encode() + data)
    return OwnCode(folder, tuple(files), digest.hexdigest())


def _entries(config: Mapping[str, Any]) -> list[str]:
    """What ``auto_map`` names, as ``module.Class``; for a tokenizer it is a pair of these."""
    mapping = config.get("auto_map")
    found: list[str] = []
    for value in mapping.values() if isinstance(mapping, Mapping) else ():
        found += [str(entry) for entry in (value if isinstance(value, list | tuple) else [value]) if entry]
    return found


def require_allowed(folder: Path, digest: str = "") -> None:
    """Raises :class:`UserError`, which names the files, unless this code is allowed on this computer or by ``digest``.

    The error's parameter ``digest`` is what allows it.
    """
    code = own_code(folder)
    if code is None or code.digest == digest or code.digest in _allowed():
        return
    raise UserError(
        "The model in {folder} needs program code of its own, which is off until you allow it: {files}.",
        "Read these files. If you trust them, allow them on the Model page or with `lmstudio-app models allow-code "
        "{folder}`; else choose a model of a family that transformers knows, such as BERT, GPT-2 or Llama.",
        folder=str(folder),
        files=code.listing() or "it is missing",
        digest=code.digest,
    )


def read_code(code: OwnCode) -> list[tuple[str, str]]:
    """``(name, text)`` of each file, for somebody to read before it is allowed."""
    found = []
    for name, size in code.files:
        with (code.folder / name).open("rb") as file:
            text = file.read(_SHOWN_BYTES).decode("utf-8", "replace")
        found.append((name, text if size <= _SHOWN_BYTES else f"{text}\n# … {format_bytes(size)} in all"))
    return found


def allow_code(code: OwnCode, reference: str) -> None:
    """Note that this code may run from now on, as long as none of its files changes."""
    _write({**_allowed(), code.digest: reference})


def forbid_code(code: OwnCode) -> None:
    _write({digest: name for digest, name in _allowed().items() if digest != code.digest})


def is_allowed(code: OwnCode) -> bool:
    return code.digest in _allowed()


def _allowed() -> dict[str, str]:
    """A file that cannot be read allows nothing."""
    try:
        values = json.loads((home() / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(digest): str(name) for digest, name in values.items()} if isinstance(values, dict) else {}


def _write(allowed: Mapping[str, str]) -> None:
    atomic_write_text(home() / FILE_NAME, json.dumps(allowed, ensure_ascii=False, indent=1) + "\n")
