"""What the benchmarks of training share: contenders in turn, each in a process of its own, so that a slow minute of the
machine hits all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Outcome = dict[str, float]
Contender = Callable[[Path, argparse.Namespace], Outcome]


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The script's own arguments and those of the contest; the ``contender`` is set in the processes begun here."""
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def hold(
    contenders: Mapping[str, Contender],
    prepare: Callable[[Path], None],
    args: argparse.Namespace,
    describe: Callable[[Outcome], str],
    environment: Mapping[str, str] | None = None,
) -> dict[str, list[Outcome]]:
    """``prepare`` a folder, then let every contender work in it, again and again; their outcomes by name.

    In the process of a contender it does that one's work, and ends. ``describe`` is printed after each.
    """
    if args.contender:
        outcome = contenders[args.contender](args.folder, args)
        print(json.dumps({"memory": peak_memory(), **outcome}))
        sys.exit(0)
    results: dict[str, list[Outcome]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        for repeat in range(args.repeats):
            for contender in contenders:
                begun = time.perf_counter()
                command = [sys.executable, *sys.argv, "--contender", contender, "--folder", name]
                output = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, text=True, env=_environment(environment or {})
                ).stdout
                outcome = json.loads(output.strip().splitlines()[-1])
                results[contender].append(outcome)
                seconds = time.perf_counter() - begun
                print(f"repeat {repeat + 1}  {contender:8} {describe(outcome)}  ({seconds:.0f} s in all)", flush=True)
    return results


def medians(results: Mapping[str, list[Outcome]]) -> dict[str, Outcome]:
    return {
        name: {key: statistics.median(item[key] for item in items) for key in items[0]}
        for name, items in results.items()
    }


def peak_memory() -> float:
    """The most memory that this process ever had, in MiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (2**20 if sys.platform == "darwin" else 1024)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, **quiet, "PYTHONPATH": path, **more}


def trainer_arguments(output: str, batch_size: int, learning_rate: float, seed: int, **others: Any) -> dict[str, Any]:
    """Of ``transformers.TrainingArguments``, for one epoch; what is not named here keeps its default."""
    import torch

    return {
        "output_dir": output,
        "num_train_epochs": 1,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": batch_size * 4,
        "learning_rate": learning_rate,
        "seed": seed,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        **others,
    }


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
