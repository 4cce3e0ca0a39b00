"""Keeping an answer: ask where, write whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget

from lmstudio_app.files import atomic_path
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.jobs import JobContext
from lmstudio_app.settings import Settings


@dataclass(frozen=True)
class _Writing:
    path: Path
    text: str


def export_text(
    parent: QWidget,
    settings: Settings,
    runner: JobRunner,
    name: str,
    texts: Mapping[str, str],
    on_saved: Callable[[Path], object] = lambda path: None,
) -> QFileDialog:
    """Ask for a file beside the last one, and write what belongs to its suffix.

    ``texts`` by suffix (``.txt``), the usual one first; ``name`` is proposed, without suffix. The dialog is not modal:
    it comes back at once. A failing write is told by the window, as of any job.
    """
    filters = [f"*{suffix}" for suffix in texts]
    dialog = QFileDialog(parent, parent.tr("Save the answer"), str(settings.get("export.folder", "")))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilters(filters)
    dialog.setDefaultSuffix(next(iter(texts)))
    dialog.filterSelected.connect(lambda chosen: dialog.setDefaultSuffix(chosen.removeprefix("*")))
    dialog.selectFile(name + next(iter(texts)))

    def _on_chosen(chosen: str) -> None:
        path = Path(chosen)
        text = texts.get(path.suffix.lower(), next(iter(texts.values())))
        settings.set("export.folder", str(path.parent))
        write_text(runner, path, text, parent.tr("Writing {name}").format(name=path.name)).succeeded.connect(on_saved)

    dialog.fileSelected.connect(_on_chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
    return dialog


def write_text(runner: JobRunner, path: Path, text: str, title: str) -> JobHandle:
    return runner.start(_write, _Writing(path, text), title=title)


def _write(writing: _Writing, ctx: JobContext) -> Path:
    # a spreadsheet takes a CSV without the mark for its own encoding
    encoding = "utf-8-sig" if writing.path.suffix.lower() == ".csv" else "utf-8"
    with atomic_path(writing.path) as temporary:
        temporary.write_text(writing.text, encoding=encoding, newline="")
    return writing.path
