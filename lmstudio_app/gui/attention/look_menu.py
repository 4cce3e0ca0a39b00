"""The menu that says how weights are drawn, for all views of the studio at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QWidget

from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.inspection.colormaps import COLORMAPS
from lmstudio_app.inspection.scales import SCALES


class LookMenu(QMenu):
    """Colour map, scale, and what is shown of the tokens."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self.setToolTipsVisible(True)
        self.setAccessibleName(self.tr("How weights are drawn"))
        self.addSection(self.tr("What the strongest colour stands for"))
        self.scales = self._add_choices(SCALES, self._scale_texts(), lambda name: studio.change_look(scale=name))
        self.addSection(self.tr("Colours"))
        self.colormaps = self._add_choices(
            COLORMAPS, self._colormap_texts(), lambda name: studio.change_look(colormap=name)
        )
        self.addSection(self.tr("Tokens"))
        self.hide_special = self._add(
            self.tr("Hide special tokens"),
            self.tr(
                "[CLS], [SEP], <s> and the like mark where a text begins and ends. Many heads rest on them, which "
                "drowns the rest. The other weights stay as they are."
            ),
        )
        self.hide_special.toggled.connect(lambda on: studio.change_look(hide_special=on))
        self.merge_words = self._add(
            self.tr("Merge pieces into words"),
            self.tr(
                "A tokenizer cuts rare words into pieces. Attention to a word is the sum over its pieces, attention "
                "from a word their mean (Clark et al. 2019)."
            ),
        )
        self.merge_words.toggled.connect(lambda on: studio.change_look(merge_words=on))
        studio.look_changed.connect(self._show_look)
        self._show_look()

    def _scale_texts(self) -> dict[str, tuple[str, str]]:
        return {
            "head": (
                self.tr("This head's largest weight"),
                self.tr("Every head uses all colours, so that faint heads are seen as well"),
            ),
            "shared": (
                self.tr("1, for every head"),
                self.tr("The same colour means the same weight everywhere: heads can be compared"),
            ),
            "row": (
                self.tr("Each row's largest weight"),
                self.tr("What each token looks at most, also where it spreads its attention widely"),
            ),
            "column": (
                self.tr("Each column's largest weight"),
                self.tr("Who looks most at each token, also where few look at it at all"),
            ),
            "log": (
                self.tr("This head's largest, in powers of ten"),
                self.tr("Weights down to a ten-thousandth of the largest can be told apart"),
            ),
            "difference": (
                self.tr("Difference from the layer's mean"),
                self.tr(
                    "What this head does that the others of its layer do not: one colour where it looks more than "
                    "their mean, another where it looks less. It has colours of its own."
                ),
            ),
        }

    def _colormap_texts(self) -> dict[str, tuple[str, str]]:
        return {
            "ink": (self.tr("Ink, follows the theme"), self.tr("No weight is the colour of the paper")),
            "viridis": (self.tr("Viridis"), self.tr("From violet over green to yellow, in even steps")),
            "cividis": (
                self.tr("Cividis"),
                self.tr("From blue to yellow: looks nearly the same to people with a colour vision deficiency"),
            ),
            "magma": (self.tr("Magma"), self.tr("From black over red to a light yellow, in even steps")),
        }

    def _add(self, title: str, tip: str) -> QAction:
        action = self.addAction(title)
        action.setToolTip(tip)
        action.setCheckable(True)
        return action

    def _add_choices(
        self, names: tuple[str, ...], texts: Mapping[str, tuple[str, str]], choose: Callable[[str], None]
    ) -> dict[str, QAction]:
        group = QActionGroup(self)
        actions = {}
        for name in names:
            actions[name] = action = self._add(*texts[name])
            group.addAction(action)
            action.triggered.connect(lambda _=False, name=name: choose(name))
        return actions

    def _show_look(self) -> None:
        look = self._studio.look
        self.scales[look.scale].setChecked(True)
        self.colormaps[look.colormap].setChecked(True)
        for action, on in ((self.hide_special, look.hide_special), (self.merge_words, look.merge_words)):
            action.blockSignals(True)
            action.setChecked(on)
            action.blockSignals(False)
