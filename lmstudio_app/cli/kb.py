"""``lmstudio-app kb``: build knowledge bases of files, see what is in them, and ask them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.devices import DEVICES
from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, TextChunk
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.knowledge.asking import BothAnswers

HANDBOOK = "handbook"
STARTERS = ("starter:qa", "starter:chat")  # reader and chat model
_NONE = "none"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "kb",
        help="build a knowledge base of files, and ask it",
        description="DIR is the folder of a knowledge base, or the name of one that `kb new` or the app has made; "
        f"{HANDBOOK} is the app's own handbook.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    build = actions.add_parser(
        "build",
        help="put files and folders in, or bring it up to date",
        description="Only what has changed is read and embedded. Without a FILE, what is in it is brought up to date.",
    )
    build.add_argument("place", metavar="DIR")
    build.add_argument(
        "sources", nargs="*", type=Path, metavar="FILE", help="txt, md, html, pdf, docx, csv, or a folder"
    )
    build.add_argument("--remove", action="append", default=[], type=Path, metavar="FILE", help="a source that leaves")
    build.add_argument(
        "--encoder", default="", metavar="REF", help="default: the one it was built with, or starter:encoder"
    )
    build.add_argument("--passage-tokens", type=int, metavar="N", help="longest passage (default: 160)")
    build.add_argument("--overlap-tokens", type=int, metavar="N", help="tokens that two passages share (default: 40)")
    build.add_argument("--device", default="auto", choices=DEVICES)
    build.add_argument("--json", action="store_true", help="one event a line on stdout, the report last")
    build.set_defaults(run=_build)

    ask = actions.add_parser("ask", help="answer a question from it, with the passages that say so")
    ask.add_argument("place", metavar="DIR")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument(
        "--model", metavar="REF",
        help=f"a question answering model, which marks the answer (default: {STARTERS[0]} when it is on disk); "
        f'"{_NONE}": the nearest sentence',
    )  # fmt: skip
    ask.add_argument(
        "--chat-model", metavar="REF",
        help=f'a chat model, which writes an answer (default: {STARTERS[1]} when it is on disk); "{_NONE}": nobody',
    )  # fmt: skip
    ask.add_argument("--top", type=int, default=5, metavar="N", help="passages (default: 5)")
    ask.add_argument(
        "--read", type=int, default=2, metavar="N", help="passages that a chat model writes from (default: 2)"
    )
    ask.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="of a chat model (default: 128)")
    ask.add_argument(
        "--min-probability",
        type=float,
        default=0.4,
        metavar="P",
        help='below it the answer is "not in the knowledge base" (default: 0.4)',
    )
    ask.add_argument(
        "--min-score", type=float, default=0.15, metavar="P",
        help="what --model marks with a lower score counts as none (default: 0.15)",
    )  # fmt: skip
    ask.add_argument("--device", default="auto", choices=DEVICES)
    ask.add_argument("--json", action="store_true", help="one JSON object on stdout")
    ask.set_defaults(run=_ask)

    listing = actions.add_parser("list", help="the knowledge bases with a name, or the files in one")
    listing.add_argument("place", nargs="?", metavar="DIR", help="what is in it, and what is wrong with its files")
    listing.add_argument("--json", action="store_true", help="one JSON object on stdout (without DIR, a list)")
    listing.set_defaults(run=_list)

    new = actions.add_parser("new", help="make an empty one by name, in the app's data folder")
    new.add_argument("name", metavar="NAME")
    new.set_defaults(run=_new, json=False)
    rename = actions.add_parser("rename", help="give one another name")
    rename.add_argument("name", metavar="NAME")
    rename.add_argument("new", metavar="NEW")
    rename.set_defaults(run=_rename, json=False)
    delete = actions.add_parser("delete", help="move one to the system's trash; the files that it is of stay")
    delete.add_argument("name", metavar="NAME")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(run=_delete, json=False)


def _build(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.building import BuildRequest, PassageOptions, build_knowledge_base
    from lmstudio_app.knowledge.shelf import folder_of

    given = {name: value for name in ("passage_tokens", "overlap_tokens") if (value := getattr(args, name)) is not None}
    if "passage_tokens" in given:  # a short passage alone must not fail for the default overlap
        given.setdefault("overlap_tokens", min(PassageOptions().overlap_tokens, given["passage_tokens"] // 4))
    passages = PassageOptions(**given) if given else None
    if args.place == HANDBOOK and not Path(args.place).exists() and (args.sources or args.remove):
        raise UserError("The handbook stays: it belongs to the application.", "Make a knowledge base of your own.")
    with console_context(json=args.json) as ctx:
        folder = folder_of(args.place, ctx)
        request = BuildRequest(folder, tuple(args.sources), tuple(args.remove), args.encoder, args.device, passages)
        report = build_knowledge_base(request, ctx)
    if args.json:
        values = dataclasses.asdict(report) | {"folder": str(report.folder)}
        values["problems"] = [note.message for note in report.problems]
        _write_json({"event": "report", **values}, indent=None)
    else:
        sys.stderr.write(
            f"{report.added} files added, {report.changed} changed, {report.removed} removed, "
            f"{report.unchanged} unchanged, {len(report.problems)} not readable; {report.embedded} passages embedded\n"
        )
    return 0


def _ask(args: argparse.Namespace) -> int:
    from lmstudio_app.chat.engine import engine_for
    from lmstudio_app.knowledge.answering import AskOptions
    from lmstudio_app.knowledge.asking import ask
    from lmstudio_app.knowledge.search import KnowledgeBase
    from lmstudio_app.knowledge.shelf import folder_of
    from lmstudio_app.models.loading import LoadRequest, load_model

    if not args.question.strip():
        raise UserError("The question is empty.", "Write one, in quotation marks.")
    options = AskOptions(
        top=args.top,
        read=args.read,
        min_probability=args.min_probability,
        min_score=args.min_score,
        max_new_tokens=args.max_new_tokens,
    )
    references = [
        _chosen(given, starter) for given, starter in zip((args.model, args.chat_model), STARTERS, strict=True)
    ]
    with console_context() as console, contextlib.ExitStack() as stack:
        ctx = JobContext(_without_text(console.emit), console.control) if args.json else console
        base = stack.enter_context(KnowledgeBase(folder_of(args.place, ctx), device=args.device))
        reader = load_model(LoadRequest(references[0], device=args.device), ctx) if references[0] else None
        chat = stack.enter_context(engine_for(references[1], ctx)) if references[1] else None
        both = ask(base, args.question, ctx, options, reader=reader, chat=chat)
    if args.json:
        _write_json(both.answer.to_row())
    else:
        _show(both)
    return 0


def _chosen(given: str | None, starter: str) -> str:
    """The reference of a model, or nothing. A starter is taken where it can be loaded without the network."""
    from lmstudio_app.models.references import is_present

    if given is None:
        return starter if is_present(starter) and is_present("starter:encoder") else ""
    return "" if given == _NONE else given


def _without_text(emit: Callable[[Event], None]) -> Callable[[Event], None]:
    """stdout is for the one object."""
    return lambda event: None if isinstance(event, TextChunk) else emit(event)


def _show(both: BothAnswers) -> None:
    """What a chat model wrote is on the screen already."""
    if both.written is not None:
        sys.stdout.write("\n\n")
    if not both.marked.is_found:
        sys.stdout.write("Not in the knowledge base.\n")
        return
    marked = " ".join(both.marked.answer.split())
    sys.stdout.write(f"In the text: {marked}\n" if both.written is not None else f"{marked}\n")
    for number, source in enumerate(both.marked.sources, 1):
        page = f", page {source.page}" if source.page is not None else ""
        heading = f" ({source.heading})" if source.heading else ""
        sys.stdout.write(f"\n[{number}] {source.file}{page}, characters {source.start} to {source.end}{heading}\n")
        sys.stdout.write("".join(f"    {line}\n" for line in source.text.splitlines() if line.strip()))


def _list(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.search import KnowledgeBase
    from lmstudio_app.knowledge.shelf import folder_of

    if args.place is None:
        return _list_shelf(args)
    with console_context() as ctx, KnowledgeBase(folder_of(args.place, ctx)) as base:
        files, waiting, identity, sources = base.files(), base.count_waiting(), base.identity, base.sources()
    if args.json:
        rows = [{"file": file.path, "size": file.size, "passages": file.passages,
                 "notes": [note.message for note in file.notes]} for file in files]  # fmt: skip
        _write_json(
            {
                "encoder": identity.reference,
                "sources": [str(path) for path in sources],
                "passages": sum(file.passages for file in files),
                "waiting": waiting,
                "files": rows,
            }
        )
        return 0
    rows_of_text = [(str(file.passages), file.path, " ".join(note.message for note in file.notes)) for file in files]
    write_table([("PASSAGES", "FILE", "NOTES"), *rows_of_text])
    if waiting:
        sys.stderr.write(f"{waiting} passages are not embedded yet: kb build {args.place} goes on\n")
    return 0


def _list_shelf(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.shelf import list_shelf

    with console_context() as ctx:
        entries = list_shelf(ctx)
    if args.json:
        _write_json(
            [
                {"name": entry.name, "folder": str(entry.folder), "files": entry.files, "problems": entry.problems,
                 "passages": entry.passages, "waiting": entry.waiting,
                 "error": entry.error.message if entry.error is not None else None}
                for entry in entries
            ]
        )  # fmt: skip
        return 0
    rows = [
        (str(entry.passages), str(entry.files), entry.name, entry.error.message if entry.error is not None else "")
        for entry in entries
    ]
    write_table([("PASSAGES", "FILES", "NAME", "NOTES"), *rows])
    return 0


def _new(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.shelf import create_base

    folder = create_base(args.name)
    sys.stdout.write(f"{folder}\n")
    return 0


def _rename(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.shelf import rename_base

    sys.stdout.write(f"{rename_base(args.name, args.new)}\n")
    return 0


def _delete(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.shelf import own_folder, trash_base

    folder = own_folder(args.name)
    if not args.yes:
        if not sys.stdin.isatty():
            raise UserError("Deleting a knowledge base needs a yes.", "Add --yes.")
        sys.stderr.write(f"Move {folder} to the trash? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
            sys.stderr.write("Nothing was deleted.\n")
            return 0
    trash_base(args.name)
    return 0


def _write_json(value: object, indent: int | None = 1) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
