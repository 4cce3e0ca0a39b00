"""What is to be compared: two texts, two models, or one model before and after its training."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.compare_queries import Comparable, StateChoice, Trained
from lmstudio_app.gui.attention.compare_work import Plan
from lmstudio_app.gui.attention.kind_combo import KindCombo
from lmstudio_app.gui.attention.patient_button import PatientButton
from lmstudio_app.gui.text import model_title
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.segments import Segments
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.kinds import KINDS, kinds_of
from lmstudio_app.settings import Settings

TEXTS, MODELS, TRAINED = "texts", "models", "trained"


class CompareInput(QWidget):
    """What is chosen and typed is there again next time."""

    asked = Signal()  # Compare, or Enter
    cancelled = Signal()
    mode_changed = Signal(str)
    changed = Signal()  # something else is chosen, so that :attr:`is_ready` may differ

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._model: Any = None
        self._build()
        self.text.setText(str(settings.get("compare.text", settings.get("attention.text", ""))))
        self.other.setText(str(settings.get("compare.other_text", "")))
        for field in (self.text, self.other):
            field.setCursorPosition(0)
        mode = settings.get("compare.mode", TEXTS)
        self.segments.choose(mode if mode in self.segments.buttons else TEXTS)
        self.segments.chosen.connect(self._on_mode_chosen)
        for field in (self.text, self.other):
            field.textChanged.connect(self._on_edited)
        self._show_mode()

    # --- building

    def _build(self) -> None:
        self.segments = Segments(
            self.tr("What to compare"),
            (
                (TEXTS, self.tr("Two texts"), self.tr("The same model reads two texts")),
                (MODELS, self.tr("Two models"), self.tr("Two models read the same text")),
                (
                    TRAINED,
                    self.tr("Before and after training"),
                    self.tr("The same text is read before a training and after it, or at one of its checkpoints"),
                ),
            ),
            self,
        )
        self.state = ElidedLabel(self)
        self.state.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        self.kind = KindCombo(self)
        self.kind.choose(str(self._settings.get("compare.kind", KINDS[0])))
        self.kind.activated.connect(lambda: self._settings.set("compare.kind", self.kind.currentData()))
        self.button = PatientButton(
            (self.tr("Compare"), self.tr("See which heads look elsewhere, and where (Enter)")),
            (self.tr("Stop"), self.tr("Stop loading and comparing")),
            self,
        )
        self.button.asked.connect(self.asked)
        self.button.cancelled.connect(self.cancelled)
        top = QHBoxLayout()
        top.setSpacing(theme.em(self, 0.6))
        top.addWidget(self.segments)
        top.addWidget(self.state, 1)
        top.addWidget(self.kind)
        top.addWidget(self.button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(top)
        layout.addLayout(self._build_fields())

    def _build_fields(self) -> QHBoxLayout:
        self.text = self._make_field(self.tr("Type a sentence"), self.tr("Text"), self.tr("The text that is read"))
        self.other = self._make_field(
            self.tr("The same sentence with another word"), self.tr("Second text"), self.tr("What it is compared with")
        )
        self.first_name = ElidedLabel(self)
        self.model = self._make_combo(self.tr("Second model"), self.tr("The model to compare with"), 16)
        self.model.setPlaceholderText(self.tr("Choose a model"))
        self.trained = self._make_combo(
            self.tr("Training"), self.tr("Trainings of this computer, and models that come fine-tuned"), 20
        )
        self.trained.setPlaceholderText(self.tr("Choose a training"))
        self.before = self._make_combo(self.tr("First state"), self.tr("The model as it was at this time (A)"), 12)
        self.after = self._make_combo(self.tr("Second state"), self.tr("The model as it was at that time (B)"), 12)
        self.trained.currentIndexChanged.connect(self._on_trained_chosen)
        self.letters = [QLabel(letter, self) for letter in ("A", "B", "A", "B", "A", "B")]
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.4))
        texts = (self.letters[0], self.text, self.letters[1], self.other)
        models = (self.letters[2], self.first_name, self.letters[3], self.model)
        trained = (self.trained, self.letters[4], self.before, self.letters[5], self.after)
        for widget in (*texts, *models, *trained):
            row.addWidget(widget, 0 if isinstance(widget, QLabel) and widget is not self.first_name else 1)
        row.setStretchFactor(self.text, 2)
        row.setStretchFactor(self.other, 2)
        self._only = {
            TEXTS: (self.letters[0], self.letters[1], self.other),
            MODELS: models,
            TRAINED: trained,
        }
        for label, field in zip(
            self.letters, (self.text, self.other, None, self.model, self.before, self.after), strict=True
        ):
            label.setForegroundRole(self.palette().ColorRole.PlaceholderText)
            if field is not None:
                label.setBuddy(field)
        return row

    def _make_field(self, placeholder: str, name: str, tip: str) -> QLineEdit:
        field = QLineEdit(self)
        field.setPlaceholderText(placeholder)
        field.setAccessibleName(name)
        field.setToolTip(tip)
        field.setClearButtonEnabled(True)
        field.setMaxLength(2**20)
        field.setMinimumHeight(round(field.sizeHint().height() * 1.15))
        field.returnPressed.connect(self._on_entered)
        return field

    def _make_combo(self, title: str, tip: str, width: int) -> QuietCombo:
        combo = QuietCombo(title, tip, self)
        combo.setMinimumContentsLength(width)
        combo.currentIndexChanged.connect(self._on_edited)
        return combo

    # --- what there is to choose

    def set_model(self, loaded: Any) -> None:
        """The model that is loaded: the one that reads two texts, and the first of two models."""
        self._model = loaded
        title = model_title(loaded)
        self.first_name.setText(title or self.tr("no model is loaded"))
        self._show_mode()

    def set_choices(self, choices: Comparable) -> None:
        wanted = self.model.currentData() or self._settings.get("compare.model", "")
        self.model.clear()
        for choice in choices.models:
            self.model.addItem(choice.title, choice.reference)
            self.model.setItemData(self.model.count() - 1, choice.detail, Qt.ItemDataRole.ToolTipRole)
        self.model.setCurrentIndex(self.model.findData(wanted))
        if self.model.currentIndex() < 0 and self._model is not None:
            self.model.setCurrentIndex(self.model.findData(choices.partner_of(self._model.reference)))
        chosen = self.chosen_training
        key = chosen.key if chosen is not None else self._settings.get("compare.trained", "")
        states = self._chosen_states()
        self.trained.clear()
        for trained in choices.trained:
            self.trained.addItem(trained.title, trained)
            self.trained.setItemData(self.trained.count() - 1, trained.title, Qt.ItemDataRole.ToolTipRole)
        keys = [trained.key for trained in choices.trained]
        self.trained.setCurrentIndex(keys.index(key) if key in keys else 0 if keys else -1)
        for combo, state in zip((self.before, self.after), states, strict=True):
            if state is not None and (index := combo.findText(state.title)) >= 0:
                combo.setCurrentIndex(index)

    def choose_training(self, key: str) -> bool:
        """Choose a training by its key (the folder of a run); False when it is not there."""
        for index in range(self.trained.count()):
            if self.trained.itemData(index).key == key:
                self.trained.setCurrentIndex(index)
                return True
        return False

    @property
    def chosen_training(self) -> Trained | None:
        found: Trained | None = self.trained.currentData()
        return found

    def _chosen_states(self) -> tuple[StateChoice | None, StateChoice | None]:
        return self.before.currentData(), self.after.currentData()

    def _on_trained_chosen(self) -> None:
        trained = self.chosen_training
        for combo in (self.before, self.after):
            combo.clear()
            for state in trained.states if trained is not None else ():
                combo.addItem(state.title, state)
        self.before.setCurrentIndex(0 if trained is not None else -1)
        self.after.setCurrentIndex(self.after.count() - 1)
        self._show_kind()

    # --- what is asked

    @property
    def mode(self) -> str:
        return self.segments.current

    @property
    def is_ready(self) -> bool:
        """Is all given that a comparison needs?"""
        if not self.text.text().strip():
            return False
        if self.mode == TEXTS:
            return self._model is not None and bool(self.other.text().strip())
        if self.mode == MODELS:
            return self._model is not None and self.model.currentIndex() >= 0
        before, after = self._chosen_states()
        return before is not None and after is not None and before != after

    def plan(self) -> Plan:
        """What the fields say, which is remembered."""
        self._settings.set("compare.text", self.text.text()[:20_000])
        self._settings.set("compare.other_text", self.other.text()[:20_000])
        kind = str(self.kind.currentData()) if self.kind.isVisibleTo(self) else None
        first = second = AttentionRequest(self.text.text(), kind=kind)
        if self.mode == TEXTS:
            second = AttentionRequest(self.other.text(), kind=kind)
            names = (self.text.text().strip(), self.other.text().strip())
            return Plan(TEXTS, (self._model, self._model), (first, second), names)
        if self.mode == MODELS:
            reference = str(self.model.currentData())
            self._settings.set("compare.model", reference)
            names = (model_title(self._model), self.model.currentText())
            return Plan(MODELS, (self._model, self._known(reference)), (first, second), names)
        trained, (before, after) = self.chosen_training, self._chosen_states()
        assert trained is not None
        assert before is not None
        assert after is not None
        self._settings.set("compare.trained", trained.key)
        models = (self._known(before.reference), self._known(after.reference))
        return Plan(TRAINED, models, (first, second), (before.title, after.title))

    def _known(self, reference: str) -> Any:
        """The model that is loaded, where it is this one."""
        is_it = self._model is not None and self._model.reference == reference
        return self._model if is_it else reference

    def set_texts(self, text: str, other: str | None = None) -> None:
        self.text.setText(" ".join(text.split()))
        if other is not None:
            self.other.setText(" ".join(other.split()))
        for field in (self.text, self.other):
            field.setCursorPosition(0)

    # --- the button

    def set_busy(self, busy: bool) -> None:
        self.button.set_busy(busy)
        if not busy:
            self.state.clear()

    def _on_entered(self) -> None:
        if self.is_ready:
            self.asked.emit()
        elif self.mode == TEXTS and self.text.text().strip() and self._model is not None:
            self.other.setFocus()

    def _on_edited(self) -> None:
        if hasattr(self, "letters"):
            self.button.set_ready(self.is_ready)
            self.changed.emit()

    def _on_mode_chosen(self, mode: str) -> None:
        self._settings.set("compare.mode", mode)
        self._show_mode()
        self.mode_changed.emit(mode)

    def _show_mode(self) -> None:
        for mode, widgets in self._only.items():
            for widget in widgets:
                widget.setVisible(mode == self.mode)
        self._show_kind()
        self.button.set_ready(self.is_ready)

    def _show_kind(self) -> None:
        """A choice where the models have several kinds of attention."""
        trained = self.chosen_training
        if self.mode == TRAINED:
            has_kinds = trained is not None and trained.writes
        else:
            has_kinds = self._model is not None and len(kinds_of(self._model.model)) > 1
        self.kind.setVisible(has_kinds)
