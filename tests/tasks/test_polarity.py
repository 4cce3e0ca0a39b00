"""Which labels are negative and positive, and the neutral band between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.outputs import Label
from lmstudio_app.tasks.polarity import is_neutral, polarity_of, positive_share, two_sided
from lmstudio_app.tasks.sentiment import JUDGE, JudgeOptions, with_band
from tests.conftest import build_tiny_bert


@pytest.mark.parametrize(
    ("labels", "signs"),
    [
        (("negative", "positive"), "-+"),
        (("POSITIVE", "NEGATIVE"), "+-"),
        (("NEG", "NEU", "POS"), "-0+"),
        (("LABEL_0", "LABEL_1"), "-+"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), "-0+"),
        (("0", "1"), "-+"),
        (("-1", "0", "1"), "-0+"),
        (("1 star", "2 stars", "3 stars", "4 stars", "5 stars"), "--0++"),
        (("1", "2", "3", "4", "5"), "--0++"),
        (("one star", "two stars", "three stars", "four stars", "five stars"), "--0++"),
        (("1星", "2星", "3星", "4星", "5星"), "--0++"),
        (("very negative", "negative", "neutral", "positive", "very positive"), "--0++"),
        (("消极", "积极"), "-+"),
        (("负面", "中性", "正面"), "-0+"),
        (("差评", "好评"), "-+"),
        (("négatif", "positif"), "-+"),
        (("bad", "good"), "-+"),
        (("spam", "ham"), ""),
        (("negative", "sports"), ""),
        (("positive", "neutral"), ""),
        (("1", "3"), ""),
        (("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"), ""),
        (("contradiction", "neutral", "entailment"), ""),
        ((), ""),
    ],
)
def test_labels_are_told_apart(labels: tuple[str, ...], signs: str) -> None:
    names = {"-": "negative", "0": "neutral", "+": "positive"}
    assert polarity_of(labels) == dict(zip(labels if signs else (), (names[sign] for sign in signs), strict=True))


def test_only_two_sides_have_a_band_between() -> None:
    assert two_sided(("POSITIVE", "NEGATIVE")) == ("NEGATIVE", "POSITIVE")
    assert two_sided(("negative", "neutral", "positive")) is None
    assert two_sided(("spam", "ham")) is None
    assert two_sided(()) is None


def test_the_band_grows_around_the_middle() -> None:
    """A wider band calls everything neutral that a narrower one does, and more."""
    shares = [number / 200 for number in range(201)]
    before: set[float] = set()
    for width in range(0, 11):
        band = width / 10
        neutral = {share for share in shares if is_neutral(share, band)}
        assert before <= neutral
        assert neutral == {share for share in shares if abs(share - 0.5) < band / 2}
        before = neutral
    assert not any(is_neutral(share, 0.0) for share in shares)
    assert before == set(shares) - {0.0, 1.0}


def test_the_scores_stay_the_models_own() -> None:
    label = Label("POSITIVE", {"POSITIVE": 0.55, "NEGATIVE": 0.45})
    assert with_band(label, 0.2) == Label("neutral", label.scores)
    assert with_band(label, 0.05) == label
    three = Label("neg", {"neg": 0.34, "neu": 0.33, "pos": 0.33})
    assert with_band(three, 1.0) == three
    # several labels at once: each has a probability of its own
    assert positive_share({"bad": 0.6, "good": 0.2}, "bad", "good") == pytest.approx(0.25)
    assert positive_share({"bad": 0.0, "good": 0.0}, "bad", "good") == 0.5


def load(folder: Path) -> LoadedModel:
    return load_model(LoadRequest(str(folder), device="cpu", precision="float32"), JobContext())


def test_the_prediction_obeys_the_band(tiny_classifier: Path) -> None:
    loaded = load(tiny_classifier)
    rows = [{"text": text} for text in ("the film was good", "bad food", "so-so", "i loved it", "never again")]
    plain = list(JUDGE.predict(loaded, rows, JobContext(), JudgeOptions()))
    assert {label.label for label in plain} <= {"negative", "positive"}
    shares = sorted(abs(label.scores["positive"] - 0.5) for label in plain)
    band = shares[1] + shares[2]  # between the second and the third nearest to the middle
    found = list(JUDGE.predict(loaded, rows, JobContext(), JudgeOptions(neutral_band=band)))
    assert [label.label == "neutral" for label in found] == [
        abs(label.scores["positive"] - 0.5) < band / 2 for label in plain
    ]
    assert sum(label.label == "neutral" for label in found) == 2
    assert [label.scores for label in found] == [label.scores for label in plain]
    with pytest.raises(UserError, match="neutral_band"):
        JudgeOptions(neutral_band=1.5)


@pytest.mark.parametrize(
    ("labels", "warned"), [(("spam", "ham"), True), (("negative", "neutral", "positive"), False), (("0", "1"), False)]
)
def test_a_band_that_does_not_fit_is_told(labels: tuple[str, ...], warned: bool, tmp_path: Path) -> None:
    loaded = load(build_tiny_bert(tmp_path / "model", labels=labels))
    events: list[Event] = []
    (found,) = JUDGE.predict(loaded, [{"text": "x"}], JobContext(events.append), JudgeOptions(neutral_band=0.9))
    warnings = [event.message for event in events if isinstance(event, Status) and event.warning]
    assert bool(warnings) is warned
    assert all("spam, ham" in text for text in warnings)
    assert (found.label == "neutral") is (labels == ("0", "1"))
