"""What a model makes of one text: the verdict, how sure it is, and which words made the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QTimer, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.band_slider import BandSlider
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.neutral_bars import NeutralBars
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import FontScale, Heading, Hint
from lmstudio_app.gui.widgets.word_tints import WordTints
from lmstudio_app.settings import Settings
from lmstudio_app.tasks.polarity import NEUTRAL, POLARITIES, polarity_of, two_sided
from lmstudio_app.tasks.sentiment import with_band

if TYPE_CHECKING:
    from lmstudio_app.inspection.saliency import Saliency
    from lmstudio_app.tasks.outputs import Label

DEFAULT_BAND = 0.2
_PERCENT = 100


class JudgementPane(QFrame):
    words_wanted = Signal(bool)
    band_changed = Signal(float)
    inspect_requested = Signal()

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._settings = settings
        self._label: Label | None = None
        self._is_sentiment = True
        self._build()
        band = settings.get("sentiment.neutral_band", DEFAULT_BAND)
        is_band = isinstance(band, int | float) and not isinstance(band, bool) and 0 <= band <= 1
        self.slider.set_band(band if is_band else DEFAULT_BAND)
        self.slider.band_changed.connect(self._on_slid)
        self.clear()

    # --- what others use

    @property
    def band(self) -> float:
        """The width of the neutral zone between two classes, 0 to 1."""
        return self.slider.band

    def set_sentiment(self, is_sentiment: bool) -> None:
        """Is this about positive and negative, or about labels of one's own?"""
        self._is_sentiment = is_sentiment
        self._hint_text = ""
        self.clear()

    def show_label(self, label: Label) -> None:
        """The judgement of the model; the neutral zone is applied here."""
        self._label = label
        names = self.names_of(tuple(label.scores))
        self.bars.set_scores({names[name]: score for name, score in label.scores.items()})
        self._judge()

    def names_of(self, labels: tuple[str, ...]) -> dict[str, str]:
        """What the bars call each label: its name, or its meaning where it is only a number."""
        polarity = polarity_of(labels) if self._is_sentiment else {}
        said = {polarity.get(label) for label in labels}
        if len(said) < len(labels):  # several degrees of the same
            return {label: label for label in labels}
        return {
            label: polarity[label] if label.upper().startswith("LABEL_") or label.lstrip("-").isdigit() else label
            for label in labels
        }

    @property
    def judgement(self) -> Label | None:
        """With the neutral zone."""
        if self._label is None or not self._is_sentiment:
            return self._label
        return with_band(self._label, self.band)

    @property
    def likeliest(self) -> str:
        """The label whose words are to be explained: also of a neutral text the one that is nearer."""
        return self._label.label if self._label is not None else ""

    def verdict_of(self, name: str) -> str:
        """A label in large letters: positive, negative and neutral in the reader's language."""
        assert self._label is not None
        polarity = polarity_of(tuple(self._label.scores)) if self._is_sentiment else {}
        if name == NEUTRAL and name not in self._label.scores:
            polarity = {**polarity, NEUTRAL: NEUTRAL}
        words = (self.tr("Negative"), self.tr("Neutral"), self.tr("Positive"))
        meaning = dict(zip(POLARITIES, words, strict=True)).get(polarity.get(name, ""), "")
        if not meaning:
            return name
        is_only = list(polarity.values()).count(polarity[name]) == 1
        return meaning if is_only else self.tr("{label} ({meaning})").format(label=name, meaning=meaning.lower())

    def show_words(self, text: str, saliency: Saliency) -> None:
        assert self._label is not None
        self.words.show_words(text, self.verdict_of(saliency.label), saliency)

    @property
    def shows_words(self) -> bool:
        """Is it wanted to know which words made the difference?"""
        return self._is_sentiment and self.words_box.isChecked()

    def set_hint(self, text: str) -> None:
        self._hint_text = text
        self._tell()

    def set_problem(self, text: str) -> None:
        self.notice.set_text(text)

    def clear(self) -> None:
        self._label = None
        self.bars.set_scores({})
        self.verdict.clear()
        self.words.clear()
        self.notice.set_text("")
        self.inspect_button.setEnabled(False)
        self._judge()

    def copied_text(self) -> str:
        """The verdict, and a line for each class."""
        rows = [f"{name}\t{number_text(_PERCENT * score, 1)} %" for name, score in self.bars.rows]
        return "\n".join([self.verdict.text(), *rows])

    # --- building

    def _build(self) -> None:
        self._hint_text = ""
        self.verdict = ElidedLabel(self)
        FontScale(self.verdict, 1.7, QFont.Weight.DemiBold)
        self.hint = Hint("", self)
        self.notice = Notice(self)
        self.bars = NeutralBars()
        self.bars.band_changed.connect(lambda band: self.slider.set_band(band))
        self.bars_area = QScrollArea(self)
        self.bars_area.setWidgetResizable(True)
        self.bars_area.setFrameShape(QFrame.Shape.NoFrame)
        self.bars_area.setWidget(self.bars)
        self.bars_area.viewport().setAutoFillBackground(False)
        self.bars.setAutoFillBackground(False)  # setWidget switched it on
        self.slider = BandSlider(self)
        self.words_box = QCheckBox(self.tr("Which words made the difference?"), self)
        self.words_box.setAccessibleName(self.words_box.text())
        self.words_box.setToolTip(self.tr("Look into the model for what each word says for or against its judgement"))
        self.words_box.setChecked(bool(self._settings.get("sentiment.words", True)))
        self.words_box.toggled.connect(self._on_words_toggled)
        self.words = WordTints(self)
        self.inspect_button = QPushButton(self.tr("Look inside"), self)
        self.inspect_button.setAccessibleName(self.tr("Look inside"))
        self.inspect_button.setToolTip(self.tr("Show which words of this text look at which"))
        self.inspect_button.clicked.connect(self.inspect_requested)
        last = QHBoxLayout()
        last.addWidget(self.words_box)
        last.addStretch(1)
        last.addWidget(self.inspect_button)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(Heading(self.tr("Judgement"), self, scale=1.1))
        layout.addWidget(self.notice)
        layout.addWidget(self.verdict)
        layout.addWidget(self.hint)
        layout.addWidget(self.bars_area)
        layout.addWidget(self.slider)
        layout.addSpacing(theme.em(self, 0.4))
        layout.addLayout(last)
        layout.addWidget(self.words, 1000)
        layout.addStretch(1)

    # --- state

    def _judge(self) -> None:
        """The verdict, and the zone on the bars."""
        labels = tuple(self._label.scores) if self._label is not None else ()
        has_zone = self._is_sentiment and two_sided(labels) is not None
        self.bars.set_band(self.band if has_zone else None)
        self.slider.setVisible(has_zone)
        judgement = self.judgement
        self.verdict.setText(self.verdict_of(judgement.label) if judgement is not None else "")
        self.inspect_button.setEnabled(judgement is not None)
        self.words_box.setVisible(self._is_sentiment)
        self.words.setVisible(self.shows_words and self._label is not None)
        self._fit_bars()
        self._tell()

    def _tell(self) -> None:
        text = self._hint_text
        if self._label is None and not text:
            text = self.tr("Type a text, or take one of the examples. The judgement appears here.")
        self.hint.setText(text)
        self.hint.setVisible(bool(text))

    def _on_slid(self, band: float) -> None:
        self._settings.set("sentiment.neutral_band", band)
        self._judge()
        self.band_changed.emit(band)

    def _on_words_toggled(self, wanted: bool) -> None:
        self._settings.set("sentiment.words", wanted)
        self.words.clear()
        self._judge()
        self.words_wanted.emit(wanted)

    def _fit_bars(self) -> None:
        self.bars_area.setFixedHeight(min(self.bars.sizeHint().height(), theme.em(self, 13)))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "inspect_button"):
            QTimer.singleShot(0, self, self._fit_bars)  # the bars are told after their parent
