import itertools
from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QLabel

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.settings import Settings

TEXT_ON = [
    (QPalette.ColorRole.WindowText, QPalette.ColorRole.Window),
    (QPalette.ColorRole.Text, QPalette.ColorRole.Base),
    (QPalette.ColorRole.Text, QPalette.ColorRole.AlternateBase),
    (QPalette.ColorRole.ButtonText, QPalette.ColorRole.Button),
    (QPalette.ColorRole.PlaceholderText, QPalette.ColorRole.Base),
    (QPalette.ColorRole.PlaceholderText, QPalette.ColorRole.Window),
    (QPalette.ColorRole.HighlightedText, QPalette.ColorRole.Highlight),
    (QPalette.ColorRole.ToolTipText, QPalette.ColorRole.ToolTipBase),
    (QPalette.ColorRole.Link, QPalette.ColorRole.Base),
    (QPalette.ColorRole.LinkVisited, QPalette.ColorRole.Base),
]


@pytest.fixture
def look(qapp: QApplication) -> Iterator[theme.Theme]:
    before = qapp.palette(), qapp.font(), qapp.styleSheet()
    look = theme.Theme(qapp, Settings())
    yield look
    look.deleteLater()
    qapp.styleHints().unsetColorScheme()
    qapp.setPalette(before[0])
    qapp.setFont(before[1])
    qapp.setStyleSheet(before[2])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("roles", TEXT_ON, ids=lambda roles: f"{roles[0].name} on {roles[1].name}")
def test_text_has_the_contrast_of_wcag_aa(qapp, dark: bool, roles: tuple[QPalette.ColorRole, ...]) -> None:
    palette = theme.build_palette(dark=dark)
    assert theme.contrast(palette.color(roles[0]), palette.color(roles[1])) >= 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_semantic_text_has_it_too_and_curves_are_visible(qapp, dark: bool) -> None:
    palette = theme.build_palette(dark=dark)
    base = palette.color(QPalette.ColorRole.Base)
    for colour in (theme.success(palette), theme.warning(palette), theme.danger(palette), theme.muted(palette)):
        assert theme.contrast(colour, base) >= 4.5
    chart = theme.chart_colours(palette)
    assert theme.contrast(chart.text, chart.background) >= 4.5
    for colour in chart.series:
        assert theme.contrast(colour, chart.background) >= 3.0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("deficiency", ["protan", "deutan"])
def test_the_first_curves_stay_apart_for_colour_blind_people(qapp, dark: bool, deficiency: str) -> None:
    """Simulated after Viénot, Brettel and Mollon (1999): red and green cones see one mixture."""
    mix = {"protan": (0.11238, 0.88762, 0.0, 0.00401), "deutan": (0.29275, 0.70725, 0.0, -0.02234)}[deficiency]

    def simulate(colour: QColor) -> tuple[float, float]:
        red, green, blue = (c**2.2 for c in (colour.redF(), colour.greenF(), colour.blueF()))
        yellow = mix[0] * red + mix[1] * green
        return yellow ** (1 / 2.2), max(0.0, mix[3] * (red - green) + blue) ** (1 / 2.2)

    first = theme.chart_colours(theme.build_palette(dark=dark)).series[:3]
    for one, other in itertools.combinations(map(simulate, first), 2):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 0.12


def test_contrast_is_that_of_wcag() -> None:
    assert theme.contrast(QColor("black"), QColor("white")) == pytest.approx(21)
    assert theme.contrast(QColor("#777777"), QColor("white")) == pytest.approx(4.478, abs=0.001)


def test_the_choice_is_applied_at_once_and_remembered(qapp, look: theme.Theme) -> None:
    assert look.name == "system"
    changes = []
    look.changed.connect(lambda: changes.append(look.name))
    for name in ("dark", "light", "dark"):
        look.set_name(name)
        assert theme.is_dark(qapp.palette()) == (name == "dark")
    assert changes == ["dark", "light", "dark"]
    assert Settings().get("window.theme") == "dark"


def test_system_follows_the_system(qapp, look: theme.Theme) -> None:
    look.set_name("dark")
    look.set_name("system")
    expected = qapp.styleHints().colorScheme() == Qt.ColorScheme.Dark
    assert theme.is_dark(qapp.palette()) == expected


def test_an_unknown_name_of_an_old_file_is_the_systems(qapp, look: theme.Theme) -> None:
    Settings().set("window.theme", "sepia")
    look._settings.set("window.theme", "sepia")
    look._settings.set("window.text_size", 77)
    assert (look.name, look.text_size) == ("system", 0)


def test_text_grows_and_shrinks_in_steps_and_stops_at_the_ends(qapp, look: theme.Theme) -> None:
    size = qapp.font().pointSizeF()
    look.step_text_size(1)
    assert qapp.font().pointSizeF() == size + 1
    for _ in range(10):
        look.step_text_size(1)
    assert look.text_size == theme.TEXT_SIZES[-1]
    for _ in range(20):
        look.step_text_size(-1)
    assert look.text_size == theme.TEXT_SIZES[0]
    look.set_text_size(0)
    assert qapp.font().pointSizeF() == size


def test_headings_keep_their_size_when_the_colours_change(qapp, qtbot, look: theme.Theme) -> None:
    look.set_name("light")
    heading = Heading("Title", scale=1.5)
    qtbot.addWidget(heading)
    heading.show()
    look.set_text_size(6)
    for name in ("dark", "light"):
        look.set_name(name)
        qapp.processEvents()
        assert heading.font().pointSizeF() == pytest.approx(1.5 * qapp.font().pointSizeF())


def test_lengths_follow_the_font(qtbot) -> None:
    label = QLabel("x")
    qtbot.addWidget(label)
    small = theme.em(label), theme.characters(label, 10)
    font = label.font()
    font.setPointSizeF(font.pointSizeF() * 2)
    label.setFont(font)
    assert theme.em(label) == pytest.approx(2 * small[0], rel=0.15)
    assert theme.characters(label, 10) == pytest.approx(2 * small[1], rel=0.15)
    assert theme.heading_font(label).pointSizeF() == pytest.approx(font.pointSizeF() * 1.25)


def test_blending_is_between_its_ends() -> None:
    black, white = QColor("black"), QColor("white")
    assert theme.blend(black, white, 1.0) == black
    assert theme.blend(black, white, 0.0) == white
    assert theme.blend(black, white, 0.5).redF() == pytest.approx(0.5, abs=0.01)
