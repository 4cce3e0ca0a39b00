"""The Attention page: which token looks at which, in every layer and head of the loaded model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Status
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.attention.head_overview import HeadOverview
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.plotting import import_pyqtgraph, is_pyqtgraph_imported
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import status_text
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.inspection.attention import AttentionMaps, AttentionRequest
from lmstudio_app.inspection.colormaps import COLORMAPS
from lmstudio_app.inspection.overview import Overview, OverviewRequest, read_overview

if TYPE_CHECKING:
    from lmstudio_app.gui.attention.pictures import AttentionPictures

BUSY_DELAY = 400  # milliseconds until Show becomes Cancel, so that quick answers do not flicker


class AttentionTab(QWidget):
    step_requested = Signal(str)  # name of the page to go to

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._model: Any = None
        self._handle: JobHandle | None = None
        self._result: tuple[AttentionMaps, Overview] | None = None
        self._import: JobHandle | None = None
        self.pictures: AttentionPictures | None = None  # built when the first one is asked for
        self.head_view: Any = None  # a HeadView, once pyqtgraph is there
        self._busy_timer = QTimer(self)
        self._busy_timer.setSingleShot(True)
        self._busy_timer.setInterval(BUSY_DELAY)
        self._busy_timer.timeout.connect(self._show_busy)
        self._build()
        self._restore()
        self._update_state()

    # --- what others use

    def set_model(self, loaded: Any) -> None:
        """Look into another model; a text that was shown is shown again for it."""
        had_result = self._result is not None
        self._cancel()
        self._model = loaded
        self._result = None
        self._update_state()
        if had_result and loaded is not None and self.text.text().strip():
            self.show_attention()

    def show_text(self, text: str, pair: str | None = None) -> None:
        """Put a text into the field and show its attention; without a model, wait for one."""
        self.text.setText(" ".join(text.split()))
        self.text.setCursorPosition(0)
        self.pair.setText(" ".join((pair or "").split()))
        self.pair_button.setChecked(bool(pair))
        self.show_attention()

    def show_attention(self) -> None:
        """Read the attention of the text in the fields; a reading that still runs is dropped."""
        self._remember_texts()
        if self._model is None or not self.text.text().strip():
            self._update_state()
            self.text.setFocus()
            return
        self._cancel()
        pair = self.pair.text().strip() if self.pair_button.isChecked() else None
        request = OverviewRequest(self._model, AttentionRequest(self.text.text(), pair or None))
        handle = self._services.query_runner.start(
            read_overview, request, title=self.tr("Reading the attention"), quiet=True
        )
        self._handle = handle
        self._notice.clear()
        handle.event.connect(lambda events: self._on_events(handle, events))
        handle.succeeded.connect(lambda result: self._on_read(handle, result))
        handle.failed.connect(lambda error: self._on_failed(handle, error))
        handle.finished.connect(lambda: self._on_finished(handle))
        self._busy_timer.start()

    @property
    def maps(self) -> AttentionMaps | None:
        """The weights that are shown."""
        return self._result[0] if self._result is not None else None

    def shutdown(self) -> None:
        self._import = None
        self._cancel()
        if self.head_view is not None:
            self.head_view.shutdown()

    # --- building

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.9)
        layout.setContentsMargins(pad, pad, pad, theme.em(self, 0.6))
        layout.setSpacing(theme.em(self, 0.6))
        layout.addLayout(self._build_input())
        self._notice = ElidedLabel(self)
        self._notice.hide()
        layout.addWidget(self._notice)
        self._stack = QStackedWidget(self)
        self.empty = EmptyState(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(self._build_studio())
        layout.addWidget(self._stack, 1)

    def _build_input(self) -> QVBoxLayout:
        self.text = self._make_field(
            self.tr("Type a sentence and press Enter"), self.tr("Text"), self.tr("The text to look into")
        )
        self.pair = self._make_field(
            self.tr("A second text, for models that read pairs"),
            self.tr("Second text"),
            self.tr("Read after the first"),
        )
        self.pair.hide()
        self.pair_button = QToolButton(self)
        self.pair_button.setText(self.tr("Pair"))
        self.pair_button.setCheckable(True)
        self.pair_button.setAccessibleName(self.tr("Second text"))
        self.pair_button.setToolTip(self.tr("Read a pair of texts, such as a question and a passage"))
        self.pair_button.toggled.connect(self._on_pair_toggled)
        self.show_button = QPushButton(self.tr("Show"), self)
        self.show_button.setProperty("primary", True)
        self.show_button.setAccessibleName(self.tr("Show the attention"))
        self.show_button.setToolTip(self.tr("Show where the tokens of this text look (Enter)"))
        self.show_button.clicked.connect(self._on_show_clicked)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(self.text, 1)
        row.addWidget(self.pair_button)
        row.addWidget(self.show_button)
        for button in (self.pair_button, self.show_button):
            button.setMinimumHeight(self.text.sizeHint().height())
        column = QVBoxLayout()
        column.setSpacing(theme.em(self, 0.4))
        column.addLayout(row)
        column.addWidget(self.pair)
        return column

    def _make_field(self, placeholder: str, name: str, tip: str) -> QLineEdit:
        field = QLineEdit(self)
        field.setPlaceholderText(placeholder)
        field.setAccessibleName(name)
        field.setToolTip(tip)
        field.setClearButtonEnabled(True)
        field.setMaxLength(2**20)
        field.setMinimumHeight(round(field.sizeHint().height() * 1.15))
        field.returnPressed.connect(self.show_attention)
        return field

    def _build_studio(self) -> QSplitter:
        name, shared = self._look()
        self.overview = HeadOverview(name, shared_scale=shared)
        self.grid = self.overview.grid
        self.overview.head_chosen.connect(self._on_thumbnail_chosen)
        self.overview.cell_chosen.connect(self._on_cell_chosen)
        self.overview.activated.connect(self._on_activated)
        self.overview.explained.toggled.connect(lambda is_open: self._settings.set("attention.explained", is_open))
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(theme.em(self, 0.5))
        self.splitter.addWidget(self.overview)
        self._holder = QWidget(self.splitter)  # the head view comes here, when pyqtgraph is imported
        QVBoxLayout(self._holder).setContentsMargins(0, 0, 0, 0)
        self.splitter.addWidget(self._holder)
        self.splitter.setStretchFactor(0, 2)
        self.splitter.setStretchFactor(1, 3)
        self.splitter.splitterMoved.connect(lambda: self._settings.set("attention.splitter", self.splitter.sizes()))
        return self.splitter

    def _restore(self) -> None:
        get = self._settings.get
        self.text.setText(str(get("attention.text", "")))
        self.pair.setText(str(get("attention.pair", "")))
        self.pair_button.setChecked(bool(get("attention.show_pair", False)))
        self.overview.explained.set_open(bool(get("attention.explained", True)))
        sizes = get("attention.splitter", [])
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(size, int) and size > 0 for size in sizes):
            self.splitter.setSizes(sizes)
        else:
            self.splitter.setSizes([2000, 3000])  # shares; Qt scales them to the width

    def _remember_texts(self) -> None:
        self._settings.set("attention.text", self.text.text()[:20_000])
        self._settings.set("attention.pair", self.pair.text()[:20_000])

    # --- the heavy part, when it is first shown

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.head_view is not None or self._import is not None:
            return
        if is_pyqtgraph_imported():
            self._build_head_view()
            return
        self._import = handle = self._services.query_runner.start(import_pyqtgraph, None, quiet=True)
        handle.succeeded.connect(lambda _: self._build_head_view() if handle is self._import else None)

    def _build_head_view(self) -> None:
        from lmstudio_app.gui.attention.head_view import HeadView

        if self.head_view is not None:
            return
        name, shared = self._look()
        self.head_view = HeadView(name, shared_scale=shared, parent=self._holder)
        self.head_view.head_chosen.connect(self._on_head_chosen)
        self.head_view.look_changed.connect(self._on_look_changed)
        self.head_view.save_requested.connect(self._on_save)
        self.head_view.copy_requested.connect(self._on_copy)
        self._holder.layout().addWidget(self.head_view)
        if self._result is not None:
            self._show_result()

    # --- reading

    def _cancel(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
        self._busy_timer.stop()
        self._show_idle()

    def _on_show_clicked(self) -> None:
        if self._handle is not None and not self._busy_timer.isActive():
            self._cancel()
        else:
            self.show_attention()

    def _show_busy(self) -> None:
        self.show_button.setText(self.tr("Cancel"))
        self.show_button.setToolTip(self.tr("Stop reading the attention"))

    def _show_idle(self) -> None:
        self.show_button.setText(self.tr("Show"))
        self.show_button.setToolTip(self.tr("Show where the tokens of this text look (Enter)"))

    def _on_events(self, handle: JobHandle, events: list[Event]) -> None:
        for event in events:
            if handle is self._handle and isinstance(event, Status) and event.warning:
                self._say(status_text(event))

    def _on_read(self, handle: JobHandle, result: tuple[AttentionMaps, Overview]) -> None:
        if handle is self._handle:
            self._result = result
            self._update_state()
            self._show_result()

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._handle:
            dialogs.show_error(self, error)

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None
            self._busy_timer.stop()
            self._show_idle()

    # --- showing

    def _update_state(self) -> None:
        """The studio, or the sentence that says what to do next."""
        self.show_button.setEnabled(self._model is not None)
        self._notice.setVisible(bool(self._notice.text()) and self._result is not None)
        if self._result is not None:
            self._stack.setCurrentWidget(self.splitter)
            return
        self._stack.setCurrentWidget(self.empty)
        self.empty.clear_buttons()
        if self._model is None:
            self.empty.set_texts(
                self.tr("Load a model first"),
                self.tr(
                    "Then type a sentence here, and see which of its words look at which, in every layer and head."
                ),
            )
            button = self.empty.add_button(self.tr("Choose a model"), self.tr("Go to the Model page"), primary=True)
            button.clicked.connect(lambda: self.step_requested.emit("model"))
            return
        self.empty.set_texts(
            self.tr("Type a sentence, and press Enter"),
            self.tr("You will see which of its words look at which, in every layer and head. Or take an example:"),
        )
        for example in self._examples():
            button = self.empty.add_button(example, self.tr("Show the attention of this sentence"))
            button.clicked.connect(lambda _=False, example=example: self.show_text(example))

    def _examples(self) -> tuple[str, ...]:
        return (
            self.tr("The animal did not cross the street because it was too tired."),
            self.tr("The acting was not bad, but the story never came to life."),
            self.tr("She poured water from the bottle into the cup until it was full."),
        )

    def _show_result(self) -> None:
        if self._result is None:
            return
        maps, overview = self._result
        remembered = (int(self._settings.get("attention.layer", 0)), int(self._settings.get("attention.head", 0)))
        self.overview.show_result(maps, overview, *remembered)
        if self.head_view is not None:
            self.head_view.show_maps(maps, *self.overview.current)

    def _look(self) -> tuple[str, bool]:
        """Colour map, and whether all heads share one scale; an unknown name in the settings gives the default."""
        get = self._settings.get
        name = get("attention.colormap", COLORMAPS[0])
        return name if name in COLORMAPS else COLORMAPS[0], bool(get("attention.shared_scale", False))

    def _on_thumbnail_chosen(self, layer: int, head: int) -> None:
        self._remember_head(layer, head)
        if self.head_view is not None:
            self.head_view.show_head(layer, head)

    def _on_cell_chosen(self, query: int, key: int) -> None:
        if self.head_view is not None:
            self.head_view.heatmap.keep((query, key))

    def _on_activated(self) -> None:
        if self.head_view is not None:
            self.head_view.heatmap.setFocus()

    def _on_head_chosen(self, layer: int, head: int) -> None:
        self._remember_head(layer, head)
        self.overview.set_current(layer, head)

    def _remember_head(self, layer: int, head: int) -> None:
        self._settings.set("attention.layer", layer)
        self._settings.set("attention.head", head)

    def _on_look_changed(self, name: str, shared: bool) -> None:
        self._settings.set("attention.colormap", name)
        self._settings.set("attention.shared_scale", shared)
        self.overview.set_look(name, shared_scale=shared)

    def _on_pair_toggled(self, checked: bool) -> None:
        self.pair.setVisible(checked)
        self._settings.set("attention.show_pair", checked)
        if checked:
            self.pair.setFocus()

    def _say(self, text: str) -> None:
        self._notice.setText(text)
        palette = self._notice.palette()
        palette.setColor(palette.ColorRole.WindowText, theme.warning(self.palette()))
        self._notice.setPalette(palette)
        self._notice.setVisible(bool(text))

    # --- pictures

    def _on_save(self) -> None:
        if self._result is not None:
            self._make_pictures().ask()

    def _on_copy(self) -> None:
        if self._result is not None:
            self._make_pictures().copy()

    def _make_pictures(self) -> AttentionPictures:
        """Of what is shown now."""
        assert self._result is not None
        if self.pictures is None:
            from lmstudio_app.gui.attention.pictures import AttentionPictures

            self.pictures = AttentionPictures(self._services, self)
            self.pictures.told.connect(self._tell)
        self.pictures.set_subject(self._result[0], self.overview.current, self._look())
        return self.pictures

    def _tell(self, text: str) -> None:
        """News that need no answer, in the read-out's place until the mouse moves on."""
        if self.head_view is not None:
            self.head_view.readout.setText(text)
