"""The last questions, kept in the settings; a click asks one again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.settings import Settings

KEPT = 20
_LONGEST = 20_000  # characters of a question that the settings keep


def question_line(inputs: Mapping[str, Any]) -> str:
    """A question in one line."""
    texts = [value if isinstance(value, str) else value[-1]["content"] for value in inputs.values() if value]
    return " / ".join(" ".join(text[:300].split()) for text in texts)


class QuestionHistory(QListWidget):
    """Shows the questions of those predictions that the model can be asked; the others stay for other models."""

    asked = Signal(str, object)  # name of the prediction, inputs

    def __init__(
        self,
        settings: Settings,
        title: Callable[[str], str],
        parent: QWidget | None = None,
        *,
        key: str = "try.history",
    ) -> None:
        super().__init__(parent)
        self._key = key
        self._settings = settings
        self._title = title
        self._possible: tuple[str, ...] = ()
        self.setAccessibleName(self.tr("Asked before"))
        self.setToolTip(self.tr("Click a question to ask it again"))
        self.setAlternatingRowColors(True)
        self.setSpacing(theme.em(self, 0.12))
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(theme.em(self, 3.5))
        self.itemClicked.connect(self._on_chosen)

    def show_for(self, predictions: tuple[str, ...]) -> None:
        self._possible = predictions
        self._refresh()

    def add(self, prediction: str, inputs: Mapping[str, Any]) -> None:
        """Put a question on top, once; of too many the oldest one goes."""
        entry = {"prediction": prediction, "inputs": dict(inputs)}
        if len(str(inputs)) > _LONGEST:
            return
        self._settings.set(self._key, [entry, *(item for item in self._entries() if item != entry)][:KEPT])
        self._refresh()

    def _entries(self) -> list[dict[str, Any]]:
        found = self._settings.get(self._key, [])
        return [item for item in found if _is_entry(item)] if isinstance(found, list) else []

    def _refresh(self) -> None:
        self.clear()
        for entry in self._entries():
            if entry["prediction"] in self._possible:
                line = question_line(entry["inputs"])
                several = len(self._possible) > 1
                item = QListWidgetItem(
                    self.tr("{prediction}: {question}").format(
                        prediction=self._title(entry["prediction"]), question=line
                    )
                    if several
                    else line
                )
                item.setData(Qt.ItemDataRole.UserRole, entry)
                item.setToolTip(line[:1000])
                self.addItem(item)

    def _on_chosen(self, item: QListWidgetItem) -> None:
        entry = item.data(Qt.ItemDataRole.UserRole)
        self.asked.emit(entry["prediction"], entry["inputs"])

    def keyPressEvent(self, event: QKeyEvent) -> None:
        item = self.currentItem()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and item is not None:
            self._on_chosen(item)
            return
        super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.count():
            return
        painter = QPainter(self.viewport())
        painter.setPen(theme.muted(self.palette()))
        area = self.viewport().rect().adjusted(theme.em(self, 1), 0, -theme.em(self, 1), 0)
        text = self.tr("The last {count} stay here.").format(count=KEPT)
        painter.drawText(area, int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap), text)


def _is_entry(item: Any) -> bool:
    """Is this a question as :meth:`QuestionHistory.add` writes it? Settings are a file that anybody can edit."""
    if not isinstance(item, dict) or not isinstance(item.get("inputs"), dict):
        return False
    texts = [
        message.get("content") if isinstance(message, dict) else None
        for value in item["inputs"].values()
        for message in (value if isinstance(value, list) and value else [{"content": value}])
    ]
    return isinstance(item.get("prediction"), str) and bool(texts) and all(isinstance(text, str) for text in texts)
