import numpy as np
import pytest

from lmstudio_app.events import CheckpointSaved, Evaluated, Failed, Finished, StepLogged
from lmstudio_app.gui.curves import RunCurves, Smoother, decimate, thin


def step(number: int, loss: float = 0.5) -> StepLogged:
    return StepLogged(
        time=100.0 + number,
        step=number,
        total_steps=1000,
        epoch=number / 100,
        loss=loss,
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens_per_second=1000.0,
        examples_per_second=100.0,
        memory=10**9,
    )


def evaluated(number: int, accuracy: float = 0.8) -> Evaluated:
    return Evaluated(step=number, epoch=number / 100, metrics={"loss": 0.4, "accuracy": accuracy})


def test_columns_grow_with_the_events() -> None:
    curves = RunCurves()
    curves.extend(step(n, loss=1 / n) for n in range(1, 1001))
    assert curves.x("step").tolist() == list(range(1, 1001))
    assert curves.x("epoch")[-1] == 10.0
    np.testing.assert_array_equal(curves.steps.column("loss"), 1 / np.arange(1, 1001))
    assert curves.last_step is not None
    assert (curves.first_time, curves.last_time) == (101.0, 1100.0)


def test_evaluations_and_checkpoints_are_kept_apart() -> None:
    curves = RunCurves()
    curves.extend([step(10), evaluated(10, 0.7), CheckpointSaved(step=10, path="x"), step(20), evaluated(20, 0.9)])
    assert curves.metric_names == ["accuracy"]
    x, y = curves.evaluated("accuracy", "step")
    assert (x.tolist(), y.tolist()) == ([10, 20], [0.7, 0.9])
    assert curves.evaluated("f1", "step")[0].tolist() == []
    assert curves.checkpoint_x("step").tolist() == [10]
    assert curves.checkpoint_x("epoch").tolist() == [pytest.approx(0.1)]


def test_steps_that_are_trained_again_replace_the_old_ones() -> None:
    curves = RunCurves()
    curves.extend([step(n) for n in (5, 10, 15)] + [evaluated(10), evaluated(15), CheckpointSaved(step=10, path="")])
    curves.extend([Finished(state="interrupted"), step(15, loss=0.1), step(20)])
    assert curves.x("step").tolist() == [5, 10, 15, 20]
    assert curves.steps.column("loss")[2] == 0.1
    assert [e.step for e in curves.evaluations] == [10]
    assert curves.checkpoints == [10]
    assert curves.finished is None


def test_the_end_of_a_run_is_known() -> None:
    curves = RunCurves()
    curves.extend([step(1), Failed(message="Bad.")])
    assert curves.failed is not None
    curves.extend([step(2), Finished(state="finished")])
    assert curves.failed is None
    assert curves.finished is not None


def plain_average(values: list[float], weight: float) -> list[float]:
    result = []
    for i in range(len(values)):
        pairs = [(weight ** (i - j), values[j]) for j in range(i + 1) if np.isfinite(values[j])]
        total = sum(w for w, _ in pairs)
        result.append(sum(w * v for w, v in pairs) / total if total else np.nan)
    return result


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.9, 0.99])
def test_smoothing_is_its_formula_however_the_column_grows(weight: float) -> None:
    values = np.random.default_rng(0).normal(size=700)
    values[[0, 13, 300]] = np.nan
    smoother = Smoother(weight)
    for end in (1, 2, 255, 256, 257, 600, 700):
        got = smoother.update(values[:end])
    np.testing.assert_allclose(got, plain_average(list(values), weight), rtol=1e-9)


def test_smoothing_starts_anew_when_the_column_was_cut() -> None:
    smoother = Smoother(0.9)
    smoother.update(np.arange(100.0))
    np.testing.assert_allclose(smoother.update(np.ones(10)), np.ones(10))


def test_a_constant_stays_what_it_is() -> None:
    np.testing.assert_allclose(Smoother(0.99).update(np.full(1000, 3.0)), 3.0)


@pytest.mark.parametrize("kind", ["noise", "plateaus", "spike", "nan"])
def test_decimating_keeps_the_picture(kind: str) -> None:
    count = 50_000
    x = np.arange(count, dtype=float)
    y = np.random.default_rng(0).normal(size=count)
    if kind == "plateaus":
        y = np.round(y)
    if kind == "spike":
        y[:] = 0.0
        y[31_337] = 9.0
    if kind == "nan":
        y[::2] = np.nan
    short_x, short_y = decimate(x, y, 1000)
    assert len(short_x) <= 1002
    assert np.all(np.diff(short_x) > 0)
    assert np.isfinite(short_y).all()
    assert (short_y.min(), short_y.max()) == (np.nanmin(y), np.nanmax(y))
    assert short_x[0] <= 1
    assert short_x[-1] >= count - 2
    np.testing.assert_array_equal(short_y, y[short_x.astype(int)])


def test_few_points_are_left_alone() -> None:
    x, y = np.arange(5.0), np.array([1, np.nan, 3, 4, 5])
    assert decimate(x, y, 100)[1] is y
    assert thin(x, y, 100)[1] is y


def test_thinning_keeps_the_last_point() -> None:
    x = np.arange(1003.0)
    short, _ = thin(x, x, 100)
    assert len(short) <= 102
    assert (short[0], short[-1]) == (0, 1002)
