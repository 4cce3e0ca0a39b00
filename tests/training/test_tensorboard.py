"""The event files are read back as TensorBoard does: records with checked sums, and what a restart voids."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401 - what tensorboardX finds in a training

from lmstudio_app.errors import Cancelled
from lmstudio_app.events import Evaluated, Event, Status, StepLogged
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import read_events

MakeRecipe = Callable[..., Recipe]


def read_records(path: Path) -> Iterator[Any]:
    """TFRecord: length, its CRC32C, the bytes, their CRC32C (masked, little endian)."""
    from tensorboardX.proto.event_pb2 import Event as Record
    from tensorboardX.record_writer import masked_crc32c

    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(body)
        yield Record.FromString(body)
        data = data[16 + length :]


def read_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value over all files in order; a start voids the steps from its own on."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        for record in read_records(path):
            if record.HasField("session_log"):
                assert record.session_log.status == 1  # START
                found = {
                    tag: {step: value for step, value in values.items() if step < record.step}
                    for tag, values in found.items()
                }
            for value in record.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, {})[record.step] = value.simple_value
    return found


def test_tensorboard_shows_what_the_run_says_across_a_resume(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run, control = tmp_path / "run", Control()

    def emit(event: Event) -> None:
        if isinstance(event, StepLogged) and event.step == 14:
            control.cancel()

    with pytest.raises(Cancelled):
        train(TrainRequest(make_recipe(), run), JobContext(emit, control))
    # as if it had been killed later than its last checkpoint
    (checkpoint,) = (run / "checkpoints").glob("step-00000014")
    for path in sorted(checkpoint.rglob("*")):
        path.unlink()
    checkpoint.rmdir()
    train(TrainRequest(None, run, resume=True), JobContext())
    folder = run / "tensorboard"
    assert len(list(folder.iterdir())) == 2
    scalars = read_scalars(folder)
    expected: dict[str, dict[int, float]] = {}
    for event in read_events(run):
        if isinstance(event, StepLogged):
            for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second", "examples_per_second", "memory"):
                expected.setdefault(f"train/{name}", {})[event.step] = getattr(event, name)
        elif isinstance(event, Evaluated):
            for name, value in event.metrics.items():
                expected.setdefault(f"eval/{name}", {})[event.step] = value
    assert set(expected) | {"train/epoch"} == set(scalars)
    assert sorted(scalars["train/loss"]) == list(range(1, 25))
    assert sorted(scalars["eval/accuracy"]) == [12, 24]
    for tag, values in expected.items():
        assert scalars[tag] == pytest.approx(values, rel=1e-6), tag
    texts = [value for path in folder.iterdir() for record in read_records(path) for value in record.summary.value]
    (recipe, _) = (value.tensor.string_val[0].decode() for value in texts if value.tag == "recipe/text_summary")
    assert "batch_size: 8" in recipe


def test_a_training_goes_on_when_its_files_for_tensorboard_cannot_be_written(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "tensorboard").write_text("in the way")
    events: list[Event] = []
    result = train(TrainRequest(make_recipe(epochs=0.5), folder), JobContext(events.append))
    assert result.state == "finished"
    warnings = [event.message for event in events if isinstance(event, Status) and event.warning]
    assert [warning for warning in warnings if "TensorBoard" in warning] == [
        "The files for TensorBoard cannot be written (File exists); the training goes on without them."
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_disk_that_fills_up_is_told_once(tmp_path: Path) -> None:
    from tensorboardX.record_writer import RecordWriter

    from lmstudio_app.training.tensorboard import TensorBoardLog

    told: list[str] = []
    log = TensorBoardLog(tmp_path / "tensorboard", "task: sentiment\n", told.append)
    evaluation = Evaluated(step=1, epoch=1, metrics={"loss": 0.5})
    log.add(evaluation)
    assert told == []
    log._writer.close()
    log._writer = RecordWriter("/dev/full")
    for _ in range(3):
        log.add(evaluation)
    log.close()
    assert told == ["No space left on device"]
