"""From which language into which: what the model declares, and a button that turns them round."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.language_titles import language_title, sorted_by_title
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.settings import Settings
from lmstudio_app.tasks.translation_direction import Offer

_SHOWN = 16  # lines of an opened list


class LanguageBar(QWidget):
    """``changed`` when a person has chosen, ``swapped`` when they were turned round."""

    changed = Signal()
    swapped = Signal()

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._offer = Offer()
        self.source = self._combo(self.tr("From"), self.tr("The language of your text"))
        self.target = self._combo(self.tr("Into"), self.tr("The language to translate into"))
        self.source.activated.connect(lambda: self._on_source(self.source.currentData()))
        self.target.activated.connect(self._on_chosen)
        self.swap_button = QToolButton(self)
        self.swap_button.setText("⇄")
        self.swap_button.setAutoRaise(True)
        self.swap_button.setAccessibleName(self.tr("Swap the languages"))
        self.swap_button.clicked.connect(self._on_swap)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        for text, combo in ((self.tr("F&rom"), self.source), (self.tr("&Into"), self.target)):
            label = QLabel(text, self)
            label.setBuddy(combo)
            layout.addWidget(label)
            layout.addWidget(combo, 1)
            if combo is self.source:
                layout.addWidget(self.swap_button)
        self.set_offer(Offer())

    @property
    def languages(self) -> tuple[str, str]:
        """ISO 639-1 codes; empty: as the model was trained."""
        return self.source.currentData() or "", self.target.currentData() or ""

    @property
    def titles(self) -> tuple[str, str]:
        """What the boxes show."""
        return self.source.currentText(), self.target.currentText()

    def set_offer(self, offer: Offer) -> None:
        """Offer a model's languages; those chosen last are chosen again where it has them."""
        self._offer = offer
        unsaid = self.tr("Any language") if offer.instructed else self.tr("As the model has learned it")
        sources: Sequence[str] = sorted_by_title(offer.sources)
        self._fill(self.source, sources, unsaid if offer.instructed or not sources else "")
        self.source.setEnabled(self.source.count() > 1)
        source = self._remembered("source", [*sources, ""] if offer.instructed else sources)
        self.source.choose(source)
        self._fill_targets()
        self.target.choose(self._remembered("target", [self.target.itemData(i) for i in range(self.target.count())]))
        self._settle()

    def choose(self, source: str, target: str) -> None:
        """Where the model has them; else what is chosen stays."""
        if self.source.findData(source) >= 0:
            self.source.choose(source)
            self._fill_targets()
        if self.target.findData(target) >= 0:
            self.target.choose(target)
        self._settle()

    def _combo(self, title: str, tip: str) -> QuietCombo:
        combo = QuietCombo(title, tip, self)
        combo.setMaxVisibleItems(_SHOWN)
        combo.setMinimumContentsLength(12)
        return combo

    def _fill(self, combo: QuietCombo, codes: Sequence[str], unsaid: str) -> None:
        combo.clear()
        if unsaid:
            combo.addItem(unsaid, "")
        for code in codes:
            combo.addItem(language_title(code), code)
            combo.setItemData(combo.count() - 1, code, Qt.ItemDataRole.ToolTipRole)

    def _fill_targets(self) -> None:
        chosen = self.target.currentData()
        targets = sorted_by_title(self._offer.targets_of(self.source.currentData() or ""))
        self._fill(self.target, targets, "" if targets else self.tr("As the model has learned it"))
        self.target.setEnabled(self.target.count() > 1)
        if self.target.findData(chosen) >= 0:
            self.target.choose(chosen)

    def _remembered(self, side: str, known: Sequence[str]) -> str:
        """What was chosen last, if the model has it; else English from, and the first that is not English into."""
        found = self._settings.get(f"translation.{side}", None)
        usual = "en" if side == "source" else next((code for code in known if code not in ("", "en")), "")
        return next((code for code in (found, usual, *known) if isinstance(code, str) and code in known), "")

    def _on_source(self, source: str) -> None:
        before = self._settings.get("translation.source", "en")
        if source == self.target.currentData() and self._offer.can_swap(before, source):
            self._fill_targets()
            self.target.choose(before)  # whoever takes the target as the source wants the other one as the target
        self._fill_targets()
        self._on_chosen()

    def _on_chosen(self) -> None:
        for side, code in zip(("source", "target"), self.languages, strict=True):
            self._settings.set(f"translation.{side}", code)
        self._settle()
        self.changed.emit()

    def _on_swap(self) -> None:
        source, target = self.languages
        self.choose(target, source)
        for side, code in zip(("source", "target"), self.languages, strict=True):
            self._settings.set(f"translation.{side}", code)
        self.swapped.emit()

    def _settle(self) -> None:
        can_swap = self._offer.can_swap(*self.languages)
        self.swap_button.setEnabled(can_swap)
        self.swap_button.setToolTip(
            self.tr("Swap the languages, and translate the translation back")
            if can_swap
            else self.tr("This model does not translate the other way round")
        )
