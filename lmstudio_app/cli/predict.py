"""``lmstudio-app predict TASK``: a file of inputs in, a file of outputs in the same order out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app.cli.console import console_context
from lmstudio_app.devices import DEVICES, PRECISIONS
from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_path
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks import TASKS, find_task


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("predict", help="run a model over a file of inputs")
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True)
    for task in TASKS:
        inputs = ", ".join(f'"{column.name}": …' for column in task.columns if column.type != "label")
        command = tasks.add_parser(
            task.name,
            help=task.help,
            description=f"{task.help} A row {{{inputs}}} a line in, its output a line out, in the same order.",
        )
        command.add_argument(
            "--model", required=True, metavar="REF", help="catalogue name, hub id or folder; never fetched"
        )
        command.add_argument("--input", required=True, type=Path, metavar="IN.jsonl")
        command.add_argument("--output", required=True, type=Path, metavar="OUT.jsonl")
        command.add_argument("--device", default="auto", choices=DEVICES)
        command.add_argument("--precision", default="auto", choices=PRECISIONS)
        command.add_argument("--batch-size", default=32, type=int, metavar="N", help="rows at once (default: 32)")
        command.add_argument("--json", action="store_true", help="one event a line on stdout")
        command.set_defaults(run=run)


@dataclass(frozen=True)
class PredictRequest:
    """Rows of ``input`` through ``model``, ``batch_size`` at once, into ``output`` (both JSON Lines)."""

    task: str
    model: str
    input: Path
    output: Path
    device: str = "auto"
    precision: str = "auto"
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError("The batch size is {size}.", "It must be at least 1.", size=self.batch_size)


def run(args: argparse.Namespace) -> int:
    request = PredictRequest(
        args.task, args.model, args.input, args.output, args.device, args.precision, args.batch_size
    )
    with console_context(json=args.json) as ctx:
        rows = predict_file(request, ctx)
    if not args.json:
        sys.stderr.write(f"{rows} rows written to {request.output}\n")
    return 0


def predict_file(request: PredictRequest, ctx: JobContext) -> int:
    """The job: predict every row of the input; the output appears whole at the end. Returns the number of rows.

    Raises :class:`UserError` for a row that is none (naming the line), and as loading a model does.
    """
    from lmstudio_app.models.loading import LoadRequest, load_model

    task = find_task(request.task)
    total = sum(1 for _ in read_rows(request.input))
    loaded = load_model(LoadRequest(request.model, device=request.device, precision=request.precision), ctx)
    meter = ctx.meter(total, "rows")
    done = 0
    with (
        atomic_path(request.output) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for output in task.predict(loaded, read_rows(request.input), ctx, request.batch_size):
            file.write(json.dumps(output.to_row(), ensure_ascii=False) + "\n")
            done += 1
            meter.update(done)
    return done


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file. Raises :class:`UserError` naming the line that is none."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict):
                    raise UserError(
                        "Line {number} of {path} is no JSON object.",
                        'Write one object a line, for example {{"text": "A fine film."}}.',
                        number=number,
                        path=str(path),
                    )
                yield row
    except FileNotFoundError:
        raise UserError("There is no file {path}.", "Check the path.", path=str(path)) from None
    except UnicodeDecodeError as error:
        raise UserError("{path} is not in UTF-8.", "Save it as UTF-8.", path=str(path)) from error
