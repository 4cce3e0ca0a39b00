import json
import math
import struct

import pytest

from lmstudio_app.events import (
    EVENT_TYPES,
    AttentionProbed,
    CheckpointSaved,
    Evaluated,
    Event,
    Failed,
    Finished,
    Progress,
    RowPredicted,
    Status,
    StepLogged,
    TextChunk,
    TrialEnded,
    from_json,
    to_json,
)

STEP = StepLogged(
    time=1700000000.123456,
    step=3,
    total_steps=10,
    epoch=0.1 + 0.2,
    loss=1 / 3,
    learning_rate=5e-324,
    grad_norm=1.7976931348623157e308,
    tokens_per_second=123.456,
    examples_per_second=7.0,
    memory=1 << 40,
    eta=None,
)
ALL: list[Event] = [
    Status(template="Loading {name}", parameters={"name": "bert", "size": 3}, warning=True),
    Progress(done=1.5, total=None, unit="B", rate=2.0, eta=0.1),
    STEP,
    Evaluated(step=1, epoch=1.0, metrics={"loss": 0.1, "f1": 0.7}, details={"confusion": [[1, 2], [3, 4]]}),
    CheckpointSaved(step=4, path="/runs/ä/step-4"),
    AttentionProbed(step=4, file="/runs/ä/attention/step-00000004.npz"),
    TextChunk(text="很好\n"),
    RowPredicted(number=7, inputs={"text": "很好"}, output={"label": "positive", "scores": {"positive": 0.9}}),
    TrialEnded(number=1, total=4, parameters={"training.epochs": 2}, value=None, state="failed", run_folder="/runs/a"),
    Finished(state="stopped", result={"a": [1, 2.5, None, True]}),
    Failed(message="Bad.", remedy="Mend it.", details="Traceback"),
]


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.kind)
def test_every_event_survives_one_line_of_json(event: Event) -> None:
    line = to_json(event)
    assert "\n" not in line
    assert json.loads(line)["event"] == event.kind
    assert from_json(line) == event


def test_every_kind_is_tried_above() -> None:
    assert {event.kind for event in ALL} == set(EVENT_TYPES)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, -0.0, 2**53 + 1.0, 6.02214076e23])
def test_floats_read_back_to_the_same_bits(value: float) -> None:
    event = from_json(to_json(Progress(done=value)))
    assert isinstance(event, Progress)
    assert bits(event.done) == bits(value)


@pytest.mark.parametrize(("value", "word"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")])
def test_what_json_has_no_number_for_is_a_word(value: float, word: str) -> None:
    line = to_json(Evaluated(step=1, epoch=1.0, metrics={"loss": value}))
    assert json.loads(line)["metrics"] == {"loss": word}
    event = from_json(line)
    assert isinstance(event, Evaluated)
    assert bits(event.metrics["loss"]) == bits(value)


def test_a_step_line_carries_what_others_rely_on() -> None:
    keys = {"event", "time", "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second"}
    assert keys <= set(json.loads(to_json(STEP)))


def test_fields_of_a_newer_version_are_dropped() -> None:
    line = json.dumps({**json.loads(to_json(STEP)), "invented_later": 1})
    assert from_json(line) == STEP


@pytest.mark.parametrize(
    "line", ["[]", "{}", '{"event": "invented"}', "3", '{"event": []}', '{"event": "step", "step": 1}']
)
def test_a_line_that_is_no_event_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError, match="not an event"):
        from_json(line)


def test_half_a_line_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        from_json(to_json(STEP)[:-5])


def test_a_status_is_filled_in_late() -> None:
    assert Status(template="Loading {name}", parameters={"name": "bert"}).message == "Loading bert"


def test_half_a_character_survives_the_line_that_utf8_cannot_hold() -> None:
    event = Status(template="Reading {name}", parameters={"name": "caf\udce9 \ud83d 好"})
    line = to_json(event)
    assert from_json(line.encode("utf-8").decode("utf-8")) == event
