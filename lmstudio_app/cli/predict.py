"""``lmstudio-app predict WHAT``: a file of inputs in, a file of outputs in the same order out."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

from lmstudio_app.cli.console import console_context
from lmstudio_app.devices import DEVICES, PRECISIONS
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answering import AskOptions
from lmstudio_app.playground.predictions import PREDICTIONS, find_prediction
from lmstudio_app.tasks import Prediction
from lmstudio_app.tasks.answer_search import ASK
from lmstudio_app.tasks.outputs import Answer, Candidates, Label, Text


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
        is_asking = prediction.name == ASK.name
        command.add_argument(
            "--model", required=not is_asking, metavar="REF", help="catalogue name, hub id or folder; never fetched"
        )
        command.add_argument("--input", required=True, type=Path, metavar="IN.jsonl", help="or a table, such as CSV")
        command.add_argument(
            "--output",
            required=True,
            type=Path,
            metavar="OUT.jsonl",
            help="or OUT.csv, with the inputs beside; an interrupted one is continued",
        )
        command.add_argument("--device", default="auto", choices=DEVICES)
        command.add_argument("--precision", default="auto", choices=PRECISIONS)
        command.add_argument(
            "--columns", nargs="+", default=[], type=_column, metavar="INPUT=COLUMN",
            help="of a table (CSV, TSV, Parquet, …): the column of each input; default: those that look like it",
        )  # fmt: skip
        add_options(command, prediction.options)
        if is_asking:
            _add_knowledge_base(command)
        command.add_argument("--json", action="store_true", help="one event a line on stdout")
        command.set_defaults(run=run)


def _add_knowledge_base(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "answers from a knowledge base",
        'With --knowledge-base a row is {"question": …}, and its output {"answer": …, "score": PROBABILITY, '
        '"sources": [{"file", "start", "end", "text"}, …]}. A question answering model marks the answer, a '
        "chat model writes it; without --model the nearest sentence is the answer.",
    )
    group.add_argument("--knowledge-base", metavar="DIR", help="its folder or its name, such as handbook")
    group.add_argument("--chat-model", metavar="REF", default="", help="writes beside a --model that marks")
    add_options(group, AskOptions)


def _column(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not INPUT=COLUMN")
    return name, column


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


def add_options(parser: argparse._ActionsContainer, options: type) -> None:
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


def run(args: argparse.Namespace) -> int:
    from lmstudio_app.models.loading import LoadRequest, load_model
    from lmstudio_app.playground.files import FileRequest, predict_file
    from lmstudio_app.playground.rows import count_rows

    prediction, subject = find_prediction(args.prediction), ""
    with console_context(json=args.json) as ctx:
        count_rows(args.input, ctx)  # a file that cannot be read is told before a model is loaded
        if getattr(args, "knowledge_base", None):
            prediction, subject = _from_knowledge_base(args, ctx)
        elif args.model is None:
            raise UserError("No model is named.", "Add --model REF, or --knowledge-base DIR.")
        request = FileRequest(
            prediction, args.input, args.output, read_options(args, prediction.options), dict(args.columns), subject
        )
        loaded = None
        if args.model is not None:
            loaded = load_model(LoadRequest(args.model, device=args.device, precision=args.precision), ctx)
        report = predict_file(request, loaded, ctx)
    if not args.json:
        sys.stderr.write(f"{report.rows} rows written to {report.output}\n")
    return 0


def _from_knowledge_base(args: argparse.Namespace, ctx: JobContext) -> tuple[Prediction, str]:
    """The prediction, and what tells its knowledge base from any other."""
    from lmstudio_app.knowledge.prediction import content_digest, knowledge_prediction
    from lmstudio_app.knowledge.shelf import folder_of

    folder = folder_of(args.knowledge_base, ctx)
    return knowledge_prediction(folder, chat=args.chat_model, device=args.device), content_digest(folder)
