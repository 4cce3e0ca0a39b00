"""``lmstudio-app predict WHAT``: a file of inputs in, a file of outputs in the same order out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app.cli.console import console_context
from lmstudio_app.devices import DEVICES, PRECISIONS
from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_path
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks import PREDICTIONS, Prediction, find_prediction
from lmstudio_app.tasks.outputs import Answer, Candidates, Label, Text
from lmstudio_app.tasks.streaming import BadRow


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("predict", help="run a model over a file of inputs")
    predictions = parser.add_subparsers(dest="prediction", metavar="WHAT", required=True)
    for prediction in PREDICTIONS:
        command = predictions.add_parser(
            prediction.name,
            help=prediction.help,
            description=describe(prediction),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument(
            "--model", required=True, metavar="REF", help="catalogue name, hub id or folder; never fetched"
        )
        command.add_argument("--input", required=True, type=Path, metavar="IN.jsonl")
        command.add_argument("--output", required=True, type=Path, metavar="OUT.jsonl")
        command.add_argument("--device", default="auto", choices=DEVICES)
        command.add_argument("--precision", default="auto", choices=PRECISIONS)
        add_options(command, prediction.options)
        command.add_argument("--json", action="store_true", help="one event a line on stdout")
        command.set_defaults(run=run)


# what a line of the output holds, by the type of the prediction's output
_ROWS = {
    Label: '{"label": …, "scores": {LABEL: PROBABILITY, …}}',
    Text: '{"text": …}',
    Answer: '{"answer": …, "score": PROBABILITY, "start": CHARACTER, "end": CHARACTER}',
    Candidates: '{"text": …, "candidates": [[{"token": …, "probability": …}, …], …]}, one list a place, the best first',
}


def describe(prediction: Prediction) -> str:
    """What the prediction does, what a line of its input holds, and what a line of its output."""
    inputs = ", ".join(
        f'"{column.name}": …' for column in prediction.inputs if column.required or column.type != "text"
    )
    lines = [
        f"{prediction.help} A row a line in (JSON Lines), its output a line out, in the same order.",
        f"in:  {{{inputs}}}",
        *(
            f"     {column.name}: {column.help}{'' if column.required or column.type != 'text' else ' (optional)'}"
            for column in prediction.inputs
        ),
        f"out: {_ROWS.get(prediction.output, prediction.output.__name__)}",
    ]
    first, *rest = lines
    wrapped = [textwrap.fill(first, 100), *(textwrap.fill(line, 100, subsequent_indent="     ") for line in rest)]
    return "\n".join(wrapped)


def add_options(parser: argparse.ArgumentParser, options: type) -> None:
    """A flag for each described field of a dataclass: ``max_new_tokens`` becomes ``--max-new-tokens``."""
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        flag, text = f"--{field.name.replace('_', '-')}", f"{field.metadata['help']} (default: {field.default})"
        text = text.replace("%", "%%")
        if hints[field.name] is bool:
            parser.add_argument(flag, default=field.default, action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(
                flag, default=field.default, type=hints[field.name], choices=field.metadata["choices"], help=text
            )


def read_options(args: argparse.Namespace, options: type) -> Any:
    """The dataclass as the flags of :func:`add_options` fill it. Raises :class:`UserError` beyond its limits."""
    return options(**{field.name: getattr(args, field.name) for field in dataclasses.fields(options)})


@dataclass(frozen=True)
class PredictRequest:
    """Rows of ``input`` through ``model`` into ``output`` (both JSON Lines); ``options`` are the prediction's own."""

    prediction: str
    model: str
    input: Path
    output: Path
    device: str = "auto"
    precision: str = "auto"
    options: Any = None


def run(args: argparse.Namespace) -> int:
    options = read_options(args, find_prediction(args.prediction).options)
    request = PredictRequest(args.prediction, args.model, args.input, args.output, args.device, args.precision, options)
    with console_context(json=args.json) as ctx:
        rows = predict_file(request, ctx)
    if not args.json:
        sys.stderr.write(f"{rows} rows written to {request.output}\n")
    return 0


def predict_file(request: PredictRequest, ctx: JobContext) -> int:
    """The job: predict every row of the input; the output appears whole at the end. Returns the number of rows.

    Raises :class:`UserError` for a row that is none (naming the line), for a model without the head that it takes, and
    as loading a model does.
    """
    from lmstudio_app.models.loading import LoadRequest, load_model

    prediction = find_prediction(request.prediction)
    options = prediction.options() if request.options is None else request.options
    total = sum(1 for _ in read_rows(request.input))
    loaded = load_model(LoadRequest(request.model, device=request.device, precision=request.precision), ctx)
    meter = ctx.meter(total, "rows")
    done = 0
    with (
        atomic_path(request.output) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        try:
            for output in prediction.predict(loaded, read_rows(request.input), ctx, options):
                file.write(json.dumps(output.to_row(), ensure_ascii=False) + "\n")
                done += 1
                meter.update(done)
        except BadRow as error:
            if not isinstance(error.row, _Row):
                raise
            raise UserError(
                "Line {number} of {path}: {sentence}", "{advice}",
                number=error.row.line, path=str(request.input), sentence=error.message, advice=error.remedy,
            ) from error  # fmt: skip
    return done


class _Row(dict[str, Any]):
    """A row that knows its line."""

    line = 0


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
                known = _Row(row)
                known.line = number
                yield known
    except FileNotFoundError:
        raise UserError("There is no file {path}.", "Check the path.", path=str(path)) from None
    except UnicodeDecodeError as error:
        raise UserError("{path} is not in UTF-8.", "Save it as UTF-8.", path=str(path)) from error
