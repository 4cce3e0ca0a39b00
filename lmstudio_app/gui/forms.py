"""Forms made from dataclasses: one editor a field, chosen by the field's type and its metadata.

The metadata are those of :func:`lmstudio_app.training.recipe.option`: ``title``, ``help``, ``basic`` (shown
first; the others are folded under "Advanced"), ``minimum``, ``maximum``, ``choices``. Fields without a
``title`` are left out. Titles and help lines are translated in the context ``recipe``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QCoreApplication, QEvent, QTimer, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.number_edit import FloatEdit, IntegerEdit
from lmstudio_app.gui.widgets.scaled_label import Hint

ChoiceTitles = Mapping[str, Mapping[str, tuple[str, str]]]  # field -> choice -> (title, help)


@dataclass(frozen=True)
class _Editor:
    widget: QWidget
    get: Callable[[], Any]
    set: Callable[[Any], None]


class _ChoiceEdit(QComboBox):
    """A combo box that ignores the wheel unless it has the focus."""

    def wheelEvent(self, event: Any) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


def _translate(text: str) -> str:
    return QCoreApplication.translate("recipe", text)


class DataclassForm(QWidget):
    """Edits the values of one or more dataclasses, which keep their own checks.

    ``sections`` maps a name (``training``) to its class; values are addressed as ``training.epochs``.
    """

    changed = Signal()

    def __init__(
        self,
        sections: Mapping[str, type],
        choice_titles: ChoiceTitles | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._sections = dict(sections)
        self._editors: dict[str, _Editor] = {}
        self._defaults: dict[str, Any] = {}
        self._quiet = False
        titles = choice_titles or {}
        self._advanced = Disclosure(
            self.tr("Advanced"), self.tr("Settings whose defaults are right for most trainings"), self
        )
        basic, advanced = QGridLayout(), QGridLayout(self._advanced.body)
        for grid in (basic, advanced):
            grid.setContentsMargins(0, 0, 0, 0)
            grid.setHorizontalSpacing(theme.em(self, 0.6))
            grid.setVerticalSpacing(theme.em(self, 0.15))
            grid.setColumnStretch(0, 1)
        for section, cls in self._sections.items():
            hints = typing.get_type_hints(cls)
            for item in dataclasses.fields(cls):
                if "title" in item.metadata:
                    name = f"{section}.{item.name}"
                    grid = basic if item.metadata.get("basic") else advanced
                    self._add_field(grid, name, item, hints[item.name], titles.get(name, {}))
        self._grids = (basic, advanced)
        shown_first = [e.widget for e in self._editors.values() if basic.indexOf(e.widget) >= 0]
        if shown_first:
            self.setTabOrder(shown_first[-1], self._advanced.button)
        self._align()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(basic)
        layout.addWidget(self._advanced)
        layout.addStretch(1)
        self._advanced.setVisible(advanced.count() > 0)

    def _align(self) -> None:
        """The editors of both grids stand in one line."""
        widest = max((editor.widget.sizeHint().width() for editor in self._editors.values()), default=0)
        for grid in self._grids:
            grid.setColumnMinimumWidth(1, max(widest, theme.characters(self, 19)))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_grids"):
            QTimer.singleShot(0, self, self._align)  # the editors are told after the form

    @property
    def advanced(self) -> Disclosure:
        return self._advanced

    def editor(self, name: str) -> QWidget:
        """The widget that edits ``section.field``."""
        return self._editors[name].widget

    def values(self) -> dict[str, Any]:
        return {name: editor.get() for name, editor in self._editors.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show the given values; unknown names and values that do not fit a field are passed over."""
        self._quiet = True
        for name, value in values.items():
            if name in self._editors:
                with contextlib.suppress(TypeError, ValueError, OverflowError):  # an old settings file
                    self._editors[name].set(value)
        self._quiet = False
        self.changed.emit()

    def reset(self) -> None:
        self.set_values(self._defaults)

    def is_default(self) -> bool:
        return self.values() == self._defaults

    def config(self, section: str) -> Any:
        """The dataclass of a section. Raises the :class:`UserError` of its own checks."""
        prefix = f"{section}."
        values = {n.removeprefix(prefix): v for n, v in self.values().items() if n.startswith(prefix)}
        return self._sections[section](**values)

    def _add_field(
        self,
        grid: QGridLayout,
        name: str,
        item: dataclasses.Field[Any],
        hint: Any,
        choice_titles: Mapping[str, tuple[str, str]],
    ) -> None:
        title, help_line = _translate(item.metadata["title"]), _translate(item.metadata.get("help", ""))
        editor = self._make_editor(item, hint, choice_titles)
        self._editors[name] = editor
        default = item.default if item.default is not dataclasses.MISSING else item.default_factory()
        self._defaults[name] = default
        editor.set(default)
        widget = editor.widget
        widget.setObjectName(name)
        widget.setAccessibleName(title)
        widget.setAccessibleDescription(help_line)
        widget.setToolTip(help_line)
        row = grid.rowCount()
        label = QLabel(title, self)
        label.setToolTip(help_line)
        label.setBuddy(widget)
        grid.addWidget(label, row, 0)
        grid.addWidget(widget, row, 1)
        hint_label = Hint(help_line, self)
        hint_label.setContentsMargins(0, 0, 0, theme.em(self, 0.45))
        grid.addWidget(hint_label, row + 1, 0, 1, 2)

    def _make_editor(
        self, item: dataclasses.Field[Any], hint: Any, choice_titles: Mapping[str, tuple[str, str]]
    ) -> _Editor:
        meta = item.metadata
        if meta.get("choices"):
            combo = _ChoiceEdit(self)
            for choice in meta["choices"]:
                title, tip = choice_titles.get(choice, (choice, ""))
                combo.addItem(_translate(title), choice)
                if tip:
                    combo.setItemData(combo.count() - 1, _translate(tip), 3)  # Qt.ToolTipRole
            combo.currentIndexChanged.connect(self._on_changed)
            return _Editor(combo, combo.currentData, lambda value: combo.setCurrentIndex(_find(combo, value)))
        if hint is bool:
            box = QCheckBox(self)
            box.toggled.connect(self._on_changed)
            return _Editor(box, box.isChecked, lambda value: box.setChecked(bool(value)))
        if hint is int:
            spin = IntegerEdit(meta.get("minimum"), meta.get("maximum"), self)
            spin.valueChanged.connect(self._on_changed)
            return _Editor(spin, spin.value, lambda value: spin.setValue(int(value)))
        if hint is float:
            low, high = meta.get("minimum"), meta.get("maximum")
            logarithmic = bool(low and high and low > 0 and high / low > 1e5)
            number = FloatEdit(low, high, logarithmic=logarithmic, parent=self)
            number.value_changed.connect(self._on_changed)
            return _Editor(number, number.value, number.set_value)
        line = QLineEdit(self)
        line.textChanged.connect(self._on_changed)
        return _Editor(line, line.text, lambda value: line.setText(str(value)))

    def _on_changed(self) -> None:
        if not self._quiet:
            self.changed.emit()


def _find(combo: QComboBox, value: Any) -> int:
    index = combo.findData(value)
    if index < 0:
        raise ValueError(f"{value!r} is none of the choices")
    return index
