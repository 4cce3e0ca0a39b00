"""The formula of a head, its matrices linked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QMouseEvent, QPalette, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.formula_focus import Spans
from lmstudio_app.gui.attention.formula_terms import FEATURE, KEY, QUERY, VALUE, Sign
from lmstudio_app.gui.attention.formula_view import FormulaView
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.inspection import formula as formula_module
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.colormaps import diverging
from lmstudio_app.inspection.formula import FormulaRequest, explain_cell, read_formula
from lmstudio_app.inspection.reading import ReadingRequest, read_text
from lmstudio_app.jobs import JobContext

TEXT = "the film was not very good but we loved the acting"


def wait(qtbot: Any, view: FormulaView) -> None:
    qtbot.waitUntil(lambda: not view.asker.busy, timeout=20_000)


@pytest.fixture
def make_view(qtbot: Any, make_studio: Callable[..., AttentionStudio]) -> Iterator[Callable[..., FormulaView]]:
    made: list[FormulaView] = []

    def make(loaded: Any = None, text: str = TEXT) -> FormulaView:
        studio = make_studio()
        if loaded is not None:
            studio.set_reading(read_text(ReadingRequest(loaded, AttentionRequest(text)), JobContext()))
        view = FormulaView(studio)
        qtbot.addWidget(view)
        made.append(view)
        view.resize(900, 700)
        view.show()
        wait(qtbot, view)
        return view

    yield make
    for view in made:
        view.shutdown()


def move_to(widget: Any, place: QPointF) -> None:
    """Without the pointer of the test before, which Qt may tell of in between."""
    none = Qt.MouseButton.NoButton
    event = QMouseEvent(
        QEvent.Type.MouseMove, place, widget.mapToGlobal(place), none, none, Qt.KeyboardModifier.NoModifier
    )
    QApplication.sendEvent(widget, event)


def point(view: FormulaView, name: str, row: int, column: int) -> None:
    matrix = view.board.views[name]
    move_to(matrix, matrix.cell_rect(row, column).center())


def signs(view: FormulaView) -> list[str]:
    return [
        " ".join((part.text, part.below)).strip()
        for line in view.board._lines
        for part in line
        if isinstance(part, Sign)
    ]


def test_the_parts_stand_as_the_formula_reads(make_view: Callable[..., FormulaView], encoder: Any) -> None:
    view = make_view(encoder)
    found = view.formula
    assert found is not None
    assert [term.symbol for term in view.board.terms] == ["Q", "Kᵀ", "S", "A", "V", "O"]
    assert signs(view) == ["×", "÷ √8 =", "softmax (S) =", "×", "="]
    tokens = len(found.queries)
    shapes = {name: matrix.shape for name, matrix in view.board.views.items()}
    assert shapes["query"] == (tokens, 8)
    assert shapes["key"] == (8, tokens)
    assert shapes["scores"] == shapes["weights"] == (tokens, tokens)
    assert shapes["value"] == shapes["output"] == (tokens, 8)
    for line in (("query", "key", "scores"), ("weights", "value", "output")):
        boxes = [view.board.views[name].geometry() for name in line]
        assert [box.left() for box in boxes] == sorted(box.left() for box in boxes)
        assert len({(box.top(), box.height()) for box in boxes}) == 1
        assert boxes[-1].right() <= view.board.width()
    expected = read_formula(FormulaRequest(encoder, AttentionRequest(TEXT), 0, 0), JobContext())
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-6)
    assert f"{expected.largest_difference:.0e}"[0] in view.difference.text()
    assert "10⁻" in view.difference.text()
    assert "rounding" in view.difference.text()
    assert not view.earlier.isVisible()


def test_a_decoder_has_a_mask_and_shared_keys(make_view: Callable[..., FormulaView], decoder: Any) -> None:
    view = make_view(decoder)
    assert [term.symbol for term in view.board.terms] == ["Q", "Kᵀ", "S", "M", "A", "V", "O"]
    assert "softmax (S + M) =" in signs(view)
    assert "K and V (number 0) serve heads 0 to 1" in view.title.text()
    mask = view.board.views["mask"]
    assert mask.colour_at((2, 5)) != mask.colour_at((5, 2))
    assert mask.colour_at((5, 2)) == view.palette().color(QPalette.ColorRole.Base)
    point(view, "mask", 2, 5)
    assert "may not be seen" in view.cell.numbers.text()
    assert "0.0000" in view.cell.title.text()


def test_pointing_at_a_score_shows_the_product_that_made_it(
    make_view: Callable[..., FormulaView], encoder: Any
) -> None:
    view = make_view(encoder)
    found, views = view.formula, view.board.views
    assert found is not None
    for name in ("scores", "weights"):
        point(view, name, 4, 6)
        assert views["query"].marked == (4, None)
        assert views["key"].marked == (None, 6)
        assert views["scores"].marked == views["weights"].marked == (4, 6)
        assert views["value"].marked == (6, None)
        assert views["output"].marked == (4, None)
        cell = explain_cell(found, 4, 6)
        asking, offering, products = view.cell.bars.rows
        np.testing.assert_array_equal(asking.values, found.query[4])
        np.testing.assert_array_equal(offering.values, found.key[6])
        np.testing.assert_allclose(products.values, cell.products)
        assert found.queries.labels[4] in asking.name
        assert found.keys.labels[6] in offering.name
        text = view.cell.numbers.text()
        for number in (cell.dot, cell.scaled):
            assert f"{number:.3f}".replace("-", "−") in text
        assert f"{cell.row_sum:.3f}" in text
        assert f"{cell.weight:.4f}" in text
        assert f"{cell.weight:.4f}" in view.cell.title.text()
        point(view, name, 1, 1)


def test_pointing_at_a_number_of_a_query_or_of_a_bar_marks_its_product(
    qtbot: Any, make_view: Callable[..., FormulaView], encoder: Any
) -> None:
    view = make_view(encoder)
    found, views = view.formula, view.board.views
    assert found is not None
    view.board.keep(3, 5)
    point(view, "query", 2, 7)
    assert (views["query"].marked, views["key"].marked) == ((2, 7), (7, 5))
    assert view.cell.bars.marked == 7
    product = float(found.query[2, 7] * found.key[5, 7])
    assert f"{product:.3f}".replace("-", "−") in view.cell.numbers.text()
    point(view, "key", 1, 8)
    assert (views["query"].marked, views["key"].marked) == ((3, 1), (1, 8))
    bars = view.cell.bars
    move_to(bars, QPointF(bars.bar_centre(4), bars.height() / 2))
    assert (views["query"].marked, views["key"].marked) == ((3, 4), (4, 5))
    assert bars.marked == 4


def test_pointing_at_an_output_shows_the_weighted_sum(make_view: Callable[..., FormulaView], encoder: Any) -> None:
    view = make_view(encoder)
    found, views = view.formula, view.board.views
    assert found is not None
    point(view, "output", 4, 3)
    assert views["output"].marked == (4, 3)
    assert views["weights"].marked == (4, None)
    assert views["value"].marked == (None, 3)
    weights, values, products = view.cell.bars.rows
    np.testing.assert_allclose(weights.values, found.weights[4], atol=1e-6)
    np.testing.assert_allclose(values.values, found.value[:, 3], atol=1e-6)
    assert products.values.sum() == pytest.approx(found.output[4, 3], abs=1e-5)
    assert f"{found.output[4, 3]:.3f}".replace("-", "−") in view.cell.title.text()
    most = int(np.abs(products.values).argmax())
    assert found.keys.labels[most] in view.cell.numbers.text()


def test_a_click_and_the_arrow_keys_keep_a_cell_for_all_views(
    qtbot: Any, make_view: Callable[..., FormulaView], encoder: Any
) -> None:
    view = make_view(encoder)
    studio, scores = view._studio, view.board.views["scores"]
    qtbot.mouseClick(scores, Qt.MouseButton.LeftButton, pos=scores.cell_rect(2, 9).center().toPoint())
    assert studio.cell == (2, 9)
    qtbot.keyClick(view.board, Qt.Key.Key_Down)
    qtbot.keyClick(view.board, Qt.Key.Key_Left)
    assert studio.cell == (3, 8)
    assert scores.marked == (3, 8)
    studio.choose_cell((5, 1))
    assert scores.marked == (5, 1)
    assert "(5)" in view.cell.title.text()
    ruler = view.board._left["value"]
    qtbot.mouseClick(ruler, Qt.MouseButton.LeftButton, pos=QPoint(5, round(ruler.height() * 0.5)))
    assert studio.cell is not None
    assert studio.cell[0] == 5
    assert studio.cell[1] == 6


def test_another_head_or_text_is_worked_out_when_it_is_seen(
    qtbot: Any, make_view: Callable[..., FormulaView], encoder: Any
) -> None:
    view = make_view(encoder)
    studio, before = view._studio, view.formula
    studio.choose_head(1, 2)
    wait(qtbot, view)
    assert view.formula is not before
    assert view.formula is not None
    assert (view.formula.layer, view.formula.head) == (1, 2)
    assert "8 numbers a token" in view.title.text()
    view.hide()
    studio.set_reading(read_text(ReadingRequest(encoder, AttentionRequest("good food")), JobContext()))
    assert not view.asker.busy
    view.show()
    wait(qtbot, view)
    assert view.board.views["scores"].shape == (4, 4)
    studio.set_reading(None)
    assert view.formula is None
    assert "Type a text" in view.state.text()


def test_the_wheel_zooms_into_the_same_tokens_everywhere(
    qtbot: Any, make_view: Callable[..., FormulaView], encoder: Any
) -> None:
    view = make_view(encoder)
    board = view.board
    scores = board.views["scores"]
    middle = QPointF(scores.width() / 2, scores.height() / 2)
    wheel = QWheelEvent(
        middle, scores.mapToGlobal(middle), QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(scores, wheel)
    first, last = board.spans[QUERY]
    assert last - first == pytest.approx(13 * 0.75**2)
    assert board.spans[KEY] == (first, last)
    assert board.views["query"].spans == ((first, last), (0, 8))
    assert board.views["key"].spans == ((0, 8), (first, last))
    assert board.views["value"].spans[0] == (first, last)
    assert scores.place_at(middle) == (6, 6)
    qtbot.mousePress(scores, Qt.MouseButton.LeftButton, pos=middle.toPoint())
    QTest.mouseMove(scores, middle.toPoint() + QPoint(0, scores.height() // 4))
    qtbot.mouseRelease(scores, Qt.MouseButton.LeftButton, pos=middle.toPoint() + QPoint(0, scores.height() // 4))
    assert board.spans[QUERY][0] < first
    assert board.spans[KEY] == (first, last)
    qtbot.keyClick(board, Qt.Key.Key_0)
    assert board.spans[QUERY] == (0, 13)
    qtbot.keyClick(board, Qt.Key.Key_Plus)
    assert board.spans[QUERY][1] - board.spans[QUERY][0] < 13
    qtbot.mouseDClick(scores, Qt.MouseButton.LeftButton, pos=middle.toPoint())
    assert board.spans[KEY] == (0, 13)


def test_spans_stay_within_the_tokens() -> None:
    spans = Spans({QUERY: 10, KEY: 20, FEATURE: 8, VALUE: 8})
    spans.zoom(0.01, {QUERY: 9.5})
    assert spans[QUERY] == pytest.approx((5.7, 9.7))  # 9.5 stays where it was
    assert spans[KEY] == (8.0, 12.0)
    spans.move(KEY, 100)
    assert spans[KEY] == (16.0, 20.0)
    spans.reveal(KEY, 2)
    assert spans[KEY] == (2.0, 6.0)
    spans.move(FEATURE, 3)
    assert spans[FEATURE] == (0.0, 8.0)
    spans.zoom(1000, {})
    assert (spans[QUERY], spans[KEY]) == ((0.0, 10.0), (0.0, 20.0))


def test_colours_follow_the_sign_and_the_theme(qtbot: Any, make_view: Callable[..., FormulaView], encoder: Any) -> None:
    view = make_view(encoder)
    assert view.formula is not None
    scores = view.formula.scores
    least, most = (np.unravel_index(place, scores.shape) for place in (scores.argmin(), scores.argmax()))
    for dark in (False, True):
        view.setPalette(theme.build_palette(dark=dark))
        QApplication.processEvents()
        ends = [QColor(*map(int, diverging(dark)[place])) for place in (1, 255)]
        strongest = most if scores[most] > -scores[least] else least
        shown = view.board.views["scores"].colour_at((int(strongest[0]), int(strongest[1])))
        assert shown == ends[int(scores[strongest] > 0)]
        assert f"rgb({ends[0].red()}, {ends[0].green()}, {ends[0].blue()})" in view.legend.text()


def test_of_a_long_text_the_rows_around_the_marked_one_are_shown(
    qtbot: Any, make_view: Callable[..., FormulaView], encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formula_module, "CELLS", 4 * 13)
    view = make_view(encoder)
    found = view.formula
    assert found is not None
    assert found.rows == range(4)
    assert "rows 0 to 3 of 13" in view.title.text()
    assert (view.earlier.isEnabled(), view.later.isEnabled()) == (False, True)
    qtbot.mouseClick(view.later, Qt.MouseButton.LeftButton)
    wait(qtbot, view)
    assert view.formula is not None
    assert view.formula.rows == range(4, 8)
    point(view, "scores", 1, 2)
    assert "(5)" in view.cell.title.text()
    assert view.board._left["query"]._labels[1] == found.queries.labels[5]
    view._studio.choose_cell((12, 3))
    wait(qtbot, view)
    assert view.formula.rows == range(9, 13)
    assert view.board.views["scores"].marked == (3, 3)
    assert not view.later.isEnabled()


def test_small_cells_are_pooled_so_that_none_is_lost(qtbot: Any) -> None:
    from lmstudio_app.gui.attention.formula_matrix import MatrixView

    matrix = MatrixView("test")
    qtbot.addWidget(matrix)
    matrix.resize(40, 40)
    shades = np.full((400, 3), 128, dtype=np.uint8)
    shades[201, 1] = 1
    matrix.set_shades(shades, diverging(), signed=True)
    image = matrix.grab().toImage()
    colours = {image.pixelColor(20, y).name() for y in range(1, 39)}
    least = QColor(*map(int, diverging()[1])).name()
    assert least in colours
    assert least not in {image.pixelColor(5, y).name() for y in range(1, 39)}


def test_signs_and_letters_are_explained(qtbot: Any, make_view: Callable[..., FormulaView], encoder: Any) -> None:
    view = make_view(encoder)
    tips = [view.board.tip_at(area.center()) for area, _ in view.board._signs]
    assert "divided by √8" in tips[1]
    assert "add up to 1" in tips[2]
    query = view.board.views["query"]
    assert "queries" in view.board.tip_at(QPoint(query.x() + 5, 5))
    assert view.cell.isVisible()
    view.note.set_open(True)
    assert not view.cell.isVisible()  # in a low window the letters take its place
    assert "softmax" in view.note.text.text()
    view.note.set_open(False)
    assert view.cell.isVisible()


@pytest.mark.parametrize("family", ["T5", "Gemma2", "GptOss"])
def test_what_other_models_do_is_in_the_formula(
    family: str, make_view: Callable[..., FormulaView], encoder: Any
) -> None:
    import torch
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"intermediate_size": 64, "head_dim": 8, "sliding_window": 4, "vocab_size": len(encoder.tokenizer)}
    options = {
        "T5": {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_heads": 4,
            "num_layers": 2,
            "vocab_size": sizes["vocab_size"],
        },
        "Gemma2": {**sizes, "query_pre_attn_scalar": 100},
        "GptOss": {**sizes, "num_local_experts": 2, "num_experts_per_tok": 1},
    }[family]
    torch.manual_seed(1)
    model_class = "T5ForConditionalGeneration" if family == "T5" else f"{family}ForCausalLM"
    model = getattr(transformers, model_class)(getattr(transformers, f"{family}Config")(**options)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1 and family == "GptOss":
            torch.nn.init.normal_(parameter)

    class Loaded:
        tokenizer = encoder.tokenizer

    Loaded.model = model
    view = make_view(Loaded())
    shown, text = signs(view), view.cell.numbers.text()
    symbols = [term.symbol for term in view.board.terms]
    if family == "T5":
        assert symbols == ["Q", "Kᵀ", "S", "B", "A", "V", "O"]
        assert shown[1] == "× 1 ="
        assert "softmax (S + B) =" in shown
        assert "position bias" in text
    elif family == "Gemma2":
        assert symbols == ["Q", "Kᵀ", "S", "M", "A", "V", "O"]
        assert shown[1] == "× 0.1 ="
        assert "softmax (cap(S) + M) =" in shown
        assert "capped softly at ±50" in text
        assert "over 3 tokens back" in next(term.caption for term in view.board.terms if term.symbol == "M")
    else:
        tip = next(sign.tip for _, sign in view.board._signs if sign.text == "softmax")
        assert f"{view.formula.sink:.3f}".replace("-", "−") in tip
        assert "less the sink" in next(term.caption for term in view.board.terms if term.symbol == "A")
    assert "10⁻" in view.difference.text()
    assert "rounding of numbers" in view.difference.text()


def test_a_refusal_is_told(qtbot: Any, make_view: Callable[..., FormulaView], encoder: Any) -> None:
    from transformers import MPNetConfig, MPNetModel

    class Loaded:
        tokenizer = encoder.tokenizer
        model = MPNetModel(
            MPNetConfig(
                vocab_size=len(encoder.tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                intermediate_size=64, max_position_embeddings=64,
            )
        ).eval()  # fmt: skip

    view = make_view(Loaded())
    assert view.state.isVisible()
    assert "queries and keys" in view.state.text()
    assert view.formula is None
