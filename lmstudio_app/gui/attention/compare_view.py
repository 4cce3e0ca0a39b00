"""What a comparison has found: in a sentence, all heads at a glance, and one head three times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QSplitter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention import compare_texts
from lmstudio_app.gui.attention.compare_heads import CompareHeads
from lmstudio_app.gui.attention.compare_maps import CompareMaps
from lmstudio_app.gui.attention.compare_saving import ask_and_save
from lmstudio_app.gui.attention.compare_work import Plan
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.splitters import keep_sizes
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.inspection.comparison import Comparison, LayerPair, PairRequest, read_pair


class CompareView(QWidget):
    """Builds heat maps, so build it when pyqtgraph is imported."""

    failed = Signal(object)  # UserError

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._plan: Plan | None = None
        self._comparison: Comparison | None = None
        self._pair: tuple[int, LayerPair] | None = None  # the newest that is not kept by the comparison
        self._reading: tuple[int, JobHandle] | None = None
        self.dialog: QFileDialog | None = None
        self.headline = QLabel(self)
        self.headline.setWordWrap(True)
        self.headline.setTextFormat(Qt.TextFormat.PlainText)
        self.headline.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.headline.setAccessibleName(self.tr("What changed most"))
        self.headline.setToolTip(compare_texts.measures_explained())
        self.notes = QLabel(self)
        self.notes.setWordWrap(True)
        self.notes.setTextFormat(Qt.TextFormat.PlainText)
        self.notes.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        self.heads = CompareHeads(services.settings, self)
        self.heads.head_chosen.connect(lambda *_: self._show_head())
        self.heads.activated.connect(lambda: self.maps.maps[2].setFocus())
        split = QSplitter(Qt.Orientation.Vertical, self)
        split.setChildrenCollapsible(False)
        split.setHandleWidth(theme.em(self, 0.5))
        split.addWidget(self.heads)
        split.addWidget(self._build_card())
        split.setStretchFactor(0, 1)
        split.setStretchFactor(1, 3)
        keep_sizes(split, services.settings, "compare.splitter", (theme.em(self, 13), theme.em(self, 30)))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addWidget(self.headline)
        layout.addWidget(self.notes)
        layout.addWidget(split, 1)

    def _build_card(self) -> QFrame:
        card = QFrame(self)
        card.setProperty("card", True)
        self.title = Heading("", card, scale=1.0)
        self.figures = ElidedLabel(card)
        self.figures.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        self.special = QCheckBox(self.tr("Hide special tokens"), card)
        self.special.setAccessibleName(self.special.text())
        self.special.setToolTip(
            self.tr("Leave out [CLS], <s> and the like, at which many heads look when they have nothing to do")
        )
        self.special.setChecked(bool(self._services.settings.get("compare.hide_special", False)))
        self.whole = self._make_button(
            self.tr("Whole map"), self.tr("Show all tokens again (double click, or the key 0)")
        )
        self.save = self._make_button(self.tr("Save…"), self.tr("Save this as a picture or as numbers"))
        self.maps = CompareMaps(self._services.settings, card)
        self.maps.hide_special(self.special.isChecked())
        self.special.toggled.connect(self._on_special_toggled)
        self.whole.clicked.connect(self.maps.show_all)
        self.save.clicked.connect(self._on_save)
        header = QHBoxLayout()
        header.addWidget(self.title)
        header.addWidget(self.figures, 1)
        for widget in (self.special, self.whole, self.save):
            header.addWidget(widget)
        layout = QVBoxLayout(card)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad, pad, pad // 2)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addLayout(header)
        layout.addWidget(self.maps, 1)
        return card

    def _make_button(self, text: str, tip: str) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setAccessibleName(text)
        button.setToolTip(tip)
        return button

    # --- content

    @property
    def comparison(self) -> Comparison | None:
        return self._comparison

    def show_comparison(self, plan: Plan, comparison: Comparison) -> None:
        self._drop()
        self._plan, self._comparison, self._pair = plan, comparison, None
        self.headline.setText(compare_texts.headline(comparison))
        notes = compare_texts.notes(plan, comparison)
        self.notes.setText(" ".join(notes))
        self.notes.setVisible(bool(notes))
        self.special.setVisible(any(comparison.keys.special))
        self.maps.show_comparison(comparison, plan.names)
        self.heads.show_comparison(comparison)
        self._show_head()

    def clear(self) -> None:
        """Let go of the models."""
        self._drop()
        self._plan = self._comparison = self._pair = None

    def _show_head(self) -> None:
        comparison = self._comparison
        if comparison is None:
            return
        row, head = self.heads.place
        self.title.setText(compare_texts.name_of(comparison, (row, head)))
        if head >= len(comparison.changes[row]):  # a layer may have fewer heads than others
            self.figures.setText("")
            self.maps.wait(compare_texts.describe(comparison, (row, head)))
            return
        self.figures.setText(compare_texts.figures(comparison, (row, head)))
        pair = comparison.kept.get(row) or (self._pair[1] if self._pair is not None and self._pair[0] == row else None)
        if pair is not None:
            self.maps.show_head(comparison.lay_out(pair, head))
        elif self._reading is None or self._reading[0] != row:
            self._read(row)

    def _read(self, row: int) -> None:
        """The weights of a pair of layers of a long text."""
        assert self._comparison is not None
        self._drop()
        self.maps.wait(self.tr("Reading these layers…"))
        request = PairRequest(self._comparison, row)
        title = self.tr("Reading two layers")
        handle = self._services.inspection_runner.start(read_pair, request, title=title, quiet=True)
        self._reading = (row, handle)
        handle.succeeded.connect(lambda pair: self._on_read(handle, pair))
        handle.failed.connect(lambda error: self._is_awaited(handle) and self.failed.emit(error))
        handle.finished.connect(lambda: self._on_finished(handle))

    def _is_awaited(self, handle: JobHandle) -> bool:
        return self._reading is not None and self._reading[1] is handle

    def _on_read(self, handle: JobHandle, pair: LayerPair) -> None:
        if self._is_awaited(handle):
            assert self._reading is not None
            self._pair = (self._reading[0], pair)
            self._reading = None
            self._show_head()

    def _on_finished(self, handle: JobHandle) -> None:
        if self._is_awaited(handle):
            self._reading = None

    def _drop(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading[1].cancel()

    def _on_special_toggled(self, hide: bool) -> None:
        self._services.settings.set("compare.hide_special", hide)
        self.maps.hide_special(hide)

    def _on_save(self) -> None:
        if self._comparison is None or self._plan is None:
            return
        self.dialog = ask_and_save(
            self, self._services, self._comparison, self._plan.names, self.heads.place, self._on_saved
        )

    def _on_saved(self, path: Path) -> None:
        self.maps.readout.setText(self.tr("Saved {path}").format(path=path))

    def uses(self, loaded: Any) -> bool:
        """Is this one of the models that are compared?"""
        found = self._comparison
        return found is not None and any(subject.loaded is loaded for subject in (found.first, found.second))

    def shutdown(self) -> None:
        self._drop()
        self.maps.shutdown()
