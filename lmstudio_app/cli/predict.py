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


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("predict", help="run a model over a file of inputs")
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True)
    sentiment = tasks.add_parser("sentiment", help='rows {"text": …} in, rows {"label": …, "scores": {label: p}} out')
    sentiment.add_argument("--model", required=True, metavar="REF", help="catalogue name, hub id or folder")
    sentiment.add_argument("--input", required=True, type=Path, metavar="IN.jsonl")
    sentiment.add_argument("--output", required=True, type=Path, metavar="OUT.jsonl")
    sentiment.add_argument("--device", default="auto", choices=DEVICES)
    sentiment.add_argument("--precision", default="auto", choices=PRECISIONS)
    sentiment.add_argument("--batch-size", default=32, type=int, metavar="N")
    sentiment.add_argument("--json", action="store_true", help="one event a line on stdout")
    sentiment.set_defaults(run=run)


@dataclass(frozen=True)
class PredictRequest:
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
    """The job: predict every row of the input; the output appears whole at the end. Returns the number of rows."""
    from lmstudio_app.models.loading import LoadRequest, load_model
    from lmstudio_app.tasks import find_task

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
                except ValueError:
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
