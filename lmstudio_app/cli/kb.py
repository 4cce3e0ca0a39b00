"""``lmstudio-app kb``: build a knowledge base of files, see what is in it, and ask it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.devices import DEVICES
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.knowledge.answers import KnowledgeAnswer

_HANDBOOK = "handbook"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "kb",
        help="build a knowledge base of files, and ask it",
        description=f"DIR is the folder of a knowledge base; {_HANDBOOK} means the app's own handbook.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    build = actions.add_parser(
        "build",
        help="put files and folders in, or bring it up to date",
        description="Only what has changed is read and embedded. Without a FILE, what is in it is brought up to date.",
    )
    build.add_argument("folder", type=Path, metavar="DIR")
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
    ask.add_argument("folder", type=Path, metavar="DIR")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--model", metavar="REF", help="a question answering model, which marks the answer")
    ask.add_argument("--chat-model", metavar="REF", help="a chat model, which writes the answer")
    ask.add_argument("--top", type=int, default=5, metavar="N", help="passages (default: 5)")
    ask.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="of a chat model (default: 128)")
    ask.add_argument(
        "--min-probability",
        type=float,
        default=0.4,
        metavar="P",
        help='below it the answer is "not in the knowledge base" (default: 0.4)',
    )
    ask.add_argument("--device", default="auto", choices=DEVICES)
    ask.add_argument("--json", action="store_true", help="one JSON object on stdout")
    ask.set_defaults(run=_ask)

    listing = actions.add_parser("list", help="the files in it, and what is wrong with them")
    listing.add_argument("folder", type=Path, metavar="DIR")
    listing.add_argument("--json", action="store_true", help="one JSON object on stdout")
    listing.set_defaults(run=_list)


def _build(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.building import BuildRequest, PassageOptions, build_knowledge_base

    given = {name: value for name in ("passage_tokens", "overlap_tokens") if (value := getattr(args, name)) is not None}
    if "passage_tokens" in given:  # a short passage alone must not fail for the default overlap
        given.setdefault("overlap_tokens", min(PassageOptions().overlap_tokens, given["passage_tokens"] // 4))
    request = BuildRequest(
        args.folder,
        tuple(args.sources),
        tuple(args.remove),
        args.encoder,
        args.device,
        PassageOptions(**given) if given else None,
    )
    with console_context(json=args.json) as ctx:
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


def _open_folder(path: Path, ctx: JobContext) -> Path:
    from lmstudio_app.knowledge.handbook import ensure_handbook

    return ensure_handbook(ctx) if str(path) == _HANDBOOK and not path.exists() else path


def _ask(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.answering import AskOptions, answer
    from lmstudio_app.knowledge.search import KnowledgeBase
    from lmstudio_app.models.loading import LoadRequest, load_model

    if not args.question.strip():
        raise UserError("The question is empty.", "Write one, in quotation marks.")
    options = AskOptions(args.top, args.min_probability, max_new_tokens=args.max_new_tokens)
    with console_context() as ctx, KnowledgeBase(_open_folder(args.folder, ctx), device=args.device) as base:
        models = [
            load_model(LoadRequest(reference, device=args.device), ctx) if reference else None
            for reference in (args.model, args.chat_model)
        ]
        found = answer(base, args.question, ctx, options, reader=models[0], chat=models[1])
    if args.json:
        _write_json(found.to_row())
    else:
        _show(found)
    return 0


def _show(found: KnowledgeAnswer) -> None:
    if not found.is_found:
        sys.stdout.write("Not in the knowledge base.\n")
        return
    sys.stdout.write(f"{' '.join(found.answer.split())}\n")
    for number, source in enumerate(found.sources, 1):
        page = f", page {source.page}" if source.page is not None else ""
        heading = f" ({source.heading})" if source.heading else ""
        sys.stdout.write(f"\n[{number}] {source.file}{page}, characters {source.start} to {source.end}{heading}\n")
        sys.stdout.write("".join(f"    {line}\n" for line in source.text.splitlines() if line.strip()))


def _list(args: argparse.Namespace) -> int:
    from lmstudio_app.knowledge.search import KnowledgeBase

    with console_context() as ctx, KnowledgeBase(_open_folder(args.folder, ctx)) as base:
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
        sys.stderr.write(f"{waiting} passages are not embedded yet: kb build {args.folder} goes on\n")
    return 0


def _write_json(value: object, indent: int | None = 1) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
