"""Watching a sentence while a model learns: now and then its attention weights are recorded as a frame.

It must not be seen in the training: the model's modes and its attention implementation are put back
(:mod:`lmstudio_app.inspection.capture`), no gradient is made, and the random generators stay as they were.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import Cancelled, UserError, as_user_error
from lmstudio_app.events import AttentionProbed
from lmstudio_app.inspection.attention import AttentionMaps, AttentionRequest, read_attention
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.checkpoints import Position
from lmstudio_app.training.frames import drop_frames, frame_path, write_frame

if TYPE_CHECKING:
    import torch

    from lmstudio_app.training.session import Session

SHARE = 0.01  # of the training's time that recording may take, where the recipe leaves it open
MEASURED_AT = 5  # the step at which it is found out what a recording costs, beside a step
MOST_FRAMES = 200  # of a run; more are not told apart on a slider
MOST_BYTES = 200 * 2**20  # of a run's frames, where the recipe leaves it open


class Probe:
    """The watched sentence of one training; the main process looks, the others do nothing.

    Where the recipe does not say how often, it is decided at step 5 and kept in the checkpoints, so that a resumed
    run goes on in the same way.
    """

    def __init__(self, session: Session, folder: Path, position: Position) -> None:
        """Take away the frames of steps that come again. Raises :class:`UserError` for a layer that is not there."""
        config = session.recipe.probe
        self._session = session
        self._folder = folder
        self._config = config
        self._is_on = config.is_on and session.processes.is_main
        self._heads = config.head_numbers()
        self._has_looked = False
        self._warm: tuple[int, float] | None = None  # step and seconds of training after the first step of this process
        if config.is_on:
            _require_known(session.loaded.model.config, config.layer_numbers(), self._heads)
        if session.processes.is_main:
            drop_frames(folder, position.step if position.step else -1)
        self._began = position.step

    def look(self, position: Position, ctx: JobContext, *, is_last: bool) -> None:
        """Record a frame where one is due after these steps. A model that cannot show it is told once and let be."""
        if not self._is_on:
            return
        if self._warm is None and position.step > self._began:
            self._warm = position.step, position.train_seconds
        if not self._is_due(position, is_last=is_last):
            return
        step_seconds = self._step_seconds(position)
        begun = time.perf_counter()
        try:
            file, size = self._record(position.step, ctx)
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a strange model or a full disk raises: the training is worth more
            self._is_on = False
            problem = as_user_error(error)
            ctx.warn("What the model looks at is not recorded: {reason} The training goes on.", reason=problem.message)
            return
        ctx.emit(AttentionProbed(step=position.step, file=str(file)))
        if not self._config.every and not position.probe_every and position.step >= MEASURED_AT:
            seconds = time.perf_counter() - begun
            position.probe_every = interval(seconds, step_seconds, size, self._session.total_steps)

    def _is_due(self, position: Position, *, is_last: bool) -> bool:
        step, every = position.step, self._config.every or position.probe_every
        is_time = step % every == 0 if every else step >= MEASURED_AT
        if not (step == 0 or is_time or is_last):
            return False
        return not frame_path(self._folder, step).exists()  # of before an interruption

    def _step_seconds(self, position: Position) -> float:
        """Of one optimizer step so far, without the first of this process, which warms caches up."""
        import torch

        begun = time.perf_counter()
        device = self._session.loaded.device
        if device.type == "cuda" and self._warm is not None:
            torch.cuda.synchronize(device)  # what the steps have ordered and not waited for is theirs
        waited = time.perf_counter() - begun
        step, seconds = self._warm or (0, 0.0)
        if position.step > step:
            return (position.train_seconds - seconds + waited) / (position.step - step)
        return position.train_seconds / max(1, position.step)

    def _record(self, step: int, ctx: JobContext) -> tuple[Path, int]:
        config = self._config
        request: dict[str, Any] = {"text": config.text, "pair": config.pair or None, "layers": config.layer_numbers()}
        if config.target.strip():
            request |= {"target": config.target, "kind": "cross"}
        # that a text is too long is said once
        ctx = JobContext(None, ctx.control) if self._has_looked else ctx
        self._has_looked = True
        with _same_random_numbers(self._session.loaded.device):
            maps: AttentionMaps = read_attention(self._session.loaded, AttentionRequest(**request), ctx)
        return write_frame(self._folder, step, maps, self._heads)


def interval(seconds: float, step_seconds: float, size: int, total_steps: int) -> int:
    """Steps between two recordings that take ``seconds`` and ``size`` bytes each: 1, 2, 5, 10, 20, 50, … of them."""
    least = max(
        seconds / (SHARE * max(step_seconds, 1e-9)), total_steps / MOST_FRAMES, total_steps * size / MOST_BYTES, 1.0
    )
    scale = 10 ** int(math.log10(least))
    return next(int(factor * scale) for factor in (1, 2, 5, 10) if factor * scale >= least)


@contextlib.contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    """A model in evaluation mode draws none; program code that came with a model may."""
    import torch

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def _require_known(config: Any, layers: tuple[int, ...] | None, heads: tuple[int, ...] | None) -> None:
    """Raises :class:`UserError` for layers and heads beyond those of the model, or of one of its two halves."""
    text = config.get_text_config()
    for wanted, what, names in (
        (layers, "layer", ("num_hidden_layers", "decoder_layers", "num_decoder_layers")),
        (heads, "head", ("num_attention_heads", "decoder_attention_heads")),
    ):
        count = max((value for name in names if isinstance(value := getattr(text, name, None), int)), default=0)
        if wanted and count and wanted[-1] >= count:
            raise UserError(
                "There is no layer {number} to record." if what == "layer" else "There is no head {number} to record.",
                "Write numbers from 0 to {last}, or all.",
                number=wanted[-1],
                last=count - 1,
            )
