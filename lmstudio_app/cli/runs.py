"""``lmstudio-app runs``: the history of trainings, and a hand on those that run, without a screen."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.settings import runs_folder

if TYPE_CHECKING:
    from lmstudio_app.training.summaries import RunSummary

_COMMANDS = {
    "pause": ("pause", "hold a running training; it goes on with go-on"),
    "go-on": ("resume", "let a paused training go on"),
    "stop": ("stop", "end a running training in good order: the model is saved as it is"),
    "cancel": ("cancel", "end a running training at once; its last checkpoint is kept"),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "runs",
        help="list, compare, tag, steer, follow and delete trainings",
        description="RUN is a run's folder, or its name among the app's runs (see runs list).",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def _add(name: str, text: str, run: Callable[[argparse.Namespace], int], runs: str = "") -> argparse.ArgumentParser:
        action: argparse.ArgumentParser = actions.add_parser(name, help=text)
        if runs:
            action.add_argument("runs", nargs=runs if runs == "+" else int(runs), metavar="RUN")
        action.set_defaults(run=run, json=False)
        return action

    listing = _add("list", "all runs, the newest first", _list)
    listing.add_argument("--search", default="", metavar="T", help="only runs in which every word of T is found")
    show = _add("show", "one run: its recipe, its evaluations, and where things are", _show, "1")
    compare = _add("compare", "what differs between runs, and what they came to", _compare, "+")
    tag = _add("tag", "give a run tags", _tag, "1")
    tag.add_argument("tags", nargs="+", metavar="TAG")
    tag.add_argument("--remove", action="store_true", help="take these tags away")
    for name in ("title", "note"):
        about = _add(name, f"give a run a {name}; an empty TEXT takes it away", _set_text, "1")
        about.add_argument("text", metavar="TEXT")
    attention = _add("attention", "what its model looked at in the watched sentence, step by step", _attention, "1")
    attention.add_argument("--output", type=Path, metavar="FILE.npz", help="write the weights of all steps, for NumPy")
    attention.add_argument("--step", type=int, metavar="N", help="only this step")
    delete = _add("delete", "move runs to the system's trash", _delete, "+")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    for name, (_, text) in _COMMANDS.items():
        _add(name, text, _steer, "1")
    follow = _add("follow", "tell what a run says, to its end; Ctrl+C only stops telling", _follow, "1")
    json_help = (
        (listing, "one JSON list"), (show, "one JSON object"), (compare, "one JSON object"),
        (attention, "one JSON list"),
    )  # fmt: skip
    for action, text in (*json_help, (follow, "one event a line")):
        action.add_argument("--json", action="store_true", help=f"{text} on stdout")


def find_run(reference: str) -> Path:
    """The folder of a run, by its folder or its name. Raises :class:`UserError` when there is none."""
    folder = known_run(reference)
    if folder is None:
        raise UserError("There is no run {run}.", "runs list names them all.", run=reference)
    return folder


def known_run(reference: str) -> Path | None:
    """The same, or None when there is none."""
    from lmstudio_app.training.summaries import RECIPE

    folders = (Path(reference).expanduser(), runs_folder() / reference)
    return next((folder.resolve() for folder in folders if (folder / RECIPE).is_file()), None)


# --- looking


def _list(args: argparse.Namespace) -> int:
    from lmstudio_app.training.history import search_runs
    from lmstudio_app.training.summaries import list_runs

    with console_context() as ctx:
        runs = search_runs(list_runs(ctx=ctx), args.search)
    if args.json:
        _write_json([_values(run) for run in runs])
        return 0
    write_table([("NAME", "STATE", "TASK", "MODEL", "DATA", "STEPS", "BEST", "TIME", "TAGS"), *map(_row, runs)])
    return 0


def _row(run: RunSummary) -> tuple[str, ...]:
    best = f"{run.metric} {run.best_value:.4f}" if run.best_value is not None else ""
    steps = f"{run.step}/{run.total_steps}" if run.total_steps else ""
    names = (Path(run.model).name, ", ".join(Path(name).name for name in run.data.split(", ")))
    return run.name, _state(run), run.task, *names, steps, best, _clock(run.duration), ", ".join(run.tags)


def _state(run: RunSummary) -> str:
    return "paused" if run.paused else run.state


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def _values(run: RunSummary) -> dict[str, Any]:
    values = {**dataclasses.asdict(run), "folder": str(run.folder), "best_value": run.best_value}
    return {**values, "model_folder": str(run.model_folder) if run.model_folder else None}


def _show(args: argparse.Namespace) -> int:
    from lmstudio_app.events import Evaluated
    from lmstudio_app.training.event_file import read_events
    from lmstudio_app.training.history import flatten
    from lmstudio_app.training.summaries import read_recipe, summarize_run

    folder = find_run(args.runs[0])
    run = summarize_run(folder)
    recipe = read_recipe(folder)
    evaluations = [event for event in read_events(folder) if isinstance(event, Evaluated)]
    if args.json:
        rows = [{"step": event.step, "epoch": event.epoch, **event.metrics} for event in evaluations]
        _write_json({**_values(run), "recipe": recipe, "evaluations": rows, "places": _places(folder)})
        return 0
    started = datetime.datetime.fromtimestamp(run.started).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    facts = {
        "name": run.name,
        "title": run.title,
        "tags": ", ".join(run.tags),
        "notes": run.notes,
        "state": _state(run),
        "problem": run.problem,
        "started": started,
        "time": _clock(run.duration),
        "steps": f"{run.step} of {run.total_steps}" if run.total_steps else "none",
        "examples/s": f"{run.examples_per_second:.1f}" if run.examples_per_second else "",
        **_places(folder),
    }
    write_table([(name, value) for name, value in facts.items() if value])
    sys.stdout.write("\n")
    write_table([(key, _text(value)) for key, value in flatten(recipe).items()])
    if evaluations:
        names = list(dict.fromkeys(name for event in evaluations for name in event.metrics))
        sys.stdout.write("\n")
        rows_of_text = [(str(event.step), *(_number(event.metrics.get(n)) for n in names)) for event in evaluations]
        write_table([("STEP", *(name.upper() for name in names)), *rows_of_text])
    return 0


def _places(folder: Path) -> dict[str, str]:
    names = {"model": "final", "checkpoints": "checkpoints", "TensorBoard": "tensorboard", "output": "output.log"}
    places = {name: str(folder / path) for name, path in names.items() if (folder / path).exists()}
    return {"folder": str(folder), **places}


def _attention(args: argparse.Namespace) -> int:
    from lmstudio_app.training.frames import join_frames, load_frame, mean_entropy, read_frames

    folder = find_run(args.runs[0])
    found = read_frames(folder)
    chosen = [file for file in found if args.step is None or file.step == args.step]
    if not found:
        raise UserError(
            "Nothing was recorded in the run {run}.",
            "Give a sentence to watch before training, for example with train --probe TEXT.",
            run=folder.name,
        )
    if not chosen:
        raise UserError(
            "Nothing was recorded at step {step}.",
            "Choose one of: {steps}.",
            step=args.step,
            steps=", ".join(str(file.step) for file in found),
        )
    if args.output is not None:
        join_frames(chosen, args.output)
    rows: list[dict[str, Any]] = []
    for file in chosen:
        frame = load_frame(file)
        entropy = mean_entropy(frame.weights)
        rows.append(
            {
                "step": file.step,
                "kind": frame.kind,
                "layers": list(frame.layers),
                "heads": list(frame.heads),
                "queries": len(frame.queries),
                "keys": len(frame.keys),
                "entropy": float(entropy[entropy == entropy].mean()),  # NaN: a head that a layer does not have
                "file": str(file.path),
            }
        )
    if args.json:
        _write_json(rows)
        return 0
    table = [("STEP", "KIND", "LAYERS", "HEADS", "TOKENS", "ENTROPY, BITS", "FILE")]
    for row in rows:
        tokens = f"{row['queries']} x {row['keys']}"
        counts = (str(len(row["layers"])), str(len(row["heads"])))
        table.append((str(row["step"]), row["kind"], *counts, tokens, f"{row['entropy']:.3f}", row["file"]))
    write_table(table)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from lmstudio_app.training.history import compare_runs

    if len(args.runs) < 2:
        raise UserError("There is nothing to compare {run} with.", "Name two runs or more.", run=args.runs[0])
    found = compare_runs([find_run(reference) for reference in args.runs])
    if args.json:
        values = {
            "runs": [_values(run) for run in found.runs],
            "differences": found.differences,
            "last": found.last,
            "best": found.best,
            "durations": found.durations,
            "examples_per_second": found.examples_per_second,
        }
        _write_json(values)
        return 0
    rows = [("", *(run.title or run.name for run in found.runs)), ("state", *map(_state, found.runs))]
    rows += [(key, *map(_text, values)) for key, values in found.differences.items()]
    for name, last in found.last.items():
        rows.append((f"{name}, last", *map(_number, last)))
        rows.append((f"{name}, best", *map(_number, found.best[name])))
    rows.append(("time", *map(_clock, found.durations)))
    rows.append(("examples/s", *(f"{rate:.1f}" for rate in found.examples_per_second)))
    write_table(rows)
    return 0


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _write_json(value: Any) -> None:
    sys.stdout.write(json.dumps(_encodable(value), ensure_ascii=False, indent=1) + "\n")


def _encodable(value: Any) -> Any:
    """JSON has no word for what a diverged training measures: null."""
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- saying something of a run


def _tag(args: argparse.Namespace) -> int:
    from lmstudio_app.training.summaries import read_about, write_about

    folder = find_run(args.runs[0])
    about = read_about(folder)
    tags = [tag for tag in about.tags if tag not in args.tags] if args.remove else [*about.tags, *args.tags]
    kept = write_about(folder, dataclasses.replace(about, tags=tuple(tags)))
    sys.stdout.write(f"{', '.join(kept.tags)}\n")
    return 0


def _set_text(args: argparse.Namespace) -> int:
    from lmstudio_app.training.summaries import read_about, write_about

    folder = find_run(args.runs[0])
    name = "notes" if args.action == "note" else "title"
    write_about(folder, dataclasses.replace(read_about(folder), **{name: args.text}))
    return 0


def _delete(args: argparse.Namespace) -> int:
    from lmstudio_app.training.history import trash_run

    folders = [find_run(reference) for reference in args.runs]
    if not args.yes:
        if not sys.stdin.isatty():
            raise UserError("Deleting runs needs a yes.", "Add --yes.")
        sys.stderr.write("".join(f"{folder}\n" for folder in folders) + "Move these to the trash? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
            sys.stderr.write("Nothing was deleted.\n")
            return 0
    for folder in folders:
        trash_run(folder)
        sys.stdout.write(f"{folder}\n")
    return 0


# --- those that run


def _steer(args: argparse.Namespace) -> int:
    from lmstudio_app.training.control import send_command

    send_command(find_run(args.runs[0]), _COMMANDS[args.action][0])
    return 0


def _follow(args: argparse.Namespace) -> int:
    from lmstudio_app.training.claims import is_running
    from lmstudio_app.training.following import FollowRequest, follow_run

    folder = find_run(args.runs[0])
    try:
        with console_context(json=args.json) as ctx:
            result = follow_run(FollowRequest(folder), ctx)
    except Cancelled:
        if is_running(folder):
            sys.stderr.write("The training goes on.\n")
        raise
    if not args.json and result.model_folder is not None:
        sys.stdout.write(f"{result.model_folder}\n")
    return 0
