"""Where the files of ``resources/`` are, in a checkout, an editable or a wheel installation, and a frozen build."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def resource_root() -> Path:
    """The folder ``resources/``.

    A wheel and a frozen build carry it inside the package; a checkout keeps it beside the package.
    Raises ``FileNotFoundError`` when neither exists, which means a broken installation.
    """
    package = Path(str(resources.files("lmstudio_app")))
    for candidate in (package / "resources", package.parent / "resources"):
        if (candidate / "catalog.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"resources/catalog.yaml is neither in {package} nor beside it")


def resource(*parts: str) -> Path:
    """Path of one bundled file or folder, for example ``resource("datasets", "index.yaml")``."""
    path = resource_root().joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"resources/{'/'.join(parts)} is missing from this installation")
    return path
