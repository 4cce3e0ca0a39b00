import pytest
from PySide6.QtCore import QEvent, QLocale, QObject, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication, QHBoxLayout, QLabel, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Progress, Status
from lmstudio_app.gui import text, theme
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.elided_button import ElidedButton
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.figures import FigureRow
from lmstudio_app.gui.widgets.live_chart import LiveChart, Series
from lmstudio_app.gui.widgets.navigation import NavigationRail
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.value_label import Reading, Readings, ValueLabel


def test_errors_and_statuses_are_filled_in_after_translation() -> None:
    assert text.error_texts(UserError("No {x}.", "Get {x}.", x="luck")) == ("No luck.", "Get luck.")
    assert text.error_texts(UserError("Bad.")) == ("Bad.", "")
    assert text.status_text(Status(template="At {step}", parameters={"step": 3})) == "At 3"
    before = QLocale()
    QLocale.setDefault(QLocale("en_US"))
    assert text.status_text(Status(template="{count} texts", parameters={"count": 2058})) == "2,058 texts"
    QLocale.setDefault(before)
    assert text.status_text(Status(template="{count:05}", parameters={"count": 12})) == "00012"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0.00"),
        (5.612, "5.61"),
        (23.4, "23.4"),
        (945.3, "945"),
        (1234, "1.23k"),
        (56_789, "56.8k"),
        (4.56e6, "4.56M"),
    ],
)
def test_compact_numbers_have_three_digits(value: float, expected: str) -> None:
    assert text.compact_number_text(value) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(-1, "0:00"), (42.4, "0:42"), (725, "12:05"), (3723, "1:02:03")])
def test_durations(seconds: float, expected: str) -> None:
    assert text.duration_text(seconds) == expected


def test_progress_says_as_much_as_is_known() -> None:
    full = Progress(done=12_300_000, total=90_900_000, unit="B", rate=4_100_000, eta=19.2)
    assert text.progress_text(full) == "12.3 MB of 90.9 MB, 4.1 MB/s, 0:19 left"
    before = QLocale()
    QLocale.setDefault(QLocale("en_US"))
    try:
        assert text.progress_text(Progress(done=1200, total=3000, unit="rows")) == "1,200 of 3,000 rows"
        assert text.progress_text(Progress(done=1200, unit="rows", rate=10)) == "1,200 rows, 10 rows/s"
        assert text.progress_text(Progress(done=3)) == "3"
    finally:
        QLocale.setDefault(before)


def test_a_disclosure_opens_by_mouse_and_keyboard(qtbot) -> None:
    section = Disclosure("More", "Show more")
    qtbot.addWidget(section)
    inner = QLabel("inside", section.body)
    section.show()
    states: list[bool] = []
    section.toggled.connect(states.append)
    assert not inner.isVisible()
    qtbot.mouseClick(section.button, Qt.MouseButton.LeftButton)
    assert inner.isVisible()
    qtbot.keyClick(section.button, Qt.Key.Key_Space)
    assert states == [True, False]
    assert (section.button.accessibleName(), section.button.toolTip()) == ("More", "Show more")


def test_an_elided_label_asks_for_little_and_tells_all(qtbot) -> None:
    label = ElidedLabel()
    qtbot.addWidget(label)
    label.setText("a very long sentence " * 20)
    label.resize(60, 20)
    label.show()
    assert label.minimumSizeHint().width() < 60
    assert label.toolTip() == label.accessibleName() == label.text()
    assert not label.grab().isNull()


def test_figures_show_a_dash_for_what_is_unknown(qtbot) -> None:
    row = FigureRow([("a", "Loss", "tip a"), ("b", "Speed", "tip b")])
    qtbot.addWidget(row)
    row.set_values({"a": "0.5"})
    assert [figure.value() for figure in row.figures.values()] == ["0.5", "–"]
    assert row.figures["a"].accessibleName() == "Loss: 0.5"
    row.set_values({})
    assert row.figures["a"].value() == "–"


def test_figures_take_another_row_where_one_has_no_room(qtbot) -> None:
    row = FigureRow([(str(number), f"Caption {number}", "What it is") for number in range(9)])
    qtbot.addWidget(row)
    row.set_values({str(number): "0.12345" for number in range(9)})
    row.show()
    for width, rows in ((1500, 1), (500, 2), (1500, 1)):
        row.resize(width, row.sizeHint().height())
        qtbot.waitUntil(lambda: len({figure.y() for figure in row.figures.values()}) == rows)  # noqa: B023
        assert all(figure.width() >= figure.needed_width() for figure in row.figures.values())


def test_the_rail_paints_every_state_in_both_sizes(qtbot) -> None:
    steps = [("Make", "1", "One", "first"), ("Make", "2", "Two", "second"), ("Use", "", "Three", "third")]
    rail = NavigationRail(steps)
    qtbot.addWidget(rail)
    chosen: list[int] = []
    rail.current_changed.connect(chosen.append)
    rail.set_state(1, "a detail that is far too long to fit into the rail as it is", done=True)
    rail.set_current(2)
    rail.show()
    before = rail.buttons[0].sizeHint()
    assert not rail.grab().isNull()
    qtbot.mouseClick(rail.buttons[1], Qt.MouseButton.LeftButton)
    assert chosen == [2, 1]
    assert rail.buttons[1].toolTip().endswith("as it is")
    font = rail.buttons[0].font()
    font.setPointSizeF(font.pointSizeF() * 1.5)
    rail.buttons[0].setFont(font)
    assert rail.buttons[0].sizeHint().width() > before.width()


def test_numbers_change_without_a_new_layout_of_the_window(qtbot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    row = QHBoxLayout(window)
    value, readings = ValueLabel(8), Readings()
    row.addWidget(value)
    row.addWidget(readings, 1)
    window.resize(400, 60)
    window.show()
    qtbot.waitExposed(window)
    qtbot.wait(50)  # the first layout
    requests: list[QEvent.Type] = []

    class Watch(QObject):
        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
                requests.append(event.type())
            return False

    watch = Watch()
    window.installEventFilter(watch)
    empty = window.grab().toImage()
    value.set_text("a far longer number 123456789")
    readings.set_readings([Reading("0.5", "training", QColor("red")), Reading("0.4", "evaluation", QColor("blue"))])
    qtbot.wait(20)
    assert requests == []
    assert window.grab().toImage() != empty
    assert readings.text() == "training 0.5  evaluation 0.4"
    assert readings.accessibleName() == readings.text()
    assert value.text().startswith("a far")


def test_where_room_is_short_the_numbers_go_before_the_names_of_the_curves(qtbot) -> None:
    readings = Readings()
    qtbot.addWidget(readings)
    readings.set_readings([Reading(f"{number}.123", name, QColor("red")) for number, name in enumerate(("MLM", "NSP"))])
    readings.resize(1000, 20)
    assert [item.value for item in readings.shown()] == ["0.123", "1.123"]
    all_of_it = round(readings._total(readings.shown()))
    readings.resize(all_of_it - 2, 20)
    assert [(item.name, item.value) for item in readings.shown()] == [("MLM", "0.123"), ("NSP", "")]
    names = round(readings._total([Reading("", name, QColor("red")) for name in ("MLM", "NSP")]))
    readings.resize(names + 1, 20)
    assert [(item.name, item.value) for item in readings.shown()] == [("MLM", ""), ("NSP", "")]
    readings.resize(names - 2, 20)
    assert [(item.name, item.value) for item in readings.shown()] == [("MLM", "")]


def test_a_choice_that_is_too_long_ends_in_an_ellipsis(qtbot) -> None:
    box = QuietCombo("Run", "Every training is kept", None)
    qtbot.addWidget(box)
    box.addItems(["A long title of a run that goes on and on", "A long title of a run that goes elsewhere"])
    box.resize(110, 26)
    box.show()
    first = box.grab().toImage()
    box.setCurrentIndex(1)
    assert box.grab().toImage() == first
    box.resize(600, 26)
    wide = box.grab().toImage()
    box.setCurrentIndex(0)
    assert box.grab().toImage() != wide


def test_the_words_of_an_empty_chart_follow_the_colours(qtbot, qapp) -> None:
    before = qapp.palette()
    chart = LiveChart("Loss", [Series("loss", "loss", 0)], str, tip="How wrong the model is")
    qtbot.addWidget(chart)
    chart.resize(300, 200)
    chart.show()
    chart.refresh()
    for dark in (True, False):
        palette = theme.build_palette(dark=dark)
        qapp.setPalette(palette)
        qapp.setStyleSheet(f"QLabel {{ margin: {int(dark)}px }}")
        qtbot.wait(20)
        corner = chart.grab().toImage().pixelColor(20, 180)
        assert corner == theme.chart_colours(palette).background
    qapp.setStyleSheet("")
    qapp.setPalette(before)
    chart.shutdown()


def test_a_button_shortens_its_text_and_tells_all(qtbot) -> None:
    button = ElidedButton()
    qtbot.addWidget(button)
    button.setText("A long sentence that has no room here at all")
    button.resize(80, 30)
    button.show()
    narrow = button.grab().toImage()
    button.setText("A long sentence that goes on quite differently")
    assert button.toolTip() == button.text()
    assert button.grab().toImage() == narrow  # the ellipsis is in place of what differs


def test_scaled_fonts_follow_the_size_of_the_text(qtbot) -> None:
    from lmstudio_app.gui.theme import Theme
    from lmstudio_app.gui.widgets.empty_state import EmptyState
    from lmstudio_app.settings import Settings

    app = QApplication.instance()
    look = Theme(app, Settings())
    row = FigureRow([("loss", "Loss", "How wrong it is")])
    empty = EmptyState()
    for widget in (row, empty):
        qtbot.addWidget(widget)
    figure = row.figures["loss"]
    try:
        for size in (6, 0):
            look.set_text_size(size)
            points = app.font().pointSizeF()
            qtbot.waitUntil(lambda: figure._value.font().pointSizeF() == pytest.approx(points * 1.15))  # noqa: B023
            assert figure._caption.font().pointSizeF() == pytest.approx(points * 0.85)
            assert empty.title.font().pointSizeF() == pytest.approx(points * 1.35)
    finally:
        look.set_text_size(0)
        app.setStyleSheet("")
