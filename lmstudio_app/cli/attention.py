"""``lmstudio-app attention``: a model's own attention weights for a text, as numbers, as a picture or as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from lmstudio_app.cli.console import console_context
from lmstudio_app.devices import DEVICES
from lmstudio_app.inspection.arrangement import Arrangement
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.colormaps import COLORMAPS
from lmstudio_app.inspection.drawing import DEFAULT_WIDTH, MAXIMUM_WIDTH, MINIMUM_WIDTH, PictureStyle, check_width
from lmstudio_app.inspection.export import VIEWS, AttentionJob, run_attention_job
from lmstudio_app.inspection.scales import SCALES
from lmstudio_app.options import parse_numbers

_DESCRIPTION = """\
Write a model's attention weights for a text: numbers, a picture, or a page for the browser.
Layers and heads count from 0. Row by row, the weights say how much a token (the query) takes from each other one
(the key).
"""
_EPILOG = """\
files:
  .npz   arrays for NumPy: tokens, weights float32 [layers, heads, query, key], layers, heads, kind. Of cross-attention
         the keys are tokens (of the source), and the queries are target_tokens (which were written)
  .csv   a row for every weight: layer, head, query, query_token, key, key_token, weight
  .png, .svg, .pdf   a picture of the view: grid (all heads), head or lines (one of them), rollout (all as one map)
  .html  an interactive page in one file, which needs no network

examples:
  lmstudio-app attention --model starter:encoder --text "The cat sat because it was tired." --output all.html
  lmstudio-app attention --model starter:encoder --text "…" --layers 3 --heads 7 --view lines --output head.svg
  lmstudio-app attention --model starter:translate --text "…" --kind cross --output cross.npz
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "attention",
        help="write a model's attention weights for a text",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, metavar="REF", help="catalogue name, hub id or folder; never fetched")
    parser.add_argument("--text", required=True, metavar="T", help="the text to look into")
    parser.add_argument("--pair", metavar="T2", help="a second text, as in sentence pairs")
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
    parser.add_argument(
        "--kind",
        choices=("encoder", "decoder", "cross"),
        help="which attention of an encoder-decoder model (default: the one that the model is for)",
    )
    numbers = "such as 0,5 or 2-4, or all (default: all)"
    parser.add_argument("--layers", "--layer", metavar="L", help=f"only these layers, {numbers}")
    parser.add_argument("--heads", "--head", metavar="H", help=f"only these heads, {numbers}")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help=".npz, .csv, .png, .svg, .pdf or .html; see below"
    )
    looks = parser.add_argument_group("pictures and pages")
    looks.add_argument(
        "--view", choices=VIEWS, help="what is drawn (default: grid, or head where only one is asked for)"
    )
    looks.add_argument(
        "--width",
        type=int,
        default=DEFAULT_WIDTH,
        metavar="PIXELS",
        help=f"of a picture, {MINIMUM_WIDTH} to {MAXIMUM_WIDTH} (default: {DEFAULT_WIDTH})",
    )
    looks.add_argument("--colormap", choices=COLORMAPS, default=COLORMAPS[0], help=f"(default: {COLORMAPS[0]})")
    looks.add_argument(
        "--scale",
        choices=SCALES,
        default="head",
        help="what the strongest colour stands for: the head's largest weight, a weight of 1 (shared), each row's or "
        "column's largest, the largest in powers of ten (log), or the difference from the mean of the heads",
    )
    looks.add_argument("--dark", action="store_true", help="on a dark background")
    looks.add_argument("--hide-special", action="store_true", help="leave out [CLS], <s> and the like")
    looks.add_argument("--merge-words", action="store_true", help="put the pieces of a word together")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the model runs (default: auto)")
    parser.add_argument("--json", action="store_true", help="print one event a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_width(args.width)
    job = AttentionJob(
        model=args.model,
        request=AttentionRequest(
            text=args.text,
            pair=args.pair,
            target=args.target,
            kind=args.kind,
            messages=({"role": "user", "content": args.text},) if args.chat else (),
            layers=parse_numbers(args.layers, "--layers"),
            heads=parse_numbers(args.heads, "--heads"),
            source_language=args.source_language,
            target_language=args.target_language,
        ),
        output=args.output,
        view=args.view or "",
        device=args.device,
        style=PictureStyle(width=args.width, dark=args.dark, colormap=args.colormap, scale=args.scale),
        arrangement=Arrangement(hide_special=args.hide_special, merge_words=args.merge_words),
    )
    with console_context(json=args.json) as ctx:
        run_attention_job(job, ctx)
    return 0
