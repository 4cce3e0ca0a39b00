"""``lmstudio-app compare-attention``: what two texts, or two models, look at, and what is different."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.inspected import add_look, add_rest
from lmstudio_app.errors import UserError
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.drawing import PictureStyle, check_width
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_DESCRIPTION = """\
Compare what two texts look like to one model, or one text to two models, head by head. A checkpoint of a run is a
model like any other: before and after a training are two of them.
The second is compared with the first: what is more counts as plus. Only tokens that both have are compared.
"""
_EPILOG = """\
files:
  .png, .svg, .pdf   the maps of one head: of the first, of the second, and the difference
  .npz   how far every head has moved, and the maps of one head
  .csv   how far every head has moved; with --layer or --head, a row for every cell of one head

Without --layer and --head it is the head that has changed most; they count from 0, as the second model does.

examples:
  lmstudio-app compare-attention --model starter:encoder --other starter:sentiment --text "Not bad at all." \\
      --output change.png
  lmstudio-app compare-attention --model starter:encoder --text "It was too tired." --other-text "It was too wide." \\
      --output heads.csv
  lmstudio-app compare-attention --model runs/R/checkpoints/step-00000100 --other runs/R/final --text "…" \\
      --output change.npz
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compare-attention",
        help="compare the attention of two texts, two models or two checkpoints",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", required=True, metavar="REF", help="catalogue name, hub id, folder or checkpoint; never fetched"
    )
    parser.add_argument("--text", required=True, metavar="T", help="the text to look into")
    parser.add_argument("--other", metavar="REF2", help="the model to compare with (default: the same)")
    parser.add_argument("--other-text", metavar="T2", help="the text to compare with (default: the same)")
    parser.add_argument(
        "--kind", choices=("encoder", "decoder", "cross"), help="which attention of encoder-decoder models"
    )
    parser.add_argument("--layer", type=int, metavar="L", help="of the head that is written")
    parser.add_argument("--head", type=int, metavar="H", help="the head that is written")
    looks = parser.add_argument_group("pictures")
    add_look(looks)
    add_rest(parser, ".png, .svg, .pdf, .npz or .csv")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lmstudio_app.inspection.comparison import ComparisonRequest, Subject, read_comparison
    from lmstudio_app.inspection.comparison_export import (
        SaveComparison,
        check_comparison_format,
        find_head,
        head_name,
        save_comparison,
    )

    check_width(args.width)
    check_comparison_format(args.output)
    if args.other is None and args.other_text is None:
        raise UserError(
            "There is nothing to compare with.", "Name a second model (--other) or a second text (--other-text)."
        )
    with console_context(json=args.json) as ctx:
        first = _load(args.model, args.device, ctx)
        second = first if args.other in (None, args.model) else _load(args.other, args.device, ctx)
        texts = (args.text, args.text if args.other_text is None else args.other_text)
        subjects = [
            Subject(loaded, AttentionRequest(text, kind=args.kind))
            for loaded, text in zip((first, second), texts, strict=True)
        ]
        ctx.status("Comparing the attention")
        comparison = read_comparison(ComparisonRequest(*subjects), ctx)
        place = find_head(comparison, args.layer, args.head)
        shown = place or comparison.order()[0]
        change = comparison.changes[shown[0]][shown[1]]
        template = "Changed most: {head}; {share} % of its attention has moved"
        if place is not None:
            template = "{head}: {share} % of its attention has moved"
        ctx.status(template, head=head_name(comparison, shown), share=f"{100 * change.moved:.1f}")
        names = texts if second is first else (args.model, args.other)
        style = PictureStyle(width=args.width, dark=args.dark, colormap=args.colormap)
        job = SaveComparison(comparison, args.output, names, place, head_only=place is not None, style=style)
        save_comparison(job, ctx)
    return 0


def _load(reference: str, device: str, ctx: JobContext) -> LoadedModel:
    from lmstudio_app.models.loading import LoadRequest, load_model
    from lmstudio_app.training.states import loadable

    return load_model(LoadRequest(loadable(reference, ctx), device=device, precision="float32"), ctx)
