"""The actions of ``lmstudio-app models`` that concern the hub: search, login, logout."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import sys

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.files import format_bytes
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.credentials import delete_token, hub_host, log_in, require_keyring, token_state
from lmstudio_app.models.hub_search import (
    LARGEST_PAGE,
    SORTS,
    HubQuery,
    HubResult,
    fits,
    needed_memory,
    search_page,
    this_machine,
)


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    search = actions.add_parser("search", help="look for models on the hub")
    search.add_argument("text", metavar="TEXT", nargs="?", default="", help="words in the model's name")
    search.add_argument("--task", default="", help="the hub's name of a task: text-generation, translation, …")
    search.add_argument("--license", default="", help="the hub's name of a licence: apache-2.0, mit, …")
    search.add_argument("--sort", default="downloads", choices=SORTS, help="the most of this comes first")
    search.add_argument("--max-parameters", type=float, default=0, metavar="N", help="at most so many, as 1e9")
    search.add_argument("--limit", type=int, default=30, help="how many models (default: 30)")
    search.set_defaults(run=_search)
    login = actions.add_parser(
        "login",
        help="keep an access token for gated and private models in the system's keyring",
        description="The token is read from the terminal, which does not show it, or from stdin. It is kept in the "
        "system's keyring and nowhere else. HF_TOKEN in the environment comes before it.",
    )
    login.set_defaults(run=_login)
    logout = actions.add_parser("logout", help="take the access token out of the keyring")
    logout.set_defaults(run=_logout)
    for action, text in ((search, "one JSON list"), (login, "one JSON object"), (logout, "one JSON object")):
        action.add_argument("--json", action="store_true", help=f"{text} on stdout")


def _search(args: argparse.Namespace) -> int:
    limit = min(args.limit, LARGEST_PAGE)
    query = HubQuery(args.text, args.task, args.license, args.sort, int(args.max_parameters), limit)
    with console_context() as ctx:
        results = _gathered(query, args.limit, ctx)
    machine = this_machine()
    if args.json:
        rows = [
            {
                **dataclasses.asdict(found),
                "size": found.size,
                "memory": needed_memory(found, machine),
                "fits": fits(found, machine),
            }
            for found in results
        ]
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return 0
    if not results:
        sys.stdout.write("No model of the hub is like that.\n")
        return 0
    header = ("NAME", "PARAMETERS", "SIZE", "HERE", "DOWNLOADS", "LIKES", "LICENCE", "TASK")
    write_table([header, *(_row(found, fits(found, machine)) for found in results)])
    return 0


def _gathered(query: HubQuery, limit: int, ctx: JobContext) -> list[HubResult]:
    """As many pages as are needed for ``limit`` models."""
    page = search_page(query, ctx)
    found = list(page.results)
    while page.cursor and len(found) < limit:
        page = search_page(dataclasses.replace(query, cursor=page.cursor), ctx)
        found += page.results
    return found[:limit]


def _row(found: HubResult, here: str) -> tuple[str, ...]:
    access = f" ({'private' if found.private else 'gated'})" if found.private or found.gated else ""
    return (
        found.repo_id + access,
        f"{found.parameters:,}" if found.parameters else "not stated",
        format_bytes(found.size) if found.size else "not stated",
        here,
        f"{found.downloads:,}",
        f"{found.likes:,}",
        found.license or "unknown",
        found.task,
    )


def _login(args: argparse.Namespace) -> int:
    require_keyring()  # before a secret is asked for
    if sys.stdin.isatty():
        token = getpass.getpass(f"Access token for {hub_host()} (it is not shown): ")
    else:
        token = sys.stdin.readline()
    with console_context() as ctx:
        name = log_in(token, ctx)
    state = token_state()
    if args.json:
        sys.stdout.write(json.dumps({**dataclasses.asdict(state), "name": name}) + "\n")
        return 0
    who = f" as {name}" if name else ", unchecked, since the network is switched off"
    sys.stdout.write(f"The token for {state.host} is in the keyring ({state.keyring}){who}.\n")
    if state.source == "environment":
        sys.stdout.write("As long as HF_TOKEN is set, that one is sent instead.\n")
    return 0


def _logout(args: argparse.Namespace) -> int:
    was_there = delete_token()
    if args.json:
        sys.stdout.write(json.dumps({"host": hub_host(), "deleted": was_there}) + "\n")
        return 0
    said = "is deleted from the keyring" if was_there else "was not there: the keyring has no access token"
    sys.stdout.write(f"The token for {hub_host()} {said}.\n")
    return 0
