from dataclasses import dataclass, field

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QValidator, QWheelEvent
from PySide6.QtWidgets import QApplication, QCheckBox, QComboBox, QLabel, QLineEdit

from lmstudio_app.errors import UserError
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.widgets.number_edit import FloatEdit, IntegerEdit, format_number, neighbour


def option(default: object, title: str, **metadata: object) -> object:
    return field(default=default, metadata={"title": title, "help": f"About {title}.", **metadata})


@dataclass(frozen=True)
class Config:
    epochs: float = option(3.0, "Epochs", basic=True, minimum=0.01, maximum=1000)
    rate: float = option(1e-4, "Rate", basic=True, minimum=1e-8, maximum=1.0)
    size: int = option(32, "Size", basic=True, minimum=1, maximum=64)
    kind: str = option("linear", "Kind", choices=("linear", "cosine"))
    grouped: bool = option(True, "Grouped")
    name: str = option("", "Name", wide=True)
    hidden: int = 7

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise UserError("The name is bad.", "Choose another.")


@pytest.fixture
def form(qtbot) -> DataclassForm:
    form = DataclassForm({"c": Config}, {"c.kind": {"linear": ("Straight down", "A line")}})
    qtbot.addWidget(form)
    form.show()
    return form


def test_the_form_begins_with_the_defaults_and_leaves_out_what_has_no_title(form: DataclassForm) -> None:
    assert form.config("c") == Config()
    assert set(form.values()) == {"c.epochs", "c.rate", "c.size", "c.kind", "c.grouped", "c.name"}
    assert form.is_default()


def test_types_choose_the_editors(form: DataclassForm) -> None:
    kinds = {"epochs": FloatEdit, "rate": FloatEdit, "size": IntegerEdit, "kind": QComboBox, "grouped": QCheckBox}
    for name, kind in {**kinds, "name": QLineEdit}.items():
        assert isinstance(form.editor(f"c.{name}"), kind)


def test_a_wide_field_has_a_line_of_its_own_and_shows_its_beginning(form: DataclassForm, qtbot) -> None:
    form.advanced.set_open(True)
    wide, narrow = form.editor("c.name"), form.editor("c.kind")
    qtbot.waitUntil(lambda: wide.width() > narrow.width())
    assert wide.mapTo(form, QPoint(0, 0)).x() < narrow.mapTo(form, QPoint(0, 0)).x()
    form.set_values({"c.name": "a long text " * 20})
    assert wide.cursorPosition() == 0


def test_help_is_tooltip_accessible_and_visible(form: DataclassForm) -> None:
    editor = form.editor("c.epochs")
    assert (editor.toolTip(), editor.accessibleName()) == ("About Epochs.", "Epochs")
    assert editor.accessibleDescription() == "About Epochs."
    assert any(label.text() == "About Epochs." and label.isVisible() for label in form.findChildren(QLabel))


def test_only_basic_fields_show_until_advanced_is_opened(form: DataclassForm, qtbot) -> None:
    assert form.editor("c.size").isVisible()
    assert not form.editor("c.kind").isVisible()
    qtbot.mouseClick(form.advanced.button, Qt.MouseButton.LeftButton)
    assert form.editor("c.kind").isVisible()
    qtbot.keyClick(form.advanced.button, Qt.Key.Key_Space)
    assert not form.editor("c.kind").isVisible()


def test_choices_have_titles_and_tooltips(form: DataclassForm) -> None:
    combo = form.editor("c.kind")
    assert isinstance(combo, QComboBox)
    assert [combo.itemText(i) for i in range(combo.count())] == ["Straight down", "cosine"]
    assert combo.itemData(0, Qt.ItemDataRole.ToolTipRole) == "A line"


def test_typing_changes_the_config(form: DataclassForm, qtbot) -> None:
    changes = []
    form.changed.connect(lambda: changes.append(form.config("c")))
    rate = form.editor("c.rate")
    rate.setFocus()
    rate.selectAll()
    qtbot.keyClicks(rate.lineEdit(), "5e-5")
    assert form.config("c").rate == 5e-5
    assert changes[-1].rate == 5e-5
    assert not form.is_default()
    form.reset()
    assert form.config("c") == Config()


def test_values_go_in_and_out(form: DataclassForm) -> None:
    wanted = {"c.epochs": 1.5, "c.size": 8, "c.kind": "cosine", "c.grouped": False, "c.name": "x", "c.rate": 0.01}
    form.set_values(wanted)
    assert form.values() == wanted
    assert form.config("c") == Config(1.5, 0.01, 8, "cosine", False, "x")


def test_values_of_an_old_file_that_do_not_fit_are_passed_over(form: DataclassForm) -> None:
    form.set_values({"c.kind": "gone", "c.size": "many", "c.epochs": None, "c.unknown": 3, "c.name": "kept"})
    assert form.config("c") == Config(name="kept")
    form.set_values({"c.size": 10_000})
    assert form.config("c").size == 64


def test_the_checks_of_the_dataclass_are_its_own(form: DataclassForm) -> None:
    form.set_values({"c.name": "bad"})
    with pytest.raises(UserError, match="The name is bad"):
        form.config("c")


def test_the_wheel_scrolls_the_form_and_not_the_numbers(form: DataclassForm, qtbot) -> None:
    form.setFocus()
    for name in ("c.size", "c.epochs", "c.kind"):
        editor = form.editor(name)
        editor.clearFocus()
        before = form.values()
        down = QWheelEvent(
            QPointF(5, 5),
            QPointF(5, 5),
            QPoint(0, -10),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(editor, down)
        assert form.values() == before
        assert not down.isAccepted()


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (5.5e-5, "5.5e-5"), (0.001, "0.001"), (0.1, "0.1"), (3.0, "3"), (0.0, "0"), (1e7, "1e7")],
)
def test_numbers_are_written_as_people_write_them(value: float, text: str) -> None:
    assert format_number(value) == text
    assert float(text) == value


def test_arrows_walk_through_one_two_five() -> None:
    assert [neighbour(1e-4, 1), neighbour(2e-4, 1), neighbour(5e-4, 1)] == pytest.approx([2e-4, 5e-4, 1e-3])
    assert [neighbour(1e-4, -1), neighbour(3e-4, -1)] == pytest.approx([5e-5, 2e-4])


def test_arrow_keys_step_a_logarithmic_and_a_plain_number(form: DataclassForm, qtbot) -> None:
    rate, epochs = form.editor("c.rate"), form.editor("c.epochs")
    qtbot.keyClick(rate, Qt.Key.Key_Up)
    assert form.config("c").rate == pytest.approx(2e-4)
    qtbot.keyClick(epochs, Qt.Key.Key_Down)
    assert form.config("c").epochs == pytest.approx(2.0)


def test_a_number_beyond_its_limits_is_not_taken(form: DataclassForm, qtbot) -> None:
    rate = form.editor("c.rate")
    assert isinstance(rate, FloatEdit)
    rate.selectAll()
    qtbot.keyClicks(rate.lineEdit(), "7")
    assert form.config("c").rate == 1e-4
    qtbot.keyClick(rate, Qt.Key.Key_Return)
    assert rate.lineEdit().text() == "1e-4"


@pytest.mark.parametrize(
    ("text", "state"),
    [("1e-4", "Acceptable"), ("1e-", "Intermediate"), ("", "Intermediate"), ("abc", "Invalid"), ("0,5", "Acceptable")],
)
def test_half_a_number_may_be_typed(qtbot, text: str, state: str) -> None:
    edit = FloatEdit(1e-8, 1.0)
    qtbot.addWidget(edit)
    assert edit.validate(text, 0)[0] == QValidator.State[state]


@dataclass(frozen=True)
class Inner:
    size: int = option(8, "Inner size", basic=True, minimum=1, maximum=100)


@dataclass(frozen=True)
class Method:
    name: str = option("plain", "Method", basic=True, choices=("plain", "thin"))
    rank: int = option(4, "Rank", basic=True, minimum=1, maximum=64, only=("thin",))
    scale: float = option(2.0, "Scale", minimum=0.1, maximum=9.0, only=("thin",))
    inner: Inner = Inner()


@pytest.fixture
def methods(qtbot) -> DataclassForm:
    form = DataclassForm(
        {"c": Config, "m": Method},
        {"m.name": {"plain": ("Plain", "Nothing special"), "thin": ("Thin", "Two matrices")}},
        titles={"m": "Method", "m.inner": "Inside"},
        recommended={"m.inner.size": 16, "c.epochs": 5.0},
    )
    qtbot.addWidget(form)
    form.show()
    return form


def test_a_dataclass_in_a_dataclass_is_a_section_of_its_own(methods: DataclassForm) -> None:
    assert methods.values()["m.inner.size"] == 16
    assert methods.config("m") == Method(inner=Inner(16))
    headings = [label.text() for label in methods.findChildren(QLabel) if label.isVisible()]
    assert {"Method", "Inside"} <= set(headings)


def test_fields_are_shown_where_they_mean_something(methods: DataclassForm) -> None:
    rank, scale = methods.editor("m.rank"), methods.editor("m.scale")
    methods.set_values({"m.rank": 9})
    assert not rank.isVisible()
    assert methods.config("m").rank == 4  # what means nothing is not in the recipe
    top = methods.editor("m.name").mapTo(methods, QPoint(0, 0))
    methods.set_values({"m.name": "thin"})
    QApplication.processEvents()
    assert methods.editor("m.name").mapTo(methods, QPoint(0, 0)) == top
    assert rank.isVisible()
    assert not scale.isVisible()  # folded
    methods.advanced.set_open(True)
    assert scale.isVisible()
    assert methods.config("m").rank == 9
    methods.set_values({"m.name": "plain"})
    assert not scale.isVisible()
    assert methods.values()["m.rank"] == 9  # and is remembered


def test_the_chosen_one_is_explained_below_the_choice(methods: DataclassForm) -> None:
    def shown() -> set[str]:
        return {label.text() for label in methods.findChildren(QLabel) if label.isVisible()}

    assert "Nothing special" in shown()
    methods.set_values({"m.name": "thin"})
    assert "Two matrices" in shown()
    assert "Nothing special" not in shown()


def test_recommended_values_are_the_defaults(methods: DataclassForm) -> None:
    assert methods.is_default()
    assert methods.values()["c.epochs"] == 5.0
    methods.set_values({"c.epochs": 1.0})
    methods.reset()
    assert methods.values()["c.epochs"] == 5.0


def test_another_section_leaves_the_values_of_the_others(methods: DataclassForm) -> None:
    methods.set_values({"c.epochs": 1.0, "m.name": "thin"})
    heard = []
    methods.changed.connect(lambda: heard.append(1))
    methods.replace_section("c", Inner, "Other", {"c.size": 3})
    assert heard == []
    assert methods.config("c") == Inner(3)
    assert methods.values()["m.name"] == "thin"
    assert "c.epochs" not in methods.values()
    methods.reset()
    assert methods.config("m").inner == Inner(8)  # nothing is recommended for it any more


def test_a_choice_can_offer_less_than_the_field_allows(qtbot) -> None:
    form = DataclassForm({"m": Method}, choices={"m.name": ("thin",)})
    qtbot.addWidget(form)
    combo = form.editor("m.name")
    assert isinstance(combo, QComboBox)
    assert combo.count() == 1
    assert form.config("m").name == "thin"


def test_the_keyboard_goes_from_field_to_field_in_the_order_of_the_form(methods: DataclassForm) -> None:
    methods.replace_section("c", Inner, "Other")
    methods.activateWindow()
    order = [methods.editor(name) for name in ("c.size", "m.name", "m.inner.size")]
    found, widget = [], methods.nextInFocusChain()
    for _ in range(200):
        if widget in order and widget not in found:
            found.append(widget)
        widget = widget.nextInFocusChain()
    start = found.index(order[0])
    assert found[start:] + found[:start] == order
