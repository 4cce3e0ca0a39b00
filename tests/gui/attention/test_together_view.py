"""All heads as one map, and the charts of heads by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtTest import QTest

from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.attention.together_charts import LayerChart
from lmstudio_app.gui.attention.together_view import TogetherView
from lmstudio_app.inspection import flow
from lmstudio_app.inspection.aggregates import AggregateRequest, read_aggregate
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.reading import ReadingRequest, read_text
from lmstudio_app.jobs import JobContext

TEXT = "the film was not very good"

Made = tuple[TogetherView, AttentionStudio]


@pytest.fixture
def make_view(qtbot: Any, make_studio: Callable[..., AttentionStudio]) -> Iterator[Callable[..., Made]]:
    views: list[TogetherView] = []

    def make(text: str | None = TEXT) -> Made:
        studio = make_studio(text)
        view = TogetherView(studio)
        qtbot.addWidget(view)
        views.append(view)
        view.resize(640, 620)
        view.show()
        if text is not None:
            settle(qtbot, view)
        return view, studio

    yield make
    for view in views:
        view.shutdown()


def settle(qtbot: Any, view: TogetherView) -> None:
    qtbot.waitUntil(
        lambda: not view.asker.busy and not view.controls._rest.isActive() and view.together is not None, timeout=20_000
    )


def shown(view: TogetherView) -> np.ndarray:
    return view.together.aggregate.weights


def expected(encoder: Any, method: str, text: str = TEXT, **options: Any) -> np.ndarray:
    return read_aggregate(AggregateRequest(encoder, AttentionRequest(text), method, **options), JobContext()).weights


def test_each_method_is_shown_with_its_explanation(qtbot: Any, make_view: Callable[..., Made], encoder: Any) -> None:
    view, _ = make_view()
    texts = set()
    for method in ("mean", "max", "rollout", "flow"):
        view.controls.methods.buttons[method].click()
        settle(qtbot, view)
        np.testing.assert_allclose(shown(view), expected(encoder, method), atol=1e-6)
        np.testing.assert_array_equal(view.heatmap._weights, shown(view))
        assert view.controls.layers.text() == "all layers"
        assert view.controls.token.isVisible() == (method == "flow")
        texts.add(view.controls.explanation.text())
    assert len(texts) == 4
    assert sum("Abnar and Zuidema 2020" in text for text in texts) == 2


def test_the_slider_chooses_a_layer_or_how_far_up(qtbot: Any, make_view: Callable[..., Made], encoder: Any) -> None:
    view, _ = make_view()
    slider = view.controls.slider
    assert (slider.maximum(), slider.value()) == (2, 2)
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_Left)
    settle(qtbot, view)
    assert view.controls.layers.text() == "layer 1 only"
    np.testing.assert_allclose(shown(view), expected(encoder, "mean", layer=1), atol=1e-6)
    qtbot.keyClick(slider, Qt.Key.Key_Home)
    settle(qtbot, view)
    view.controls.methods.buttons["rollout"].click()
    settle(qtbot, view)
    assert (slider.maximum(), slider.value()) == (1, 0)
    assert view.controls.layers.text() == "up to layer 0"
    np.testing.assert_allclose(shown(view), expected(encoder, "rollout", layer=0), atol=1e-6)
    qtbot.keyClick(slider, Qt.Key.Key_End)
    settle(qtbot, view)
    assert view.controls.layers.text() == "all layers"
    np.testing.assert_allclose(shown(view), expected(encoder, "rollout"), atol=1e-6)


def test_flow_can_start_from_one_token(qtbot: Any, make_view: Callable[..., Made], encoder: Any) -> None:
    view, studio = make_view()
    view.controls.methods.buttons["flow"].click()
    settle(qtbot, view)
    assert view.controls.token.itemText(3) == "From 2: film"
    view.controls.token.setCurrentIndex(3)
    settle(qtbot, view)
    np.testing.assert_allclose(shown(view), expected(encoder, "flow", token=2), atol=1e-6)
    view.heatmap.keep((0, 4))
    assert studio.cell == (2, 4)
    studio.choose_cell((5, 1))  # of another row
    assert view.heatmap.kept is None
    studio.choose_cell((2, 1))
    assert view.heatmap.kept == (0, 1)


def test_a_cell_is_read_off_and_shared(qtbot: Any, make_view: Callable[..., Made]) -> None:
    view, studio = make_view()
    scene = view.heatmap._box.mapViewToScene(QPointF(4.5, 1.5))
    QTest.mouseMove(view.heatmap.view.viewport(), view.heatmap.view.mapFromScene(scene))
    assert view.readout.text() == f"“the” looks at “not” with weight {shown(view)[1, 4]:.4f} on average"
    studio.choose_cell((3, 2))
    assert view.heatmap.kept == (3, 2)
    view.heatmap.keep((2, 5))
    assert studio.cell == (2, 5)


def test_the_look_is_obeyed_without_reading_again(qtbot: Any, make_view: Callable[..., Made]) -> None:
    view, studio = make_view()
    before = view.together.aggregate
    studio.change_look(hide_special=True, scale="log", colormap="viridis")
    settle(qtbot, view)
    assert view.together.aggregate is before
    assert view.together.shaded.arranged.keys.labels == ("the", "film", "was", "not", "very", "good")
    assert view.together.shaded.scaled.scale == "log"
    view.heatmap.keep((0, 0))
    assert studio.cell == (1, 1)
    studio.change_look(scale="difference")  # from what? it is drawn as a head
    settle(qtbot, view)
    assert view.together.shaded.scaled.scale == "head"


def test_a_flow_that_is_too_long_says_so_in_its_place(
    qtbot: Any, make_view: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    view, _ = make_view()
    monkeypatch.setattr(flow, "WORK_LIMIT", 2 * 7**4)
    view.controls.methods.buttons["flow"].click()
    qtbot.waitUntil(lambda: view.state.isVisible() and not view.asker.busy, timeout=10_000)
    assert "the limit is 7" in view.state.text()
    assert "one token" in view.state.text()
    view.controls.token.setCurrentIndex(1)
    settle(qtbot, view)
    assert view.heatmap.isVisible()
    assert shown(view).shape == (1, 8)


def test_putting_together_can_be_stopped_and_begun_again(qtbot: Any, make_view: Callable[..., Made]) -> None:
    view, studio = make_view()
    view.controls.methods.buttons["flow"].click()
    settle(qtbot, view)
    longer = " ".join([TEXT] * 9)  # a flow of seconds
    studio.set_reading(read_text(ReadingRequest(studio.reading.loaded, AttentionRequest(longer)), JobContext()))
    qtbot.waitUntil(view.stop.isVisible, timeout=5000)
    qtbot.waitUntil(lambda: "flows" in view.state.text(), timeout=5000)
    view.stop.click()
    qtbot.waitUntil(view.again.isVisible, timeout=5000)
    assert view.state.text() == "Stopped."
    view.controls.token.setCurrentIndex(1)
    settle(qtbot, view)
    assert shown(view).shape == (1, 56)


def test_it_reads_only_while_it_is_seen(qtbot: Any, make_view: Callable[..., Made], encoder: Any) -> None:
    view, studio = make_view()
    view.hide()
    studio.set_reading(read_text(ReadingRequest(encoder, AttentionRequest("good food")), JobContext()))
    assert not view.asker.busy
    assert view.together is None
    view.show()
    settle(qtbot, view)
    np.testing.assert_allclose(shown(view), expected(encoder, "mean", "good food"), atol=1e-6)
    studio.set_reading(None)
    assert view.state.text() == ""


def test_without_a_text_it_waits(make_view: Callable[..., Made]) -> None:
    view, _ = make_view(None)
    assert not view.heatmap.isVisible()
    assert not view.again.isVisible()


def test_the_method_is_remembered(qtbot: Any, make_view: Callable[..., Made]) -> None:
    view, _ = make_view()
    view.controls.methods.buttons["rollout"].click()
    settle(qtbot, view)
    again, _ = make_view()
    assert again.controls.method == "rollout"
    assert again.together.aggregate.method == "rollout"


def test_between_two_texts_only_mean_and_largest_are_offered(qtbot: Any, make_view: Callable[..., Made]) -> None:
    view, studio = make_view()
    view.controls.methods.buttons["rollout"].click()
    settle(qtbot, view)
    reading = studio.reading
    crossing = replace(reading, prepared=replace(reading.prepared, kind="cross"))
    view.controls.set_reading(crossing)
    assert view.controls.method == "mean"
    assert not view.controls.methods.buttons["flow"].isEnabled()
    assert "two texts" in view.controls.methods.buttons["rollout"].toolTip()
    view.controls.set_reading(reading)
    assert view.controls.method == "rollout"


def test_of_a_model_that_looks_back_it_warns_of_the_first_token(
    qtbot: Any, make_view: Callable[..., Made], decoder: Any
) -> None:
    view, studio = make_view()
    view.controls.methods.buttons["rollout"].click()
    assert "lead nearly all to the first" not in view.controls.explanation.text()
    studio.set_reading(read_text(ReadingRequest(decoder, AttentionRequest(TEXT)), JobContext()))
    settle(qtbot, view)
    assert "lead nearly all to the first" in view.controls.explanation.text()
    np.testing.assert_allclose(np.triu(shown(view), k=1), 0, atol=1e-7)


def dot(chart: LayerChart, row: int, value: float) -> QPoint:
    scene = chart.plot.getPlotItem().getViewBox().mapViewToScene(QPointF(row, value))
    return chart.plot.mapFromScene(scene)


def test_charts_show_every_head_and_choose_one(qtbot: Any, make_view: Callable[..., Made]) -> None:
    view, studio = make_view()
    table = studio.reading.overview.statistics
    for chart, name in ((view.entropy, "entropy"), (view.distance, "distance")):
        values = [[getattr(head, name) for head in heads] for heads in table]
        x, y = chart._dots.getData()
        assert list(x) == [0.0] * 4 + [1.0] * 4
        np.testing.assert_allclose(y, np.ravel(values))
        np.testing.assert_allclose(chart._line.getData()[1], np.mean(values, axis=1))
        order = sorted(range(4), key=lambda head, row=values[1]: row[head])
        top = order[-1]
        spot = dot(chart, 1, values[1][top])
        QTest.mouseMove(chart.plot.viewport(), spot)
        assert chart.readout.text().startswith(f"1·{top}: ")
        qtbot.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton, pos=spot)
        assert (studio.layer, studio.head) == (1, top)
        assert chart._ring.getData()[1][0] == pytest.approx(values[1][top])
        qtbot.keyClick(chart, Qt.Key.Key_Down)
        assert (studio.layer, studio.head) == (1, order[-2])
        qtbot.keyClick(chart, Qt.Key.Key_Left)
        assert (studio.layer, studio.head) == (0, order[-2])
        qtbot.keyClick(chart, Qt.Key.Key_Left)
        assert studio.layer == 0
    assert view.entropy.place_at(QPointF(0, 0)) is None
