"""``lmstudio-app lens``: what a model would say after each of its layers."""

from __future__ import annotations

import argparse

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.inspected import add_rest, add_text, given_text
from lmstudio_app.inspection.attribution_export import check_format, save_lens
from lmstudio_app.inspection.logit_lens import TOP, LensRequest, read_lens

_DESCRIPTION = """\
The logit lens (nostalgebraist 2020): the states after every layer go through the model's own final norm and output
head.
Layer 0 are the embeddings, the last layer is what the model says. Early layers can look more confused than they are,
because the head was made for the last one (Belrose et al. 2023).
"""
_EPILOG = """\
files:
  .json   layers[layer][position]: the likeliest answers, and probability and rank of the model's own answer
  .csv    a row for each of the likeliest answers of every layer and position

examples:
  lmstudio-app lens --model starter:chat --text "The capital of France is" --output paris.json
  lmstudio-app lens --model starter:sentiment --text "not bad at all" --output layers.csv
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "lens",
        help="write what a model would say after each of its layers",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_text(parser)
    parser.add_argument(
        "--top", type=int, default=TOP, metavar="K", help=f"how many answers are kept of each place (default: {TOP})"
    )
    add_rest(parser, ".json or .csv")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lmstudio_app.models.loading import LoadRequest, load_model

    check_format(args.output)
    with console_context(json=args.json) as ctx:
        loaded = load_model(LoadRequest(args.model, device=args.device, precision="float32"), ctx)
        ctx.status("Reading every layer")
        save_lens(read_lens(loaded, LensRequest(given_text(args), args.top), ctx), args.output)
        ctx.status("Saved {path}", path=str(args.output))
    return 0
