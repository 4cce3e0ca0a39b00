"""The editor of one field: a widget chosen by the field's type and metadata, with a way in and a way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QLineEdit, QWidget

from lmstudio_app.gui.widgets.number_edit import FloatEdit, IntegerEdit


@dataclass(frozen=True)
class Editor:
    """``set`` raises ``TypeError``, ``ValueError`` or ``OverflowError`` for a value that does not fit."""

    widget: QWidget
    get: Callable[[], Any]
    set: Callable[[Any], None]


class ChoiceEdit(QComboBox):
    """A combo box that ignores the wheel unless it has the focus."""

    def wheelEvent(self, event: Any) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


def translate(text: str) -> str:
    """Titles and help lines of fields, in the context ``recipe``."""
    return QCoreApplication.translate("recipe", text) if text else ""


def make_editor(
    item: dataclasses.Field[Any],
    hint: Any,
    parent: QWidget,
    on_changed: Callable[[], None],
    choice_titles: Mapping[str, tuple[str, str]],
    choices: Sequence[str] | None = None,
) -> Editor:
    """``choice_titles`` are (title, tooltip) by choice; ``choices`` are fewer than the field's own."""
    meta = item.metadata
    if meta.get("choices"):
        return _choice_editor(choices or meta["choices"], parent, on_changed, choice_titles)
    if hint is bool:
        box = QCheckBox(parent)
        box.toggled.connect(on_changed)
        return Editor(box, box.isChecked, lambda value: box.setChecked(bool(value)))
    if hint is int:
        spin = IntegerEdit(meta.get("minimum"), meta.get("maximum"), parent)
        spin.valueChanged.connect(on_changed)
        return Editor(spin, spin.value, lambda value: spin.setValue(int(value)))
    if hint is float:
        low, high = meta.get("minimum"), meta.get("maximum")
        logarithmic = bool(low and high and low > 0 and high / low > 1e5)
        number = FloatEdit(low, high, logarithmic=logarithmic, parent=parent)
        number.value_changed.connect(on_changed)
        return Editor(number, number.value, number.set_value)
    line = QLineEdit(parent)
    line.textChanged.connect(on_changed)

    def _set(value: Any) -> None:
        line.setText(str(value))
        line.setCursorPosition(0)  # of a long text the beginning is seen

    return Editor(line, line.text, _set)


def _choice_editor(
    choices: Sequence[str],
    parent: QWidget,
    on_changed: Callable[[], None],
    titles: Mapping[str, tuple[str, str]],
) -> Editor:
    combo = ChoiceEdit(parent)
    for choice in choices:
        title, tip = titles.get(choice, (choice, ""))
        combo.addItem(translate(title), choice)
        if tip:
            combo.setItemData(combo.count() - 1, translate(tip), Qt.ItemDataRole.ToolTipRole)
    combo.currentIndexChanged.connect(on_changed)

    def _set(value: Any) -> None:
        index = combo.findData(value)
        if index < 0:
            raise ValueError(f"{value!r} is none of the choices")
        combo.setCurrentIndex(index)

    return Editor(combo, combo.currentData, _set)
