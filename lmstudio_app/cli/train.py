"""``lmstudio-app train``: the Train tab without a screen."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.plans import explain
from lmstudio_app.errors import UserError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train a model by a recipe",
        description="Train a model by a recipe. Ctrl+C leaves a run that --resume goes on with.",
    )
    parser.add_argument("recipe", nargs="?", type=Path, metavar="RECIPE.yaml", help="what to train, on what, and how")
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="the run's folder (default: a new one)")
    add_overrides(parser)
    parser.add_argument(
        "--probe",
        metavar="TEXT",
        help="a sentence to watch: what the model looks at in it is recorded while it learns (see runs attention)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    parser.add_argument(
        "--in-background",
        action="store_true",
        help="train in a process of its own, print the run's folder and return; runs follow, pause and stop take it",
    )
    parser.add_argument("--explain", action="store_true", help="say which layers would train, and when; train nothing")
    parser.add_argument("--json", action="store_true", help="one event a line on stdout")
    parser.set_defaults(run=run)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """``--set KEY=VALUE …``, as often as one likes: a list ``overrides``, as ``Recipe.load`` takes it."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe, for example training.epochs=1",
    )


def run(args: argparse.Namespace) -> int:
    from lmstudio_app.training.background import start_in_background
    from lmstudio_app.training.loop import TrainRequest, train
    from lmstudio_app.training.processes import FailedElsewhere
    from lmstudio_app.training.recipe import Recipe

    if args.probe is not None:
        args.overrides.append(f"probe.text={json.dumps(args.probe)}")
    if args.resume:
        if args.run_dir is None:
            raise UserError("--resume needs the run's folder.", "Add --run-dir DIR.")
        if args.overrides:
            raise UserError("A resumed run keeps its recipe.", "Leave --set and --probe out, or start a new run.")
        request = TrainRequest(None, args.run_dir, resume=True)
    elif args.recipe is None:
        raise UserError("There is no recipe.", "Name a RECIPE.yaml; resources/recipes holds examples.")
    else:
        request = TrainRequest(Recipe.load(args.recipe, args.overrides), args.run_dir)
    if args.explain:
        if request.recipe is None:
            raise UserError("There is no recipe to explain.", "Name a RECIPE.yaml, and leave --resume out.")
        return explain(request.recipe, as_json=args.json)
    if args.in_background:
        with console_context(json=args.json) as ctx:
            folder = start_in_background(request, ctx)
        sys.stdout.write((json.dumps({"run_folder": str(folder)}) if args.json else str(folder)) + "\n")
        return 0
    try:
        with console_context(json=args.json) as ctx:
            result = train(request, ctx)
    except FailedElsewhere:
        return 0  # one of several processes: the main one tells, and must not be ended by the launcher before it has
    if not args.json:
        sys.stdout.write(f"{result.model_folder}\n")
    return 0
