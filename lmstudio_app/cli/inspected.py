"""What the commands that look inside a model have in common: the text it is given, and how pictures look."""

from __future__ import annotations

import argparse
from pathlib import Path

from lmstudio_app.devices import DEVICES
from lmstudio_app.inspection.attribution_inputs import InputText
from lmstudio_app.inspection.colormaps import COLORMAPS
from lmstudio_app.inspection.drawing import DEFAULT_WIDTH, MAXIMUM_WIDTH, MINIMUM_WIDTH


def add_text(parser: argparse.ArgumentParser) -> None:
    """The model, and what it is given."""
    parser.add_argument("--model", required=True, metavar="REF", help="catalogue name, hub id or folder; never fetched")
    parser.add_argument("--text", required=True, metavar="T", help="the text to look into")
    parser.add_argument("--pair", metavar="T2", help="a second text: of a pair, or the one in which the answer stands")
    parser.add_argument(
        "--target",
        metavar="T3",
        help="what an encoder-decoder model has written, such as a translation (default: it writes one)",
    )
    parser.add_argument("--source-language", default="", metavar="CODE", help="of the text, such as en")
    parser.add_argument(
        "--target-language", default="", metavar="CODE", help="what a model translates into, where it knows several"
    )
    parser.add_argument(
        "--chat", action="store_true", help="lay the text out as a user's message, by the model's chat template"
    )


def given_text(args: argparse.Namespace) -> InputText:
    return InputText(
        args.text,
        args.pair,
        args.target,
        ({"role": "user", "content": args.text},) if args.chat else (),
        args.source_language,
        args.target_language,
    )


def add_look(group: argparse._ArgumentGroup) -> None:
    """Size and colours of a picture."""
    group.add_argument(
        "--width",
        type=int,
        default=DEFAULT_WIDTH,
        metavar="PIXELS",
        help=f"of a picture, {MINIMUM_WIDTH} to {MAXIMUM_WIDTH} (default: {DEFAULT_WIDTH})",
    )
    group.add_argument("--colormap", choices=COLORMAPS, default=COLORMAPS[0], help=f"(default: {COLORMAPS[0]})")
    group.add_argument("--dark", action="store_true", help="on a dark background")


def add_rest(parser: argparse.ArgumentParser, files: str) -> None:
    """Where it is written and runs; ``files`` are the suffixes that can be written."""
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help=f"{files}; see below")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the model runs (default: auto)")
    parser.add_argument("--json", action="store_true", help="print one event a line")
