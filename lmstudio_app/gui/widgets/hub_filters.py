"""What to look for on the hub: words, task, size, licence, order; and the button that asks."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from lmstudio_app.gui import hub_texts, theme
from lmstudio_app.gui.hub_queries import SearchRequest
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.models.hub_search import HubQuery

FITTING = "fitting"
PAGE = 30  # models that are asked for at once
_SIZES = ((50, "50M"), (150, "150M"), (500, "500M"), (1000, "1B"), (3000, "3B"), (8000, "8B"))  # millions
_LICENCES = (
    "apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "openrail", "gemma", "llama3.2"
)  # fmt: skip


class HubFilters(QWidget):
    """``search_requested`` on Enter, the button, or another choice once something was searched for."""

    search_requested = Signal()
    stop_requested = Signal()
    token_requested = Signal()
    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.edit = QLineEdit(self)
        self.edit.setPlaceholderText(self.tr("Words in the model's name, such as smollm, opus-mt or sentiment"))
        self.edit.setClearButtonEnabled(True)
        self._explain(self.edit, self.tr("Search words"), self.tr("Words in the model's name; empty for the most used"))
        self.search_button = QPushButton(self.tr("Search"), self)
        self.search_button.setProperty("primary", True)
        tip = self.tr("Ask the hub. Nothing is asked of the network before.")
        self._explain(self.search_button, self.search_button.text(), tip)
        self.stop_button = QPushButton(self.tr("Stop"), self)
        self._explain(self.stop_button, self.stop_button.text(), self.tr("Stop asking the hub"))
        self.stop_button.hide()
        self.token_button = QPushButton(self.tr("Access token…"), self)
        tip = self.tr("Log in to the hub with an access token, for gated and private models")
        self._explain(self.token_button, self.tr("Access token"), tip)
        any_one = self.tr("any")
        self.task = self._combo(
            self.tr("Task"),
            self.tr("What the model was made for"),
            [(self.tr("Task: any"), ""), *((title, name) for name, title in hub_texts.task_titles().items())],
        )
        sizes = [(self.tr("Up to {size} parameters").format(size=text), count * 10**6) for count, text in _SIZES]
        self.size = self._combo(
            self.tr("Size"),
            self.tr("How large it may be. What fits here follows from the memory that is free now."),
            [(self.tr("Size: any"), 0), (self.tr("What fits this machine"), FITTING), *sizes],
        )
        self.license = self._combo(
            self.tr("Licence"),
            self.tr("Under which terms it is given away"),
            [(self.tr("Licence: {any}").format(any=any_one), ""), *((name, name) for name in _LICENCES)],
        )
        self.sort = self._combo(
            self.tr("Order"),
            self.tr("What comes first"),
            [
                (self.tr("Most downloaded"), "downloads"),
                (self.tr("Most liked"), "likes"),
                (self.tr("Trending now"), "trendingScore"),
                (self.tr("Changed last"), "lastModified"),
                (self.tr("Newest"), "createdAt"),
            ],
        )
        self.edit.returnPressed.connect(self.search_requested)
        self.search_button.clicked.connect(self.search_requested)
        self.stop_button.clicked.connect(self.stop_requested)
        self.token_button.clicked.connect(self.token_requested)
        upper, lower = QHBoxLayout(), QHBoxLayout()
        for widget, stretch in (
            (self.edit, 1),
            (self.search_button, 0),
            (self.stop_button, 0),
            (self.token_button, 0),
        ):
            upper.addWidget(widget, stretch)
        for combo in (self.task, self.size, self.license, self.sort):
            lower.addWidget(combo, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(upper)
        layout.addLayout(lower)

    @staticmethod
    def _explain(widget: QWidget, name: str, tip: str) -> None:
        widget.setAccessibleName(name)
        widget.setAccessibleDescription(tip)
        widget.setToolTip(tip)

    def _combo(self, title: str, tip: str, items: list[tuple[str, Any]]) -> QuietCombo:
        combo = QuietCombo(title, tip, self)
        for text, value in items:
            combo.addItem(text, value)
        combo.currentIndexChanged.connect(self.changed)
        return combo

    def request(self) -> SearchRequest:
        """What is asked for, the first page of it."""
        size = self.size.currentData()
        query = HubQuery(
            text=self.edit.text().strip(),
            task=self.task.currentData(),
            license=self.license.currentData(),
            sort=self.sort.currentData(),
            max_parameters=0 if size == FITTING else size,
            limit=PAGE,
        )
        return SearchRequest(query, fitting=size == FITTING)

    def values(self) -> dict[str, Any]:
        """The choices, to be remembered; not the words."""
        return {name: combo.currentData() for name, combo in self._combos().items()}

    def set_values(self, values: dict[str, Any]) -> None:
        for name, combo in self._combos().items():
            index = combo.findData(values.get(name))
            if index >= 0:
                combo.blockSignals(True)
                combo.setCurrentIndex(index)
                combo.blockSignals(False)

    def _combos(self) -> dict[str, QuietCombo]:
        return {"task": self.task, "size": self.size, "license": self.license, "sort": self.sort}

    def set_host(self, host: str) -> None:
        """Say which hub is asked."""
        tip = self.tr("Ask {host}. Nothing is asked of the network before.").format(host=host)
        self._explain(self.search_button, self.search_button.text(), tip)

    def set_busy(self, busy: bool) -> None:
        self.search_button.setVisible(not busy)
        self.stop_button.setVisible(busy)
