"""``lmstudio-app sweep``: the same recipe with other values, again and again, and which did best."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.errors import UserError
from lmstudio_app.settings import sweeps_folder

if TYPE_CHECKING:
    from lmstudio_app.training.sweeps import SweepResult

_EXAMPLE = """\
a sweep file:
  recipe: sentiment.yaml
  method: tpe              # or grid, or random
  trials: 12
  space:
    training.learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}
    training.batch_size: [16, 32]
    strategy.name: [full, frozen_backbone]
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("sweep", help="train a recipe with many values, and see which did best")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    start = actions.add_parser(
        "run",
        help="run a sweep, or go on with one",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    start.add_argument("sweep", nargs="?", type=Path, metavar="SWEEP.yaml", help="a recipe, and the values to try")
    start.add_argument("--dir", type=Path, metavar="DIR", help="the sweep's folder (default: a new one)")
    start.add_argument("--resume", action="store_true", help="go on with the sweep in --dir")
    start.set_defaults(run=_run)
    show = actions.add_parser("show", help="the trials of a sweep, the best first")
    show.add_argument("folder", type=Path, metavar="DIR", help="the sweep's folder, or its name")
    show.set_defaults(run=_show)
    listing = actions.add_parser("list", help="all sweeps, the newest first")
    listing.set_defaults(run=_list)
    for action, text in ((start, "one event a line"), (show, "one JSON object"), (listing, "one JSON list")):
        action.add_argument("--json", action="store_true", help=f"{text} on stdout")


def _run(args: argparse.Namespace) -> int:
    from lmstudio_app.training.sweep_config import SweepConfig
    from lmstudio_app.training.sweeps import SweepRequest, run_sweep

    if args.resume:
        if args.dir is None:
            raise UserError("--resume needs the sweep's folder.", "Add --dir DIR.")
        request = SweepRequest(None, args.dir, resume=True)
    elif args.sweep is None:
        raise UserError("There is no sweep.", "Name a SWEEP.yaml; sweep run --help shows one.")
    else:
        request = SweepRequest(SweepConfig.load(args.sweep), args.dir)
    with console_context(json=args.json) as ctx:
        result = run_sweep(request, ctx)
    if not args.json:
        _print(result)
    return 0


def _show(args: argparse.Namespace) -> int:
    from lmstudio_app.training.sweeps import SWEEP, read_sweep

    known = sweeps_folder() / args.folder
    result = read_sweep(known if (known / SWEEP).is_file() else args.folder)
    if args.json:
        values = {
            "folder": str(result.folder),
            "metric": result.metric,
            "greater_is_better": result.greater_is_better,
            "trials": [dataclasses.asdict(trial) for trial in result.trials],
        }
        sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n")
    else:
        _print(result)
    return 0


def _list(args: argparse.Namespace) -> int:
    from lmstudio_app.training.sweeps import list_sweeps, read_sweep

    found = [read_sweep(folder) for folder in list_sweeps()]
    if args.json:
        sys.stdout.write(json.dumps([str(result.folder) for result in found], ensure_ascii=False) + "\n")
        return 0
    rows = [
        [result.folder.name, str(result.config.recipe["task"]), f"{len(result.trials)}/{result.config.total}",
         result.metric, f"{result.best.value:.4f}" if result.best else ""]
        for result in found
    ]  # fmt: skip
    write_table([["SWEEP", "TASK", "TRIALS", "METRIC", "BEST"], *rows])
    return 0


def _print(result: SweepResult) -> None:
    keys = list(result.config.space)
    rows = [
        [
            str(trial.number + 1),
            "" if trial.value is None else f"{trial.value:.4f}",
            trial.state,
            *(_text(trial.values.get(key)) for key in keys),
            Path(trial.run_folder).name or trial.reason,
        ]
        for trial in result.ranked
    ]
    write_table([["TRIAL", result.metric.upper(), "STATE", *keys, "RUN"], *rows])


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
