"""The right side of the studio: a bar of views of the reading, and what belongs to the chosen head."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSpinBox, QStackedWidget, QToolButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.look_menu import LookMenu
from lmstudio_app.gui.attention.pictures import AttentionPictures
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.attention.views import VIEWS, StudioView, view_texts
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.mode_bar import ModeBar


class ViewPanel(QFrame):
    """Build it when pyqtgraph is imported: its views draw with it. Each is made when it is first shown."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._studio = studio
        self._settings = studio.services.settings
        self._views: dict[str, Any] = {}
        self.pictures = AttentionPictures(studio.services, self)
        self.pictures.set_subject(studio)
        self.pictures.told.connect(self._tell)
        self.bar = ModeBar(self.tr("Ways to see it"), [view_texts(view.name) for view in VIEWS], self)
        self.told = ElidedLabel(self)
        self.told.setForegroundRole(self.told.palette().ColorRole.PlaceholderText)
        self.told.hide()
        self._stack = QStackedWidget(self)
        for _ in VIEWS:
            self._stack.addWidget(QWidget(self._stack))
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad // 2, pad, pad)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addWidget(self.bar)
        layout.addWidget(self._build_header())
        layout.addWidget(self.told)
        layout.addWidget(self._stack, 1)
        studio.reading_changed.connect(self._on_reading_changed)
        studio.head_changed.connect(self._show_head)
        names = [view.name for view in VIEWS]
        remembered = str(self._settings.get("attention.view", names[0]))
        self.bar.setCurrentIndex(names.index(remembered) if remembered in names else 0)
        self.bar.currentChanged.connect(self._on_view_chosen)
        self._show_view(self.bar.currentIndex())
        self._on_reading_changed()

    def _build_header(self) -> QWidget:
        self.layer = self._make_spin(self.tr("Layer"), self.tr("Layers are counted from 0, the one next to the input"))
        self.head = self._make_spin(self.tr("Head"), self.tr("The heads of a layer are counted from 0"))
        self._header = QWidget(self)
        row = QHBoxLayout(self._header)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.em(self, 0.4))
        for text, spin in ((self.tr("&Layer"), self.layer), (self.tr("&Head"), self.head)):
            label = QLabel(text, self._header)
            label.setBuddy(spin)
            row.addWidget(label)
            row.addWidget(spin)
            row.addSpacing(theme.em(self, 0.3))
        row.addStretch(1)
        self.look_button = QToolButton(self)
        self.look_button.setText(self.tr("Look"))
        self.look_button.setAccessibleName(self.look_button.text())
        self.look_button.setToolTip(self.tr("Colours, scale and tokens"))
        self.look_button.setMenu(LookMenu(self._studio, self.look_button))
        self.look_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.copy = make_button(
            self.tr("Copy"),
            self.tr("Put this picture on the clipboard"),
            self._header,
            lambda: self.pictures.copy(self._record.picture),
        )
        self.save = make_button(
            self.tr("Save…"),
            self.tr("Write a picture, a page to click on, or the numbers"),
            self._header,
            lambda: self.pictures.ask(self._record.picture),
        )
        for button in (self.look_button, self.copy, self.save):
            row.addWidget(button)
        return self._header

    def _make_spin(self, name: str, tip: str) -> QSpinBox:
        spin = QSpinBox(self)
        spin.setAccessibleName(name)
        spin.setToolTip(tip)
        spin.setWrapping(True)
        spin.setFixedWidth(theme.characters(self, 9))
        spin.valueChanged.connect(lambda: self._studio.choose_head(self.layer.value(), self.head.value()))
        return spin

    # --- views

    @property
    def _record(self) -> StudioView:
        return VIEWS[self.bar.currentIndex()]

    def view(self, name: str) -> Any:
        """The widget of that name; built when nobody has seen it yet."""
        if name not in self._views:
            index = next(index for index, record in enumerate(VIEWS) if record.name == name)
            built = VIEWS[index].build(self._studio, self._stack)
            placeholder = self._stack.widget(index)
            self._stack.insertWidget(index, built)
            self._stack.removeWidget(placeholder)
            placeholder.deleteLater()
            self._views[name] = built
        return self._views[name]

    def show_view(self, name: str) -> None:
        self.bar.setCurrentIndex(next(index for index, record in enumerate(VIEWS) if record.name == name))

    def _on_view_chosen(self, index: int) -> None:
        self._settings.set("attention.view", VIEWS[index].name)
        self._show_view(index)

    def _show_view(self, index: int) -> None:
        self._stack.setCurrentWidget(self.view(VIEWS[index].name))
        self._header.setVisible(VIEWS[index].is_of_head)
        self.told.hide()

    # --- the head

    def _on_reading_changed(self) -> None:
        reading = self._studio.reading
        if reading is None:
            return
        for spin, last in ((self.layer, reading.layers[-1]), (self.head, reading.heads - 1)):
            spin.blockSignals(True)
            spin.setRange(reading.layers[0] if spin is self.layer else 0, last)
            spin.blockSignals(False)
        self.told.hide()
        self._show_head(self._studio.layer, self._studio.head)

    def _show_head(self, layer: int, head: int) -> None:
        for spin, value in ((self.layer, layer), (self.head, head)):
            spin.blockSignals(True)
            spin.setValue(value)
            spin.blockSignals(False)

    def _tell(self, text: str) -> None:
        self.told.setText(text)
        self.told.show()

    def shutdown(self) -> None:
        for view in self._views.values():
            view.shutdown()
