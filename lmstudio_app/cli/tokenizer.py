"""``lmstudio-app tokenizer``: learn a vocabulary from texts, and see how a tokenizer cuts them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from lmstudio_app.cli.console import console_context
from lmstudio_app.models.architectures import FAMILIES, TOKENIZERS, TokenizerConfig
from lmstudio_app.models.tokenizer_report import TokenizerReport


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("tokenizer", help="learn a vocabulary, see how texts are cut into tokens")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    train = actions.add_parser("train", help="learn a tokenizer from the texts of a data set or of files")
    _add_data(train, required=True)
    train.add_argument("--output", required=True, type=Path, metavar="DIR", help="a new folder")
    train.add_argument("--kind", default="auto", choices=TOKENIZERS, help="auto: the family's usual one")
    train.add_argument("--vocabulary", type=int, default=8000, metavar="N", help="pieces at most (default: 8000)")
    train.add_argument("--family", default="bert", choices=FAMILIES, help="of the models that it is for")
    train.add_argument("--max-length", type=int, default=512, metavar="N", help="tokens a model reads (default: 512)")
    train.add_argument("--lowercase", action="store_true", help="make no difference between capital and small letters")
    train.add_argument("--special-token", action="append", default=[], metavar="T", help="a token that stays whole")
    train.set_defaults(run=_train)
    show = actions.add_parser("show", help="how a tokenizer cuts texts, and what it cannot read")
    show.add_argument("tokenizer", metavar="REF", help="a folder, a catalogue name or a hub id; never fetched")
    show.add_argument("--text", action="append", default=[], metavar="T", help="a text; may be given several times")
    _add_data(show, required=False)
    show.set_defaults(run=_show)


def _add_data(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--data", nargs="+", required=required, metavar="REF", help="bundled names or files")
    parser.add_argument("--column", action="append", default=[], metavar="NAME", help="with texts (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _train(args: argparse.Namespace) -> int:
    from lmstudio_app.training.vocabulary import TokenizerRequest, learn_tokenizer

    config = TokenizerConfig(kind=args.kind, vocabulary=args.vocabulary, lowercase=args.lowercase)
    request = TokenizerRequest(
        args.data, args.output, config, args.family, args.max_length, tuple(args.column), tuple(args.special_token)
    )
    with console_context() as ctx:
        report = learn_tokenizer(request, ctx)
    _print(report, as_json=args.json)
    return 0


def _show(args: argparse.Namespace) -> int:
    from lmstudio_app.errors import UserError
    from lmstudio_app.training.vocabulary import ReportRequest, report_on_tokenizer

    if not args.text and not args.data:
        raise UserError("There is nothing to cut.", "Add --text TEXT or --data FILE.")
    request = ReportRequest(args.tokenizer, tuple(args.text), args.data, tuple(args.column))
    with console_context() as ctx:
        report = report_on_tokenizer(request, ctx)
    _print(report, as_json=args.json)
    return 0


def _print(report: TokenizerReport, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(report), ensure_ascii=False) + "\n")
        return
    print(f"vocabulary       {report.vocabulary:,} pieces")
    print(f"words            {report.words:,} in {report.texts:,} texts")
    print(f"coverage         {report.coverage:.2%} of the words, {report.character_coverage:.2%} of their characters")
    print(f"tokens per word  {report.tokens_per_word:.2f}")
    if report.unknown_words:
        print(f"not covered      {' '.join(report.unknown_words)}")
    for text, tokens in report.samples:
        print(f"\n{text}\n  {' '.join(tokens)}")
