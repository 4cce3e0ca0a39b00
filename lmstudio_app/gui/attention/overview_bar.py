"""What stands above the thumbnails: their order, and which of them are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.overview_chips import PatternChips
from lmstudio_app.gui.attention.overview_choice import MEASURES, HeadChoice, Place, arrange_heads, span_of
from lmstudio_app.gui.attention.overview_limits import Limits
from lmstudio_app.gui.attention.overview_texts import order_ends, order_titles
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.inspection.statistics import HeadStatistics
from lmstudio_app.settings import Settings

_KEY = "attention.overview"


class OverviewBar(QWidget):
    """What a person chooses is there again next time, as far as it fits the heads of the next text."""

    changed = Signal()  # ask :meth:`arranged`

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._table: Sequence[Sequence[HeadStatistics]] = ()
        self._has_special = True
        self.choice = self._wanted = HeadChoice.restored(settings.get(_KEY, None))
        self.order = QuietCombo(self.tr("Order of the heads"), self.tr("What the heads are sorted by"), self)
        self.order.setMinimumContentsLength(12)
        self.order.currentIndexChanged.connect(lambda: self._choose(order=self.order.currentData(), is_reversed=False))
        self.direction = QToolButton(self)
        self.direction.setCheckable(True)
        self.direction.setAccessibleName(self.tr("Other way round"))
        self.direction.toggled.connect(lambda on: self._choose(is_reversed=on))
        self.more = QToolButton(self)
        self.more.setText(self.tr("Limits"))
        self.more.setCheckable(True)
        self.more.setAccessibleName(self.more.text())
        self.more.setToolTip(self.tr("Show only heads within limits: how widely and how far they look, and the like"))
        self.all = QToolButton(self)
        self.all.setText(self.tr("Show all"))
        self.all.setAccessibleName(self.tr("Show all heads"))
        self.all.setToolTip(self.tr("Take the limits away and let every pattern through"))
        self.all.clicked.connect(self._show_all)
        self.chips = PatternChips(self)
        self.chips.changed.connect(lambda: self._choose(patterns=self.chips.chosen))
        self.limits = Limits(self)
        self.limits.changed.connect(lambda: self._choose(ranges=self.limits.ranges))
        self.limits.setVisible(False)
        self.more.toggled.connect(self.limits.setVisible)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.3))
        row.addWidget(self.order, 1)
        row.addWidget(self.direction)
        row.addSpacing(theme.em(self, 0.4))
        row.addWidget(self.more)
        row.addWidget(self.all)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(row)
        layout.addWidget(self.limits)
        layout.addWidget(self.chips)
        height = self.order.sizeHint().height()
        for button in (self.direction, self.more, self.all):
            button.setFixedHeight(height)
        self.set_table((), has_special=True)

    def set_table(self, table: Sequence[Sequence[HeadStatistics]], *, has_special: bool) -> None:
        """Other heads."""
        self._table, self._has_special = table, has_special
        self.chips.set_counts(Counter(head.pattern for row in table for head in row))
        self.limits.set_table(table, has_special=has_special)
        self.choice = self._wanted.fitted(table, has_special=has_special)
        self._offer_orders()
        self.more.setChecked(self.more.isChecked() or bool(self.choice.ranges))
        self._show_choice()

    def arranged(self) -> list[Place] | None:
        """The heads that are shown, in their order; None: all of them, as a table."""
        return arrange_heads(self._table, self.choice)

    # --- inside

    def _choose(self, **changes: object) -> None:
        self._wanted = self.choice = replace(self.choice, **changes)  # type: ignore[arg-type]
        self._settings.set(_KEY, self._wanted.saved())
        self._show_choice()
        self.changed.emit()

    def _show_all(self) -> None:
        self._choose(patterns=frozenset(), ranges={})
        self.order.setFocus(Qt.FocusReason.OtherFocusReason)  # the button is gone

    def _show_choice(self) -> None:
        choice = self.choice
        self.order.choose(choice.order)
        with QSignalBlocker(self.direction):
            self.direction.setChecked(choice.is_reversed)
        self.direction.setText("↑" if choice.is_reversed else "↓")
        ends = order_ends(choice.order)
        tip = self.tr("{now}. A click turns it round.").format(now=ends[choice.is_reversed])
        self.direction.setToolTip(tip)
        self.direction.setAccessibleDescription(tip)
        self.chips.choose(choice.patterns)
        self.limits.set_ranges(choice.ranges)
        self.all.setVisible(choice.is_filtered)

    def _offer_orders(self) -> None:
        """Those that these heads have numbers for."""
        hidden = {measure for measure in MEASURES if span_of(self._table, measure) is None}
        if not self._has_special:
            hidden.add("special")
        with QSignalBlocker(self.order):
            self.order.clear()
            for order, title in order_titles().items():
                if order not in hidden:
                    self.order.addItem(title, order)
