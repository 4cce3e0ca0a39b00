"""How the window looks: the Fusion style with a light and a dark palette, and the colours that charts take
from it.

No widget names a colour of its own. What :class:`QPalette` has no role for (muted text, success, the lines
of a chart) is derived here from the palette a widget has at that moment, so it is right in both themes.
Every text colour keeps a contrast of at least 4.5 to 1 with the surface it stands on (WCAG 2.2, level AA),
every line of a chart at least 3 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory, QWidget

from lmstudio_app.assets import resource
from lmstudio_app.settings import Settings

THEMES = ("system", "light", "dark")
TEXT_SIZES = (-1, 0, 1, 2, 4, 6)  # points added to the system's font

_LIGHT = {
    QPalette.ColorRole.Window: "#f3f5f8",
    QPalette.ColorRole.WindowText: "#1a2230",
    QPalette.ColorRole.Base: "#ffffff",
    QPalette.ColorRole.AlternateBase: "#f6f8fb",
    QPalette.ColorRole.Text: "#1a2230",
    QPalette.ColorRole.PlaceholderText: "#667085",
    QPalette.ColorRole.Button: "#fbfcfd",
    QPalette.ColorRole.ButtonText: "#1a2230",
    QPalette.ColorRole.BrightText: "#ffffff",
    QPalette.ColorRole.ToolTipBase: "#1f2937",
    QPalette.ColorRole.ToolTipText: "#f5f7fa",
    QPalette.ColorRole.Highlight: "#2f5fd0",
    QPalette.ColorRole.HighlightedText: "#ffffff",
    QPalette.ColorRole.Accent: "#2f5fd0",
    QPalette.ColorRole.Link: "#2450b8",
    QPalette.ColorRole.LinkVisited: "#6b3fa0",
    QPalette.ColorRole.Light: "#ffffff",
    QPalette.ColorRole.Midlight: "#e9edf2",
    QPalette.ColorRole.Mid: "#cfd6df",
    QPalette.ColorRole.Dark: "#98a2b3",
    QPalette.ColorRole.Shadow: "#475467",
}
_DARK = {
    QPalette.ColorRole.Window: "#171b22",
    QPalette.ColorRole.WindowText: "#e6eaf0",
    QPalette.ColorRole.Base: "#1e242d",
    QPalette.ColorRole.AlternateBase: "#232a34",
    QPalette.ColorRole.Text: "#e6eaf0",
    QPalette.ColorRole.PlaceholderText: "#94a0b2",
    QPalette.ColorRole.Button: "#2a323d",
    QPalette.ColorRole.ButtonText: "#e6eaf0",
    QPalette.ColorRole.BrightText: "#ffffff",
    QPalette.ColorRole.ToolTipBase: "#e6eaf0",
    QPalette.ColorRole.ToolTipText: "#171b22",
    QPalette.ColorRole.Highlight: "#3d6fe0",
    QPalette.ColorRole.HighlightedText: "#ffffff",
    QPalette.ColorRole.Accent: "#7aa2ff",
    QPalette.ColorRole.Link: "#8fb1ff",
    QPalette.ColorRole.LinkVisited: "#c3a6f5",
    QPalette.ColorRole.Light: "#3b4552",
    QPalette.ColorRole.Midlight: "#2a323d",
    QPalette.ColorRole.Mid: "#3a4452",
    QPalette.ColorRole.Dark: "#667085",
    QPalette.ColorRole.Shadow: "#0b0e12",
}
_DISABLED_TEXT = {"light": "#8a94a6", "dark": "#6b7686"}

# Categorical colours that stay apart for the common colour vision deficiencies: Okabe and Ito (2008),
# darkened for a white surface and lightened for a dark one until each has a contrast of 3 to 1.
_SERIES_LIGHT = ("#0067a6", "#c04a00", "#00795b", "#a8468c", "#8a6a00", "#2b7fb0", "#4b5563")
_SERIES_DARK = ("#56b4e9", "#f0883e", "#2cc79c", "#e08cc4", "#e6c229", "#9ecbff", "#b6c0cd")
_SUCCESS = ("#0c6b3d", "#4ccf8b")
_WARNING = ("#8a5300", "#f2b84b")
_DANGER = ("#b42318", "#ff8a80")


@dataclass(frozen=True)
class ChartColours:
    """What a plot needs. ``series`` are categorical colours in the order in which they are used."""

    background: QColor
    text: QColor
    grid: QColor
    crosshair: QColor
    series: tuple[QColor, ...]

    def faded(self, index: int, amount: float = 0.4) -> QColor:
        """A series' colour for what stands behind, such as the raw curve behind the smoothed one.

        Opaque, because lines with transparency are drawn many times slower.
        """
        return blend(self.series[index], self.background, amount)


def is_dark(palette: QPalette) -> bool:
    return palette.color(QPalette.ColorRole.Window).lightnessF() < 0.5


def build_palette(*, dark: bool) -> QPalette:
    palette = QPalette()
    for role, colour in (_DARK if dark else _LIGHT).items():
        palette.setColor(role, QColor(colour))
    disabled = QColor(_DISABLED_TEXT["dark" if dark else "light"])
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, disabled)
    for role in (QPalette.ColorRole.Highlight, QPalette.ColorRole.Accent):
        palette.setColor(QPalette.ColorGroup.Disabled, role, palette.color(QPalette.ColorRole.Mid))
    return palette


def muted(palette: QPalette) -> QColor:
    """Secondary text: captions, units, hints."""
    return palette.color(QPalette.ColorRole.PlaceholderText)


def success(palette: QPalette) -> QColor:
    return QColor(_SUCCESS[is_dark(palette)])


def warning(palette: QPalette) -> QColor:
    return QColor(_WARNING[is_dark(palette)])


def danger(palette: QPalette) -> QColor:
    return QColor(_DANGER[is_dark(palette)])


def blend(front: QColor, back: QColor, amount: float) -> QColor:
    """``amount`` (0 to 1) of ``front`` over ``back``: tints for notices and cells, opaque."""
    return QColor.fromRgbF(
        front.redF() * amount + back.redF() * (1 - amount),
        front.greenF() * amount + back.greenF() * (1 - amount),
        front.blueF() * amount + back.blueF() * (1 - amount),
    )


def chart_colours(palette: QPalette) -> ChartColours:
    dark = is_dark(palette)
    return ChartColours(
        background=palette.color(QPalette.ColorRole.Base),
        text=muted(palette),
        grid=palette.color(QPalette.ColorRole.Mid),
        crosshair=palette.color(QPalette.ColorRole.Dark),
        series=tuple(QColor(colour) for colour in (_SERIES_DARK if dark else _SERIES_LIGHT)),
    )


def contrast(first: QColor, second: QColor) -> float:
    """Contrast ratio of two opaque colours, 1 to 21 (WCAG 2.2,
    https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio).
    """

    def luminance(colour: QColor) -> float:
        channels = (colour.redF(), colour.greenF(), colour.blueF())
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def em(widget: QWidget, amount: float = 1.0) -> int:
    """A length in pixels: ``amount`` times the height of the widget's font."""
    return round(QFontMetricsF(widget.font()).height() * amount)


def characters(widget: QWidget, count: float) -> int:
    """A width in pixels that holds ``count`` average characters of the widget's font."""
    return round(QFontMetricsF(widget.font()).averageCharWidth() * count)


def heading_font(widget: QWidget, scale: float = 1.25) -> QFont:
    font = QFont(widget.font())
    font.setPointSizeF(font.pointSizeF() * scale)
    font.setWeight(QFont.Weight.DemiBold)
    return font


def _style_sheet(palette: QPalette, line: float) -> str:
    """The few things Fusion has no palette role for. ``line`` is the height of a text line in pixels."""

    def name(role: QPalette.ColorRole) -> str:
        return palette.color(role).name()

    radius, pad, box = round(line * 0.35), round(line * 0.3), round(line * 0.85)
    edge = name(QPalette.ColorRole.Dark)  # Fusion draws it darker than the window: invisible on a dark one
    tick = resource("icons", "tick.svg").as_posix()
    accent = name(QPalette.ColorRole.Highlight)
    pressed = palette.color(QPalette.ColorRole.Highlight).darker(115).name()
    hover = palette.color(QPalette.ColorRole.Highlight).lighter(108).name()
    return f"""
        QToolTip {{ padding: {pad}px; border: 1px solid {name(QPalette.ColorRole.Dark)}; }}
        QFrame[card="true"] {{ background: {name(QPalette.ColorRole.Base)};
            border: 1px solid {name(QPalette.ColorRole.Mid)}; border-radius: {radius}px; }}
        QPushButton[primary="true"] {{ background: {accent}; color:
        {name(QPalette.ColorRole.HighlightedText)};
            border: 1px solid {accent}; border-radius: {round(radius * 0.7)}px;
            padding: {round(pad * 0.8)}px {pad * 3}px; font-weight: 600; }}
        QPushButton[primary="true"]:hover {{ background: {hover}; }}
        QPushButton[primary="true"]:pressed {{ background: {pressed}; }}
        QPushButton[primary="true"]:focus {{ border: 2px solid {name(QPalette.ColorRole.Text)}; }}
        QPushButton[primary="true"]:disabled {{ background: {name(QPalette.ColorRole.Midlight)};
            color: {_DISABLED_TEXT["dark" if is_dark(palette) else "light"]};
            border-color: {name(QPalette.ColorRole.Mid)}; }}
        QStatusBar::item {{ border: none; }}
        QCheckBox::indicator {{ width: {box}px; height: {box}px; border-radius: {round(radius * 0.5)}px;
            border: 1px solid {edge}; background: {name(QPalette.ColorRole.Base)}; }}
        QCheckBox::indicator:hover {{ border-color: {name(QPalette.ColorRole.Accent)}; }}
        QCheckBox::indicator:checked {{ background: {accent}; border-color: {accent}; image: url("{tick}"); }}
        QCheckBox::indicator:disabled {{ border-color: {name(QPalette.ColorRole.Mid)}; }}
        QCheckBox::indicator:checked:disabled {{ background: {name(QPalette.ColorRole.Dark)}; }}
    """


class Theme(QObject):
    """Applies the chosen theme and text size to the application and keeps to the system's choice when told
    so.
    """

    changed = Signal()

    def __init__(self, app: QApplication, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app = app
        self._settings = settings
        self._system_font = QFont(app.font())
        self._applying = False
        app.setStyle(QStyleFactory.create("Fusion"))
        app.styleHints().colorSchemeChanged.connect(self._on_system_changed)
        self._apply()

    @property
    def name(self) -> str:
        """``system``, ``light`` or ``dark``."""
        name = self._settings.get("window.theme", "system")
        return name if name in THEMES else "system"

    def set_name(self, name: str) -> None:
        self._settings.set("window.theme", name)
        self._apply()

    @property
    def text_size(self) -> int:
        """Points added to the system's font size."""
        size = self._settings.get("window.text_size", 0)
        return size if size in TEXT_SIZES else 0

    def set_text_size(self, size: int) -> None:
        self._settings.set("window.text_size", size)
        self._apply()

    def step_text_size(self, direction: int) -> None:
        """One size up (1) or down (-1); at either end nothing happens."""
        index = TEXT_SIZES.index(self.text_size) + direction
        if 0 <= index < len(TEXT_SIZES):
            self.set_text_size(TEXT_SIZES[index])

    def _on_system_changed(self) -> None:
        if not self._applying and self.name == "system":
            self._apply()

    def _apply(self) -> None:
        self._applying = True  # our own palette must not look like a change of the system's
        try:
            hints = self._app.styleHints()
            if self.name == "system":
                hints.unsetColorScheme()
                dark = hints.colorScheme() == Qt.ColorScheme.Dark
            else:
                dark = self.name == "dark"
                hints.setColorScheme(Qt.ColorScheme.Dark if dark else Qt.ColorScheme.Light)
            palette = build_palette(dark=dark)
            font = QFont(self._system_font)
            if font.pointSizeF() > 0:
                font.setPointSizeF(font.pointSizeF() + self.text_size)
            self._app.setPalette(palette)
            self._app.setFont(font)
            self._app.setStyleSheet(_style_sheet(palette, QFontMetricsF(font).height()))
            # a new style sheet gives widgets with a font of their own the font from before, and nobody else tells them
            self._app.fontChanged.emit(font)
        finally:
            self._applying = False
        self.changed.emit()
