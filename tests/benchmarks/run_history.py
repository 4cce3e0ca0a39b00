"""A thousand runs: how long the list takes the first time, again, after one run has grown, and a search in it.

    python tests/benchmarks/run_history.py [--runs 1000] [--steps 2000]

The runs are folders as a training leaves them, with a recipe, ``--steps`` steps, 20 evaluations with a confusion
matrix, tags and notes. The exit code is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

TARGETS = {"first list, ms": 2000.0, "list again, ms": 300.0, "list after one grew, ms": 300.0, "search, ms": 50.0}


def write_runs(home: Path, runs: int, steps: int) -> None:
    from lmstudio_app.events import Evaluated, Finished, Status, StepLogged, to_json
    from lmstudio_app.training.recipe import Recipe
    from lmstudio_app.training.runs import create_run
    from lmstudio_app.training.summaries import About, write_about

    lines = [to_json(Status(template="Reading the data"))]
    for number in range(1, steps + 1):
        step = StepLogged(
            step=number, total_steps=steps, epoch=number / steps, loss=0.123456789, learning_rate=1e-4, grad_norm=1.5,
            tokens_per_second=12345.678, examples_per_second=123.456, memory=10**9, eta=12.5,
        )  # fmt: skip
        lines.append(to_json(step))
        if number % max(1, steps // 20) == 0:
            metrics = {"loss": 1 / number, "accuracy": 1 - 1 / number, "f1_macro": 0.5}
            details = {"confusion": [[1] * 20] * 20, "worst": [{"text": "x" * 300}] * 20}
            lines.append(to_json(Evaluated(step=number, epoch=1.0, metrics=metrics, details=details)))
    lines.append(to_json(Finished(result={"examples_per_second": 100.0})))
    text = "".join(f"{line}\n" for line in lines)
    recipe = Recipe.from_dict({"task": "sentiment", "model": "starter:encoder", "data": {"train": "uci-sentiment"}})
    for number in range(runs):
        run = create_run(recipe, home / "runs" / f"run-{number:04}")
        (run.path / "events.jsonl").write_text(text, encoding="utf-8")
        write_about(run.path, About(f"Run {number}", "some notes " * 20, ("tag", f"group {number % 10}")))


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMSTUDIO_APP_HOME"] = folder
        from lmstudio_app.training.history import search_runs
        from lmstudio_app.training.runs import list_runs

        write_runs(Path(folder), args.runs, args.steps)
        size = (Path(folder) / "runs" / "run-0000" / "events.jsonl").stat().st_size
        print(f"{args.runs} runs, {size / 1e6:.1f} MB of events each")
        found = {"first list, ms": milliseconds(list_runs), "list again, ms": milliseconds(list_runs)}
        with (Path(folder) / "runs" / "run-0000" / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"event": "status", "time": 5.0, "template": "more"}\n')
        found["list after one grew, ms"] = milliseconds(list_runs)
        runs = list_runs()
        assert len(runs) == args.runs
        found["search, ms"] = milliseconds(lambda: search_runs(runs, "group 7"))
    for name, value in found.items():
        print(f"{name:<26}{value:9.1f}   at most {TARGETS[name]:.0f}")
    return int(any(found[name] > limit for name, limit in TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
