"""What it costs to watch a sentence while a model learns, in one run.

    python tests/benchmarks/probe_overhead.py [--epochs 2] [--repeats 3] [--device auto]

Two contenders fine-tune the starter encoder on the bundled sentiment sentences, batch 32, each in a process of its own
and in turn: ``plain``, and ``watched``, which records a sentence of about 20 tokens, all layers and heads, as often as
the recipe's default decides. Reading, tokenizing and loading are not counted; evaluation happens once, at the end, and
is not counted either.

Printed are, over the repeats,

* ``share``: the time that ``watched`` spends in the recording, measured around it, to the time from its first step to
  its last. The machine's noise hits both alike, so this is the overhead to quote; at most 2 % is wanted.
* ``ratio``: the time from the first step to the last, watched to plain. On a machine that does other things too it
  differs from 1 by more than the recording costs.
* whether both learned the same: the losses of all steps, to the last bit.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

from contest import Outcome, hold, medians, parse_arguments

TEXT = "The plot was thin, but I did not hate it: the acting was truly great."


def train_and_measure(args: argparse.Namespace, text: str) -> Outcome:
    from lmstudio_app.events import AttentionProbed, Event, StepLogged
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.training.loop import TrainRequest, train
    from lmstudio_app.training.probing import Probe
    from lmstudio_app.training.recipe import Recipe

    recipe = Recipe.from_dict(
        {
            "task": "sentiment",
            "model": "starter:encoder",
            "data": {"train": "uci-sentiment", "eval_fraction": 0.2},
            "training": {
                "epochs": args.epochs,
                "batch_size": 32,
                "log_every": 1,
                "evaluate_every": 100_000,
                "checkpoint_every": 100_000,
                "keep_best": False,
                "device": args.device,
            },
            "probe": {"text": text},
        }
    )
    in_probe: list[float] = []
    look = Probe.look

    def timed(self: Probe, *arguments: Any, **options: Any) -> None:
        begun = time.perf_counter()
        look(self, *arguments, **options)
        in_probe.append(time.perf_counter() - begun)

    Probe.look = timed  # type: ignore[method-assign]
    steps: list[tuple[float, float]] = []
    frames: list[int] = []
    losses = hashlib.sha256()

    def emit(event: Event) -> None:
        if isinstance(event, StepLogged):
            steps.append((time.perf_counter(), sum(in_probe)))
            losses.update(event.loss.hex().encode())
        elif isinstance(event, AttentionProbed):
            frames.append(event.step)

    with tempfile.TemporaryDirectory() as folder:
        train(TrainRequest(recipe, Path(folder) / "run"), JobContext(emit))
    (begun, before), (ended, after) = steps[0], steps[-1]
    return {
        "seconds": ended - begun,
        "steps": len(steps),
        "share": (after - before) / (ended - begun - (after - before)),
        "frames": len(frames),
        "milliseconds": 1000 * (after - before) / max(1, len(frames) - 2),  # without the first and the last frame
        "losses": int(losses.hexdigest()[:12], 16),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--device", default="auto")
    args = parse_arguments(parser)
    results = hold(
        {
            "plain": lambda folder, args: train_and_measure(args, ""),
            "watched": lambda folder, args: train_and_measure(args, TEXT),
        },
        lambda folder: None,
        args,
        lambda outcome: (
            f"{outcome['steps']:.0f} steps in {outcome['seconds']:6.2f} s, {outcome['frames']:.0f} frames, "
            f"share {100 * outcome['share']:.2f} %"
        ),
    )
    middle = medians(results)
    watched = middle["watched"]
    share = max(outcome["share"] for outcome in results["watched"])
    print(f"a frame takes {watched['milliseconds']:.1f} ms; there are {watched['frames']:.0f}")
    print(f"share of the recording: {100 * watched['share']:.2f} % (median), {100 * share:.2f} % (worst); wanted: 2 %")
    print(f"ratio watched to plain: {watched['seconds'] / middle['plain']['seconds']:.3f}")
    same = len({outcome["losses"] for outcomes in results.values() for outcome in outcomes}) == 1
    print(f"the same losses to the last bit: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
