"""``lmstudio-app attention``: a model's own attention weights for a text, as numbers, as a picture or as a page."""

from __future__ import annotations

import argparse

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.inspected import add_look, add_rest, add_text, given_text
from lmstudio_app.inspection.arrangement import Arrangement
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.drawing import PictureStyle, check_width
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
    add_text(parser)
    parser.add_argument(
        "--kind",
        choices=("encoder", "decoder", "cross"),
        help="which attention of an encoder-decoder model (default: the one that the model is for)",
    )
    numbers = "such as 0,5 or 2-4, or all (default: all)"
    parser.add_argument("--layers", "--layer", metavar="L", help=f"only these layers, {numbers}")
    parser.add_argument("--heads", "--head", metavar="H", help=f"only these heads, {numbers}")
    looks = parser.add_argument_group("pictures and pages")
    looks.add_argument(
        "--view", choices=VIEWS, help="what is drawn (default: grid, or head where only one is asked for)"
    )
    add_look(looks)
    looks.add_argument(
        "--scale",
        choices=SCALES,
        default="head",
        help="what the strongest colour stands for: the head's largest weight, a weight of 1 (shared), each row's or "
        "column's largest, the largest in powers of ten (log), or the difference from the mean of the heads",
    )
    looks.add_argument("--hide-special", action="store_true", help="leave out [CLS], <s> and the like")
    looks.add_argument("--merge-words", action="store_true", help="put the pieces of a word together")
    add_rest(parser, ".npz, .csv, .png, .svg, .pdf or .html")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_width(args.width)
    given = given_text(args)
    job = AttentionJob(
        model=args.model,
        request=AttentionRequest(
            text=given.text,
            pair=given.pair,
            target=given.target,
            kind=args.kind,
            messages=given.messages,
            layers=parse_numbers(args.layers, "--layers"),
            heads=parse_numbers(args.heads, "--heads"),
            source_language=given.source_language,
            target_language=given.target_language,
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
