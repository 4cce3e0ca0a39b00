"""``lmstudio-app chat``: talk to a model in the terminal, and see to the stored conversations."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import typing
from pathlib import Path

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.errors import UserError

_DEFAULT_MODEL = "starter:chat"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from lmstudio_app.chat.engine import KINDS
    from lmstudio_app.tasks.replying import ReplyOptions

    parser = commands.add_parser(
        "chat",
        help="talk to a model; list, search and export conversations",
        description="Without an ACTION it talks: with a person at the terminal until /quit, or one answer to what is "
        "piped in. Ctrl+C ends an answer where it is.",
    )
    parser.add_argument("--model", metavar="REF", help=f"catalogue name, hub id, folder (default: {_DEFAULT_MODEL})")
    parser.add_argument("--conversation", type=int, metavar="ID", help="go on with a stored one")
    parser.add_argument("--preset", metavar="NAME", help="Precise (the default), Balanced, Creative, or your own")
    parser.add_argument("--engine", default="auto", choices=KINDS, help="what computes (default: auto)")
    parser.add_argument("--no-store", action="store_true", help="keep nothing of it")
    hints = typing.get_type_hints(ReplyOptions)
    for field in dataclasses.fields(ReplyOptions):
        if field.name != "batch_size":
            text = f"{field.metadata['help']} (default: the preset's)".replace("%", "%%")
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=hints[field.name], help=text)
    parser.set_defaults(run=_talk, json=False)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    listing = actions.add_parser("list", help="stored conversations, the last changed first")
    listing.add_argument("--json", action="store_true", help="one JSON list on stdout")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="one conversation as text")
    show.add_argument("id", type=int, metavar="ID")
    show.add_argument("--json", action="store_true", help="one JSON object on stdout, branches included")
    show.set_defaults(run=_show)
    search = actions.add_parser("search", help="where words occur")
    search.add_argument("words", metavar="WORDS")
    search.add_argument("--json", action="store_true", help="one JSON list on stdout")
    search.set_defaults(run=_search)
    export = actions.add_parser("export", help="write conversations to a file: .md, or .jsonl, which can be imported")
    export.add_argument("ids", type=int, nargs="*", metavar="ID", help="default: all")
    export.add_argument("--output", type=Path, required=True, metavar="FILE")
    export.set_defaults(run=_export)
    importing = actions.add_parser("import", help="put in what was exported, or any chats in JSON Lines")
    importing.add_argument("file", type=Path, metavar="FILE.jsonl")
    importing.set_defaults(run=_import)
    delete = actions.add_parser("delete", help="delete a conversation; within 30 days --undo brings it back")
    delete.add_argument("id", type=int, metavar="ID")
    delete.add_argument("--undo", action="store_true")
    delete.set_defaults(run=_delete)


def _talk(args: argparse.Namespace) -> int:
    from lmstudio_app.chat.conversations import Conversations
    from lmstudio_app.chat.engine import open_engine
    from lmstudio_app.chat.presets import find_preset
    from lmstudio_app.cli.talking import Talk
    from lmstudio_app.tasks.replying import ReplyOptions

    options = find_preset(args.preset or "Precise").options
    names = [field.name for field in dataclasses.fields(ReplyOptions) if field.name != "batch_size"]
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    options = dataclasses.replace(options, **given)
    is_person = sys.stdin.isatty()
    question = "" if is_person else sys.stdin.read().strip()
    if not is_person and not question:
        raise UserError("There is no question on stdin.", 'Pipe one in, as in: echo "Hello" | lmstudio-app chat')
    with Conversations(Path(":memory:") if args.no_store else None) as store:
        known = store.get(args.conversation) if args.conversation is not None else None
        model = args.model or (known.model if known else "") or _DEFAULT_MODEL
        with console_context() as ctx:
            engine = open_engine(model, ctx, args.engine)
        try:
            talk = Talk(store, engine, options, known)
            return talk.answer_once(question) if question else talk.run()
        finally:
            engine.close()


def _list(args: argparse.Namespace) -> int:
    from lmstudio_app.chat.conversations import Conversations

    with Conversations() as store:
        found = store.all()
    if args.json:
        _write_json([dataclasses.asdict(known) for known in found])
        return 0
    rows = [(str(known.id), _when(known.changed), str(known.messages), known.model, known.title) for known in found]
    write_table([("ID", "CHANGED", "MESSAGES", "MODEL", "TITLE"), *rows])
    return 0


def _show(args: argparse.Namespace) -> int:
    from lmstudio_app.chat.conversations import Conversations
    from lmstudio_app.chat.exchange import to_markdown, to_row

    with Conversations() as store:
        if args.json:
            _write_json(to_row(store, args.id))
        else:
            sys.stdout.write(to_markdown(store, args.id))
    return 0


def _search(args: argparse.Namespace) -> int:
    from lmstudio_app.chat.conversations import Conversations

    with Conversations() as store:
        hits = store.search(args.words)
    if args.json:
        _write_json([dataclasses.asdict(hit) for hit in hits])
    else:
        write_table([("ID", "TITLE", "FOUND"), *((str(hit.conversation), hit.title, hit.snippet) for hit in hits)])
    return 0


def _export(args: argparse.Namespace) -> int:
    from lmstudio_app.chat.conversations import Conversations
    from lmstudio_app.chat.exchange import to_jsonl, to_markdown
    from lmstudio_app.files import atomic_write_text

    if args.output.suffix not in (".md", ".jsonl"):
        raise UserError("{path} is neither .md nor .jsonl.", "Give the file one of these endings.", path=args.output)
    with Conversations() as store:
        ids = args.ids or [known.id for known in store.all()]
        if args.output.suffix == ".jsonl":
            text = to_jsonl(store, ids)
        else:
            text = "\n".join(to_markdown(store, number) for number in ids)
    atomic_write_text(args.output, text)
    sys.stderr.write(f"{len(ids)} conversations written to {args.output}\n")
    return 0


def _import(args: argparse.Namespace) -> int:
    from lmstudio_app.chat.conversations import Conversations
    from lmstudio_app.chat.exchange import from_jsonl

    try:
        with args.file.open(encoding="utf-8-sig") as file, Conversations() as store:
            made = from_jsonl(store, file)
    except UnicodeDecodeError as error:
        raise UserError("{path} is not in UTF-8.", "Save it as UTF-8.", path=str(args.file)) from error
    sys.stderr.write(f"{len(made)} conversations imported\n")
    return 0


def _delete(args: argparse.Namespace) -> int:
    from lmstudio_app.chat.conversations import Conversations

    with Conversations() as store:
        known = store.get(args.id)
        if args.undo:
            store.undelete(args.id)
        else:
            store.delete(args.id)
    back = "" if args.undo else f"; it comes back with: lmstudio-app chat delete {args.id} --undo"
    sys.stderr.write(f"{known.title or args.id} is {'there again' if args.undo else 'deleted'}{back}\n")
    return 0


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _write_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")
