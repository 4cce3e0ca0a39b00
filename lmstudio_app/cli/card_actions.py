"""The action ``lmstudio-app models show``: a model's card as people read it."""

from __future__ import annotations

import argparse
import json
import sys

from lmstudio_app.cli.console import console_context
from lmstudio_app.models.card_texts import read_card_text


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    show = actions.add_parser("show", help="a model's card: what it learned from, how well it does, what it cannot do")
    show.add_argument("ref", metavar="REF")
    show.add_argument("--json", action="store_true", help="one JSON object on stdout")
    show.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    with console_context() as ctx:
        card = read_card_text(args.ref, ctx)
    if args.json:
        values = {"reference": card.reference, "path": str(card.path), "text": card.text}
        sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(card.text)
    return 0
