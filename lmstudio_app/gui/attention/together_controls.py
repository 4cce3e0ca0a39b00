"""How the heads are put together: by which method, of which layers, from which token."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSlider, QToolButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.look_menu import LookMenu
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.attention.together_texts import explanation, layer_text, method_texts
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.gui.widgets.segments import Segments
from lmstudio_app.inspection.aggregates import AGGREGATES, THROUGH_LAYERS
from lmstudio_app.inspection.reading import Reading

REST = 80  # milliseconds after which a slider that moves is obeyed
_METHOD = "attention.together.method"


class TogetherControls(QWidget):
    changed = Signal()

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = studio.services.settings
        self._reading: Reading | None = None
        self._is_at_end = True  # of the slider: all layers, however many there are
        texts = method_texts()
        items = [(method, *texts[method]) for method in AGGREGATES]
        self.methods = Segments(self.tr("How heads are put together"), items, self)
        self.methods.chosen.connect(self._on_method)
        self.look_button = QToolButton(self)
        self.look_button.setText(self.tr("Look"))
        self.look_button.setAccessibleName(self.look_button.text())
        self.look_button.setToolTip(self.tr("Colours, scale and tokens"))
        self.look_button.setMenu(LookMenu(studio, self.look_button))
        self.look_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setPageStep(1)
        self.slider.setAccessibleName(self.tr("Layers"))
        self.slider.setToolTip(self.tr("Which layers are put together; all of them at the right end"))
        self.slider.setMinimumWidth(theme.characters(self, 12))
        self.slider.valueChanged.connect(self._on_slider)
        self._slider_label = QLabel(self.tr("&Layers"), self)
        self._slider_label.setBuddy(self.slider)
        self.layers = QLabel(self)
        self.layers.setMinimumWidth(theme.characters(self, 15))
        self.token = QuietCombo(self.tr("Token"), self.tr("Follow what one token is made of; it is quicker"), self)
        self.token.currentIndexChanged.connect(lambda: self.changed.emit())
        self.explanation = Hint("", self)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST)
        self._rest.timeout.connect(self.changed)
        self._lay_out()

    def _lay_out(self) -> None:
        gap = theme.em(self, 0.4)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.methods)
        first.addStretch(1)
        first.addWidget(self.look_button)
        second.setSpacing(gap)
        second.addWidget(self._slider_label)
        second.addWidget(self.slider, 1)
        second.addWidget(self.layers)
        second.addWidget(self.token, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(gap)
        layout.addLayout(first)
        layout.addWidget(self.explanation)
        layout.addLayout(second)

    # --- what is chosen

    @property
    def method(self) -> str:
        return self.methods.current

    @property
    def layer(self) -> int | None:
        """The number of the chosen layer; None: all of them."""
        assert self._reading is not None
        return None if self._is_at_end else self._reading.layers[self.slider.value()]

    @property
    def chosen_token(self) -> int | None:
        """The one that the flow starts from; None: every token."""
        return self.token.currentData() if self.method == "flow" else None

    def settle(self) -> None:
        """A slider that has just moved is obeyed already."""
        self._rest.stop()

    def set_reading(self, reading: Reading) -> None:
        """Offer what can be put together of this text, without saying that anything has changed."""
        self._reading = reading
        self._rest.stop()
        self._offer_methods(reading.kind != "cross")
        self._offer_layers()
        with QSignalBlocker(self.token):
            self.token.clear()
            self.token.addItem(self.tr("From every token"), None)
            for place, label in enumerate(reading.queries.labels):
                self.token.addItem(self.tr("From {place}: {token}").format(place=place, token=label), place)

    # --- inside

    def _offer_methods(self, is_one_text: bool) -> None:
        """Two texts are not gone through layer by layer; the wish stays for the next text."""
        tips = method_texts()
        why = self.tr("Not between two texts: every layer looks at the same finished source text")
        for method in THROUGH_LAYERS:
            button = self.methods.buttons[method]
            button.setEnabled(is_one_text)
            button.setToolTip(tips[method][1] if is_one_text else why)
        wanted = self._settings.get(_METHOD, AGGREGATES[0])
        if wanted not in AGGREGATES or (wanted in THROUGH_LAYERS and not is_one_text):
            wanted = AGGREGATES[0]
        with QSignalBlocker(self.methods):
            self.methods.choose(wanted)

    def _offer_layers(self) -> None:
        """One layer or all of them; where layers are gone through, up to one of them."""
        assert self._reading is not None
        last = len(self._reading.layers) - (self.method in THROUGH_LAYERS)
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, last)
            self.slider.setValue(last if self._is_at_end else min(self.slider.value(), last))
        self._is_at_end = self.slider.value() == last
        for widget in (self.slider, self._slider_label):
            widget.setEnabled(last > 0)
        self.layers.setText(layer_text(self.method, self.layer))
        self.token.setVisible(self.method == "flow")
        looks_back = self._reading.kind == "decoder"
        has_source = looks_back and bool(self._reading.writes)
        self.explanation.setText(explanation(self.method, looks_back=looks_back, has_source=has_source))

    def _on_method(self, method: str) -> None:
        self._settings.set(_METHOD, method)
        if self._reading is not None:
            self._offer_layers()
            self.changed.emit()

    def _on_slider(self, value: int) -> None:
        self._is_at_end = value == self.slider.maximum()
        if self._reading is not None:
            self.layers.setText(layer_text(self.method, self.layer))
            self._rest.start()

    def shutdown(self) -> None:
        self._rest.stop()
