"""``lmstudio-app script``: a recipe or a run as a script that needs nothing of this app."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.runs import known_run
from lmstudio_app.cli.train import add_overrides
from lmstudio_app.errors import UserError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "script",
        help="write a training as a short Python script",
        description="Write the training of a recipe or a run as one short script on plain torch and transformers, "
        "together with the rows it needs. It gives the same losses.",
    )
    parser.add_argument("source", metavar="SOURCE", help="a RECIPE.yaml, a run's folder, or a run's name")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder for the script")
    add_overrides(parser)
    parser.add_argument("--json", action="store_true", help="one event a line on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lmstudio_app.training.recipe import Recipe
    from lmstudio_app.training.script import ScriptRequest, export_script

    source: Recipe | Path | None = known_run(args.source)
    if source is None:
        source = Recipe.load(Path(args.source).expanduser(), args.overrides)
    elif args.overrides:
        raise UserError("A run keeps its recipe.", "Leave --set out, or name a recipe file.")
    with console_context(json=args.json) as ctx:
        path = export_script(ScriptRequest(source, args.output), ctx)
    if not args.json:
        sys.stdout.write(f"{path}\n")
    return 0
