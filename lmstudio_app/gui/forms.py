"""Forms made from dataclasses: one editor a field, chosen by the field's type and its metadata.

The metadata are those of :func:`lmstudio_app.options.option`: ``title``, ``help``, ``basic`` (shown first; the others
are folded under "Advanced"), ``minimum``, ``maximum``, ``choices``, ``only``. Fields without a ``title`` are left out.
Titles and help lines are translated in the context ``recipe``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.field_editors import ChoiceEdit, Editor, make_editor, translate
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint

ChoiceTitles = Mapping[str, Mapping[str, tuple[str, str]]]  # section.field -> choice -> (title, help)


@dataclass(frozen=True)
class _Field:
    """``only`` are the values of the section's choice (see :meth:`DataclassForm._choice_of`) that it belongs to."""

    editor: Editor
    label: QLabel
    hint: Hint
    default: Any
    only: tuple[str, ...] | None
    is_basic: bool
    grid: QGridLayout
    gap: tuple[int, int]  # row and height of the room below

    def set_visible(self, visible: bool) -> None:
        for widget in (self.label, self.editor.widget, self.hint):
            widget.setVisible(visible)
        row, height = self.gap
        self.grid.setRowMinimumHeight(row, height if visible else 0)


class _Section:
    """The widgets of one dataclass: ``basic`` stands in the form itself, ``advanced`` in the part that is folded."""

    def __init__(self, form: QWidget, folded: QWidget) -> None:
        self.basic, self.advanced = QWidget(form), QWidget(folded)
        self.headings = [Heading("", holder, scale=scale) for holder, scale in ((self.basic, 1.08), (self.advanced, 1))]
        self.grids = [QGridLayout(), QGridLayout()]
        for holder, heading, grid in zip((self.basic, self.advanced), self.headings, self.grids, strict=True):
            layout = QVBoxLayout(holder)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(theme.em(form, 0.35))
            layout.addWidget(heading)
            layout.addLayout(grid)
            grid.setContentsMargins(0, 0, 0, 0)
            grid.setHorizontalSpacing(theme.em(form, 0.6))
            grid.setVerticalSpacing(theme.em(form, 0.15))
            grid.setColumnStretch(0, 1)
        self.fields: dict[str, _Field] = {}

    def set_title(self, title: str) -> None:
        for heading in self.headings:
            heading.setText(title)
            heading.setVisible(bool(title))

    def clear(self) -> None:
        for item in self.fields.values():
            item.set_visible(False)
            for widget in (item.label, item.editor.widget, item.hint):
                widget.deleteLater()
        for grid in self.grids:
            while grid.takeAt(0) is not None:
                pass
        self.fields = {}


class DataclassForm(QWidget):
    """Edits the values of one or more dataclasses, which keep their own checks.

    ``sections`` maps a name (``training``) to its class; values are addressed as ``training.epochs``. A field that is a
    dataclass itself becomes a section of its own (``architecture.tokenizer``). ``titles`` are headings of sections,
    ``choices`` limits what a choice offers, ``recommended`` are values that stand for the dataclasses' defaults.
    """

    changed = Signal()

    def __init__(
        self,
        sections: Mapping[str, type],
        choice_titles: ChoiceTitles | None = None,
        parent: QWidget | None = None,
        *,
        titles: Mapping[str, str] | None = None,
        choices: Mapping[str, Sequence[str]] | None = None,
        recommended: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(parent)
        self._classes: dict[str, type] = {}
        self._sections: dict[str, _Section] = {}
        self._quiet = False
        self._shown: frozenset[str] | None = None  # the fields that mean something now
        self._choice_titles = dict(choice_titles or {})
        self._choices = dict(choices or {})
        self._recommended = dict(recommended or {})
        self._advanced = Disclosure(
            self.tr("Advanced"), self.tr("Settings whose defaults are right for most trainings"), self
        )
        folded = QVBoxLayout(self._advanced.body)
        folded.setContentsMargins(0, 0, 0, 0)
        folded.setSpacing(theme.em(self, 0.5))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        for name, cls in self._flatten(sections):
            self._classes[name] = cls
            section = self._sections[name] = _Section(self, self._advanced.body)
            layout.addWidget(section.basic)
            folded.addWidget(section.advanced)
            section.set_title((titles or {}).get(name, ""))
            self._fill(name)
        layout.addWidget(self._advanced)
        layout.addStretch(1)
        self._settle()

    def _flatten(self, sections: Mapping[str, type]) -> Iterator[tuple[str, type]]:
        for name, cls in sections.items():
            yield name, cls
            hints = typing.get_type_hints(cls)
            for item in dataclasses.fields(cls):
                if dataclasses.is_dataclass(hints[item.name]):
                    yield from self._flatten({f"{name}.{item.name}": hints[item.name]})

    def _fill(self, name: str) -> None:
        cls = self._classes[name]
        hints = typing.get_type_hints(cls)
        for item in dataclasses.fields(cls):
            if "title" in item.metadata:
                self._add_field(self._sections[name], f"{name}.{item.name}", item, hints[item.name])

    def _add_field(self, section: _Section, name: str, item: dataclasses.Field[Any], hint: Any) -> None:
        title, help_line = translate(item.metadata["title"]), translate(item.metadata.get("help", ""))
        is_basic = bool(item.metadata.get("basic"))
        holder, grid = (section.basic, section.grids[0]) if is_basic else (section.advanced, section.grids[1])
        editor = make_editor(
            item, hint, holder, self._on_changed, self._choice_titles.get(name, {}), self._choices.get(name)
        )
        default = item.default if item.default is not dataclasses.MISSING else item.default_factory()  # type: ignore[misc]
        with contextlib.suppress(ValueError):  # a choice that is not offered here: the first one is
            editor.set(default)
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # not for this task's form
            editor.set(self._recommended.get(name, default))
        widget = editor.widget
        widget.setObjectName(name)
        widget.setAccessibleName(title)
        widget.setAccessibleDescription(help_line)
        widget.setToolTip(help_line)
        row = grid.rowCount()
        label = QLabel(title, holder)
        label.setToolTip(help_line)
        label.setBuddy(widget)
        hint_label = Hint(help_line, holder)
        grid.addWidget(label, row, 0)
        if item.metadata.get("wide"):
            row += 1
            grid.addWidget(widget, row, 0, 1, 2)
        else:
            grid.addWidget(widget, row, 1)
        grid.addWidget(hint_label, row + 1, 0, 1, 2)
        gap = (row + 2, theme.em(self, 0.3))
        grid.setRowMinimumHeight(*gap)
        self._explain_choice(name, editor.widget, hint_label)
        only = tuple(item.metadata["only"]) if item.metadata.get("only") else None
        section.fields[name] = _Field(editor, label, hint_label, editor.get(), only, is_basic, grid, gap)

    def _explain_choice(self, name: str, widget: QWidget, hint: Hint) -> None:
        """Below a choice whose items have help lines stands that of the chosen one."""
        if not isinstance(widget, ChoiceEdit) or not any(tip for _, tip in self._choice_titles.get(name, {}).values()):
            return

        def _show() -> None:
            hint.setText(widget.currentData(Qt.ItemDataRole.ToolTipRole) or widget.toolTip())

        widget.currentIndexChanged.connect(_show)
        _show()

    def _settle(self) -> None:
        """After fields have come or gone: what is shown, in one line, and in the keyboard's order."""
        self._shown = None
        self._show_fitting()
        self._align()
        fields = self._fields.values()
        order = [field.editor.widget for field in fields if field.is_basic]
        order.append(self._advanced.button)
        order += [field.editor.widget for field in fields if not field.is_basic]
        for first, second in itertools.pairwise(order):
            self.setTabOrder(first, second)

    @property
    def _fields(self) -> dict[str, _Field]:
        return {name: field for section in self._sections.values() for name, field in section.fields.items()}

    def _align(self) -> None:
        """The editors of all grids stand in one line."""
        widths = [field.editor.widget.sizeHint().width() for field in self._fields.values()]
        width = max([*widths, theme.characters(self, 19)])
        for section in self._sections.values():
            for grid in section.grids:
                grid.setColumnMinimumWidth(1, width)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_advanced"):
            QTimer.singleShot(0, self, self._align)  # the editors are told after the form

    # --- which fields are shown

    def _choice_of(self, section: str) -> Any:
        """The value on which the section's ``only`` depends: its field ``name``, else its first choice."""
        fields = self._sections[section].fields
        own = {item.name: item.metadata for item in dataclasses.fields(self._classes[section])}
        key = "name" if "name" in own else next((name for name, meta in own.items() if meta.get("choices")), "")
        field = fields.get(f"{section}.{key}")
        return field.editor.get() if field is not None else None

    def is_relevant(self, name: str) -> bool:
        """Does this field mean anything beside the section's choice?"""
        section = name.rpartition(".")[0]
        only = self._sections[section].fields[name].only
        return only is None or self._choice_of(section) in only

    def _show_fitting(self) -> None:
        relevant = frozenset(name for name in self._fields if self.is_relevant(name))
        if relevant == self._shown:
            return
        self._shown = relevant
        self.setUpdatesEnabled(False)  # all at once, so that nothing is seen in between
        some_advanced = False
        for section in self._sections.values():
            shown = {True: 0, False: 0}
            for name, field in section.fields.items():
                field.set_visible(name in relevant)
                shown[field.is_basic] += name in relevant
            section.basic.setVisible(shown[True] > 0)
            section.advanced.setVisible(shown[False] > 0)
            some_advanced |= shown[False] > 0
        self._advanced.setVisible(some_advanced)
        self.setUpdatesEnabled(True)

    # --- what others use

    @property
    def advanced(self) -> Disclosure:
        return self._advanced

    def replace_section(
        self, name: str, cls: type, title: str = "", recommended: Mapping[str, Any] | None = None
    ) -> None:
        """Another dataclass for one section, and other recommended values for the whole form.

        The section begins with its defaults; what the other sections hold stays. It emits no ``changed``.
        """
        self._recommended = dict(recommended or {})
        self.setUpdatesEnabled(False)
        self._quiet = True
        section = self._sections[name]
        section.clear()
        self._classes[name] = cls
        section.set_title(title)
        self._fill(name)
        for other in self._sections:
            if other != name:
                self._recommend(other)
        self._quiet = False
        self._settle()
        self.setUpdatesEnabled(True)

    def _recommend(self, section: str) -> None:
        """New defaults for a section that stays."""
        own = {f"{section}.{item.name}": item for item in dataclasses.fields(self._classes[section])}
        fields = self._sections[section].fields
        for name, field in fields.items():
            value, before = field.editor.get(), own[name].default
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                field.editor.set(self._recommended.get(name, before))
            fields[name] = dataclasses.replace(field, default=field.editor.get())
            field.editor.set(value)

    def add_below(self, section: str, widget: QWidget) -> None:
        """Put a widget of one's own below the first fields of a section."""
        layout = self._sections[section].basic.layout()
        assert layout is not None
        layout.addWidget(widget)

    def editor(self, name: str) -> QWidget:
        """The widget that edits ``section.field``."""
        return self._fields[name].editor.widget

    def values(self) -> dict[str, Any]:
        return {name: field.editor.get() for name, field in self._fields.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show the given values; unknown names and values that do not fit a field are passed over."""
        self._quiet = True
        fields = self._fields
        for name, value in values.items():
            if name in fields:
                with contextlib.suppress(TypeError, ValueError, OverflowError):  # an old settings file
                    fields[name].editor.set(value)
        self._quiet = False
        self._show_fitting()
        self.changed.emit()

    def reset(self) -> None:
        self.set_values({name: field.default for name, field in self._fields.items()})

    def is_default(self) -> bool:
        return all(field.editor.get() == field.default for field in self._fields.values())

    def config(self, section: str) -> Any:
        """The dataclass of a section, with the sections in it; fields that mean nothing now have their defaults.

        Raises the :class:`UserError` of its own checks.
        """
        prefix = f"{section}."
        values = {
            name.removeprefix(prefix): field.editor.get()
            for name, field in self._sections[section].fields.items()
            if self.is_relevant(name)
        }
        for inner in self._sections:
            if inner.startswith(prefix) and "." not in inner.removeprefix(prefix):
                values[inner.removeprefix(prefix)] = self.config(inner)
        return self._classes[section](**values)

    def _on_changed(self) -> None:
        if not self._quiet:
            self._show_fitting()
            self.changed.emit()
