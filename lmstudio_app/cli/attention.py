"""``lmstudio-app attention``: a model's own attention weights for a text, as numbers or as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from lmstudio_app.cli.console import console_context
from lmstudio_app.devices import DEVICES
from lmstudio_app.inspection.export import AttentionJob, run_attention_job


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "attention",
        help="write a model's attention weights for a text",
        description="Write a model's attention weights for a text. Layers and heads count from 0.",
    )
    parser.add_argument("--model", required=True, metavar="REF", help="catalogue name, hub id or folder; never fetched")
    parser.add_argument("--text", required=True, metavar="T", help="the text to look into")
    parser.add_argument("--pair", metavar="T2", help="a second text, as in sentence pairs")
    parser.add_argument("--layer", type=int, metavar="L", help="only this layer (default: all)")
    parser.add_argument("--head", type=int, metavar="H", help="only this head (default: all)")
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help=".npz: tokens, and weights float32 [layers, heads, query, key]; .png: a picture",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the model runs (default: auto)")
    parser.add_argument("--json", action="store_true", help="print one event a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    job = AttentionJob(
        model=args.model,
        text=args.text,
        pair=args.pair,
        layer=args.layer,
        head=args.head,
        output=args.output,
        device=args.device,
    )
    with console_context(json=args.json) as ctx:
        run_attention_job(job, ctx)
    return 0
