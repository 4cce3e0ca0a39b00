"""``lmstudio-app attribute``: what an answer of a model owes to each token of its input."""

from __future__ import annotations

import argparse

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.inspected import add_rest, add_text, given_text
from lmstudio_app.inspection.attribution import METHODS, AttributionRequest, attribute
from lmstudio_app.inspection.attribution_export import check_format, save_attribution

_DESCRIPTION = """\
Explain one answer of a model: how much each token of the input speaks for it, and how much against it.
Without more it is the answer that the model gives by itself: its label, the word at the first gap, the next token, the
first token of a translation, the span that answers a question, or how similar two texts are.
"""
_EPILOG = """\
methods (all three by default):
  integrated-gradients   adds up to the difference that the words make to the answer's log-odds, but for "error"
                         (Sundararajan, Taly and Yan 2017)
  gradient-x-input       what a small change of each token would change; one pass, and blind to what has saturated
                         (Shrikumar et al. 2016)
  attention-x-gradient   the attention that the answer depends on, followed through the layers; never below 0
                         (Chefer, Gur and Wolf 2021)
None of them proves a cause. Where they agree, hide the word and ask the model again.

files:
  .json   everything: answer, value, baseline, error, tokens, scores by method
  .csv    a row a token: position, token, special, and a column a method

examples:
  lmstudio-app attribute --model starter:sentiment --text "not bad at all" --output words.csv
  lmstudio-app attribute --model starter:chat --text "The capital of France is" --answer Paris --output paris.json
  lmstudio-app attribute --model starter:encoder --text "A man eats." --pair "Someone has a meal." --output pair.csv
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "attribute",
        help="explain an answer by the tokens of the input",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_text(parser)
    parser.add_argument(
        "--method", action="append", choices=METHODS, metavar="M", help="one of those below; may be given several times"
    )
    parser.add_argument(
        "--position",
        type=int,
        metavar="N",
        help="explain the word at this token, counted from 0 as the output lists them",
    )
    parser.add_argument("--answer", metavar="A", help="explain this label or word in place of the model's own")
    add_rest(parser, ".json or .csv")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lmstudio_app.models.loading import LoadRequest, load_model

    check_format(args.output)
    request = AttributionRequest(
        given_text(args), tuple(dict.fromkeys(args.method or METHODS)), args.position, args.answer
    )
    with console_context(json=args.json) as ctx:
        loaded = load_model(LoadRequest(args.model, device=args.device, precision="float32"), ctx)
        ctx.status("Explaining the answer")
        found = attribute(loaded, request, ctx)
        save_attribution(found, args.output)
        ctx.status("“{answer}”: {value} {unit}", answer=found.answer, value=f"{found.value:+.2f}", unit=found.unit)
        ctx.status("Saved {path}", path=str(args.output))
    return 0
