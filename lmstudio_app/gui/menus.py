"""The menu bar of the window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Qt, QUrl
from PySide6.QtGui import QAction, QActionGroup, QDesktopServices, QKeySequence
from PySide6.QtWidgets import QApplication, QFileDialog, QMenu

from lmstudio_app.gui import dialogs
from lmstudio_app.gui.report import system_report
from lmstudio_app.settings import home

if TYPE_CHECKING:
    from lmstudio_app.gui.main_window import MainWindow

DATA_FILES = "*.csv *.tsv *.json *.jsonl *.parquet *.txt *.gz"


class WindowMenus(QObject):
    """Fills the menu bar of ``window``; ``pages`` are names, titles, tooltips and shortcuts."""

    def __init__(self, window: MainWindow, pages: Sequence[tuple[str, str, str, str]]) -> None:
        super().__init__(window)
        self._window = window
        bar = window.menuBar()
        self._build_file_menu(bar.addMenu(self.tr("&File")))
        self._build_view_menu(bar.addMenu(self.tr("&View")), pages)
        self._build_help_menu(bar.addMenu(self.tr("&Help")))

    def _add(
        self,
        menu: QMenu,
        text: str,
        slot: Callable[[], Any],
        shortcut: QKeySequence | QKeySequence.StandardKey | str = "",
        tip: str = "",
    ) -> QAction:
        action = menu.addAction(text)
        if shortcut:
            action.setShortcut(shortcut)
        action.setToolTip(tip or text.replace("&", ""))
        action.setStatusTip(tip)
        action.triggered.connect(lambda: slot())
        return action

    def _build_file_menu(self, menu: QMenu) -> None:
        self._add(
            menu,
            self.tr("Open &model folder…"),
            self._on_open_model,
            QKeySequence.StandardKey.Open,
            self.tr("Load a model from a folder with safetensors weights"),
        )
        self._add(
            menu,
            self.tr("Open &data file…"),
            self._on_open_data,
            "Ctrl+Shift+O",
            self.tr("Read a CSV, TSV, JSON, Parquet or text file"),
        )
        menu.addSeparator()
        self._add(menu, self.tr("&Quit"), self._window.close, QKeySequence.StandardKey.Quit)

    def _build_view_menu(self, menu: QMenu, pages: Sequence[tuple[str, str, str, str]]) -> None:
        for name, title, tip, shortcut in pages:
            self._add(menu, title, lambda name=name: self._window.show_tab(name), shortcut, tip)
        menu.addSeparator()
        look = self._window.look
        themes = QActionGroup(self)
        for name, text in (
            ("system", self.tr("Colours of the &system")),
            ("light", self.tr("&Light")),
            ("dark", self.tr("&Dark")),
        ):
            action = self._add(menu, text, lambda name=name: look.set_name(name))
            action.setCheckable(True)
            action.setChecked(look.name == name)
            themes.addAction(action)
        menu.addSeparator()
        larger = self._add(
            menu, self.tr("L&arger text"), lambda: look.step_text_size(1), QKeySequence.StandardKey.ZoomIn
        )
        larger.setShortcuts([*larger.shortcuts(), QKeySequence("Ctrl+=")])
        self._add(menu, self.tr("S&maller text"), lambda: look.step_text_size(-1), QKeySequence.StandardKey.ZoomOut)
        self._add(menu, self.tr("&Normal text"), lambda: look.set_text_size(0), "Ctrl+0")

    def _build_help_menu(self, menu: QMenu) -> None:
        self._add(
            menu,
            self.tr("Open the data &folder"),
            lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(home()))),
            tip=self.tr("Where models, runs, settings and logs are kept"),
        )
        self._add(
            menu,
            self.tr("Copy a &report of this system"),
            self.copy_report,
            tip=self.tr("Versions, devices, paths and free disk space, for a bug report"),
        )
        menu.addSeparator()
        self._add(menu, self.tr("&About lmstudio-app"), lambda: dialogs.show_about(self._window))

    def copy_report(self) -> None:
        handle = self._window.services.query_runner.start(system_report, None, title=self.tr("Gathering the report"))
        handle.succeeded.connect(self._on_report)

    def _on_report(self, report: str) -> None:
        QApplication.clipboard().setText(report)
        self._window.statusBar().showMessage(self.tr("The report is on the clipboard."), 5000)

    def _choose_file(self, title: str, on_chosen: Callable[[str], None]) -> QFileDialog:
        """A file dialog that does not stop the rest of the window's life; open it when it is set up."""
        dialog = QFileDialog(self._window, title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(on_chosen)
        return dialog

    def _on_open_model(self) -> None:
        dialog = self._choose_file(self.tr("Open a model folder"), self._window.open_model)
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.open()

    def _on_open_data(self) -> None:
        dialog = self._choose_file(self.tr("Open a data file"), self._window.open_data)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        names = [self.tr("Data files ({pattern})").format(pattern=DATA_FILES), self.tr("All files (*)")]
        dialog.setNameFilters(names)
        dialog.open()
