import numpy as np
import pytest

from lmstudio_app.events import CheckpointSaved, Evaluated, Failed, Finished, StepLogged
from lmstudio_app.gui.curves import RunCurves, Smoother, decimate, thin
from lmstudio_app.gui.metrics import group_title, metric_groups, metric_help, metric_text, metric_title
from lmstudio_app.gui.sample_history import BUDGET
from lmstudio_app.gui.widgets.live_chart import logarithmic_ticks


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


def writes(number: int, output: str, **metrics: float) -> Evaluated:
    samples = [{"input": f"row {row} " * 20, "reference": "right", "output": output} for row in range(50)]
    return Evaluated(
        step=number, epoch=number / 100, metrics={"loss": 0.4, "bleu": 20.0} | metrics, details={"samples": samples}
    )


def test_a_long_run_with_samples_takes_little_memory() -> None:
    curves = RunCurves(task="translation")
    for number in range(1, 401):
        curves.extend([writes(number, f"after {number} " * 30)])
    steps = curves.samples.steps
    assert (steps[0], steps[-1]) == (1, 400)
    assert 4 < len(steps) < 40
    size = sum(len(sample.output) for step in steps for sample in curves.samples.at(step))
    assert size <= BUDGET
    assert all(not event.details for event in curves.evaluations[:-1])
    inputs = {id(sample.input) for step in steps for sample in curves.samples.at(step)}
    assert len(inputs) == 50
    assert curves.samples.at(400)[0].output.startswith("after 400")


def test_samples_of_steps_that_are_trained_again_are_replaced() -> None:
    curves = RunCurves()
    curves.extend([step(5), writes(5, "five"), step(10), writes(10, "ten"), step(6)])
    assert curves.samples.steps == (5,)
    curves.extend([writes(10, "again")])
    assert curves.samples.at(10)[0].output == "again"


def test_the_outcome_is_the_evaluation_of_the_weights_that_were_kept() -> None:
    def judged(number: int, accuracy: float) -> Evaluated:
        metrics = {"loss": 0.4, "accuracy": accuracy}
        return Evaluated(step=number, epoch=1.0, metrics=metrics, details={"worst": [number]})

    curves = RunCurves(task="sentiment")
    curves.extend([judged(1, 0.7), judged(2, 0.9), judged(3, 0.8)])
    assert curves.outcome is not None
    assert curves.outcome.step == 3  # nothing is kept yet
    curves.extend([Finished(state="finished", result={"metrics": {"loss": 0.4, "accuracy": 0.9}})])
    assert (curves.outcome.step, curves.outcome.details) == (2, {"worst": [2]})
    lowest = RunCurves(task="masked_lm")
    lowest.extend(Evaluated(step=n, epoch=1.0, metrics={"loss": loss}) for n, loss in ((1, 2.0), (2, 1.0), (3, 1.5)))
    assert lowest.best is not None
    assert lowest.best.step == 2


def test_metrics_of_one_scale_share_a_chart_and_the_one_that_counts_is_first() -> None:
    translation = {"perplexity": 300.0, "bleu": 0.4, "chrf": 12.0}
    assert metric_groups(translation, "chrf") == [("chrf", "bleu"), ("perplexity",)]
    pretraining = {"mlm_loss": 5.0, "mlm_accuracy": 0.2, "nsp_loss": 0.7, "nsp_accuracy": 0.6, "nsp_majority": 0.5}
    groups = metric_groups(pretraining, "loss")
    assert groups == [("mlm_accuracy", "nsp_accuracy", "nsp_majority"), ("mlm_loss", "nsp_loss")]
    assert [group_title(names) for names in groups] == ["Accuracy", "Losses"]
    assert metric_groups({"exact_match": 0.5, "f1": 0.6}, "f1") == [("f1", "exact_match")]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("f1", "F1"), ("f1_macro", "F1 macro"), ("exact_match", "Exact match"), ("bleu", "BLEU"), ("chrf", "chrF"),
        ("rouge_1", "ROUGE-1"), ("rouge_2", "ROUGE-2"), ("rouge_l", "ROUGE-L"), ("perplexity", "Perplexity"),
        ("pseudo_perplexity", "Pseudo-perplexity"), ("mlm_accuracy", "MLM accuracy"), ("mlm_loss", "MLM loss"),
        ("nsp_accuracy", "NSP accuracy"), ("nsp_loss", "NSP loss"), ("nsp_majority", "NSP baseline"),
        ("accuracy", "Accuracy"), ("loss", "Loss"),
    ],
)  # fmt: skip
def test_every_metric_has_a_name_and_is_explained(name: str, title: str) -> None:
    assert metric_title(name) == title
    assert metric_help(name) != title


def test_scores_of_one_language_are_called_by_it() -> None:
    assert metric_title("bleu_de") == "BLEU de"
    assert metric_text(0.5) == "0.5000"
    assert metric_text(34.213) == "34.21"
    assert metric_text(429.321) == metric_text(429.321, short=True) == "429.3"
    assert metric_text(1374.2, short=True) == "1374"


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.2), (20.0, 35.0), (1374.0, 1900.0), (3.0, 800.0), (1.0, 1e6)])
def test_a_logarithmic_axis_has_round_numbers(low: float, high: float) -> None:
    values = [10**tick for tick in logarithmic_ticks(np.log10(low), np.log10(high))]
    assert 3 <= len(values) <= 12
    assert all(low * 0.999 <= value <= high * 1.001 for value in values)
    assert all(float(f"{value:.2g}") == pytest.approx(value, rel=1e-9) for value in values)
