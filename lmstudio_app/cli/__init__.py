"""The command line: every action of the window has its twin here."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from lmstudio_app import __version__
from lmstudio_app.cli import (
    attention,
    attribute,
    chat,
    compare_attention,
    datasets,
    doctor,
    kb,
    lens,
    models,
    predict,
    runs,
    script,
    sweep,
    tokenizer,
    train,
)
from lmstudio_app.cli.console import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from lmstudio_app.errors import Cancelled, as_user_error


class _Parser(argparse.ArgumentParser):
    """Bad usage is bad input: one ``error:`` line, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(EXIT_BAD_INPUT, f"error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lmstudio-app", description="Without a command, the window opens.")
    parser.add_argument("--version", action="version", version=f"lmstudio-app {__version__}")
    parser.add_argument("--debug", action="store_true", help="after an error, print the details that a report needs")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for module in (
        train,
        sweep,
        runs,
        script,
        predict,
        chat,
        attention,
        compare_attention,
        attribute,
        lens,
        kb,
        models,
        tokenizer,
        datasets,
        doctor,
    ):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one command. 0 done, 2 bad input (one ``error:`` line; a traceback only with --debug), 130 interrupted."""
    args = build_parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # programs read UTF-8, whatever the locale; a terminal that lacks a character shows a question mark
        sys.stdout.reconfigure(encoding="utf-8" if args.json else None, errors="replace")
    try:
        code = int(args.run(args) or 0)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # nobody reads stdout any longer, as after ``… | head -1``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Cancelled, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the front door: everything becomes one sentence
        problem = as_user_error(error)
        sys.stderr.write(f"error: {problem.one_line()}\n")
        if args.debug:
            sys.stderr.write(problem.details)
        return EXIT_BAD_INPUT
