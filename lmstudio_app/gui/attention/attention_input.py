"""What is to be looked into: a text, or a pair, or a text and what an encoder-decoder makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QToolButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.kind_combo import KindCombo
from lmstudio_app.gui.attention.patient_button import PatientButton
from lmstudio_app.gui.language_titles import language_title, sorted_by_title
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.tasks.translation_direction import Offer


class AttentionInput(QWidget):
    """The texts are there again next time."""

    asked = Signal()  # Show, Enter, or another kind
    cancelled = Signal()

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._build()
        self.text.setText(str(settings.get("attention.text", "")))
        self.pair.setText(str(settings.get("attention.pair", "")))
        self.target.setText(str(settings.get("attention.target", "")))
        self.pair_button.setChecked(bool(settings.get("attention.show_pair", False)))
        self.set_kinds(())
        self.set_chat(False)

    def _build(self) -> None:
        self.text = self._make_field(
            self.tr("Type a sentence and press Enter"), self.tr("Text"), self.tr("The text to look into")
        )
        self.pair = self._make_field(
            self.tr("A second text, for models that read pairs"),
            self.tr("Second text"),
            self.tr("Read after the first"),
        )
        self.pair.hide()
        self.target = self._make_field(
            self.tr("What the model is to have written; empty: it writes it itself"),
            self.tr("Written text"),
            self.tr("The text that the decoder writes, such as a translation"),
        )
        self.source_language = self._make_languages(self.tr("From"), self.tr("The language of the text"))
        self.target_language = self._make_languages(self.tr("Into"), self.tr("The language that the model writes"))
        self.pair_button = QToolButton(self)
        self.pair_button.setText(self.tr("Pair"))
        self.pair_button.setCheckable(True)
        self.pair_button.setAccessibleName(self.tr("Second text"))
        self.pair_button.setToolTip(self.tr("Read a pair of texts, such as a question and a passage"))
        self.pair_button.toggled.connect(self._on_pair_toggled)
        self.chat_button = QToolButton(self)
        self.chat_button.setText(self.tr("Chat"))
        self.chat_button.setCheckable(True)
        self.chat_button.setChecked(bool(self._settings.get("attention.as_chat", False)))
        self.chat_button.setAccessibleName(self.tr("As a chat message"))
        self.chat_button.setToolTip(self.tr("Lay the text out as this model reads what a person says in a chat"))
        self.chat_button.toggled.connect(self._on_chat_toggled)
        self.kind = KindCombo(self)
        self.kind.activated.connect(self._on_kind_chosen)
        self.show_button = PatientButton(
            (self.tr("Show"), self.tr("Show where the tokens of this text look (Enter)")),
            (self.tr("Cancel"), self.tr("Stop reading the attention")),
            self,
        )
        self.show_button.asked.connect(self.asked)
        self.show_button.cancelled.connect(self.cancelled)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(self.text, 1)
        row.addWidget(self.pair_button)
        row.addWidget(self.chat_button)
        row.addWidget(self.kind)
        row.addWidget(self.show_button)
        for button in (self.pair_button, self.chat_button, self.show_button):
            button.setMinimumHeight(self.text.sizeHint().height())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.em(self, 0.4))
        column.addLayout(row)
        column.addWidget(self.pair)
        told = QHBoxLayout()
        told.setSpacing(theme.em(self, 0.5))
        told.addWidget(self.target, 1)
        told.addWidget(self.source_language)
        told.addWidget(self.target_language)
        column.addLayout(told)

    def _make_field(self, placeholder: str, name: str, tip: str) -> QLineEdit:
        field = QLineEdit(self)
        field.setPlaceholderText(placeholder)
        field.setAccessibleName(name)
        field.setToolTip(tip)
        field.setClearButtonEnabled(True)
        field.setMaxLength(2**20)
        field.setMinimumHeight(round(field.sizeHint().height() * 1.15))
        field.returnPressed.connect(self.asked)
        return field

    def _make_languages(self, title: str, tip: str) -> QuietCombo:
        combo = QuietCombo(title, tip, self)
        combo.activated.connect(self._on_language_chosen)
        combo.hide()
        return combo

    # --- what is asked

    def set_kinds(self, kinds: tuple[str, ...]) -> None:
        """The kinds of attention that the model has; a choice is shown when there is one."""
        self.kind.setVisible(len(kinds) > 1)
        self.pair_button.setVisible(len(kinds) <= 1)
        self.pair.setVisible(len(kinds) <= 1 and self.pair_button.isChecked())
        if len(kinds) > 1:
            remembered = str(self._settings.get("attention.kind", "cross"))
            self.kind.setCurrentIndex(max(0, self.kind.findData(remembered)))
        self._show_target()

    def set_chat(self, can_chat: bool) -> None:
        """Whether the model knows how a chat is laid out."""
        self.chat_button.setVisible(can_chat)

    def set_languages(self, offer: Offer | None) -> None:
        """Between which languages the model translates; those that it has to be told are asked for."""
        for combo, key, codes, is_asked in (
            (self.source_language, "source", offer.sources if offer else (), bool(offer and offer.asks_source)),
            (self.target_language, "target", offer.targets if offer else (), bool(offer and offer.asks_target)),
        ):
            combo.clear()
            for code in sorted_by_title(codes):
                combo.addItem(language_title(code), code)
            remembered = str(self._settings.get(f"attention.{key}_language", ""))
            combo.setCurrentIndex(max(0, combo.findData(remembered)) if codes else -1)
            combo.setVisible(is_asked)

    def set_texts(self, text: str, pair: str | None = None) -> None:
        self.text.setText(" ".join(text.split()))
        self.text.setCursorPosition(0)
        self.pair.setText(" ".join((pair or "").split()))
        self.pair_button.setChecked(bool(pair))
        self.target.clear()

    @property
    def has_text(self) -> bool:
        return bool(self.text.text().strip())

    def request(self) -> AttentionRequest:
        """What the fields say, which is remembered."""
        set_ = self._settings.set
        set_("attention.text", self.text.text()[:20_000])
        set_("attention.pair", self.pair.text()[:20_000])
        set_("attention.target", self.target.text()[:20_000])
        if self.kind.isVisibleTo(self):
            kind = str(self.kind.currentData())
            target = self.target.text().strip() if kind != "encoder" else ""
            source, into = (
                str(combo.currentData()) if combo.isVisibleTo(self) else ""
                for combo in (self.source_language, self.target_language)
            )
            return AttentionRequest(
                self.text.text(), target=target or None, kind=kind, source_language=source, target_language=into
            )
        if self.chat_button.isVisibleTo(self) and self.chat_button.isChecked():
            return AttentionRequest(messages=({"role": "user", "content": self.text.text()},))
        pair = self.pair.text().strip() if self.pair_button.isChecked() else ""
        return AttentionRequest(self.text.text(), pair=pair or None)

    def _on_pair_toggled(self, checked: bool) -> None:
        self.pair.setVisible(checked)
        self._settings.set("attention.show_pair", checked)
        if checked:
            self.pair.setFocus()

    def _on_chat_toggled(self, checked: bool) -> None:
        self._settings.set("attention.as_chat", checked)
        if self.has_text:
            self.asked.emit()

    def _on_kind_chosen(self) -> None:
        self._settings.set("attention.kind", str(self.kind.currentData()))
        self._show_target()
        if self.has_text:
            self.asked.emit()

    def _on_language_chosen(self) -> None:
        for combo, key in ((self.source_language, "source"), (self.target_language, "target")):
            if combo.isVisibleTo(self):
                self._settings.set(f"attention.{key}_language", str(combo.currentData()))
        if self.has_text:
            self.asked.emit()

    def _show_target(self) -> None:
        self.target.setVisible(self.kind.isVisibleTo(self) and self.kind.currentData() != "encoder")
