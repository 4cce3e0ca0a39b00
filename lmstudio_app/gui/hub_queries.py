"""What the hub browser asks the core, as jobs: a page of a search, one model in full, the models on this disk."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.gui.card_text import readable_card
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card import read_config
from lmstudio_app.models.credentials import hub_host
from lmstudio_app.models.hub import HubFile
from lmstudio_app.models.hub_search import (
    ROOMY_SHARE,
    WORKING_SHARE,
    HubDetails,
    HubQuery,
    HubResult,
    Machine,
    fits,
    needed_memory,
    read_details,
    search_page,
    this_machine,
)
from lmstudio_app.models.hub_weights import WeightChoice, weight_choices
from lmstudio_app.models.local_models import LocalItem, is_ours, list_local, needed_by
from lmstudio_app.models.references import is_present
from lmstudio_app.models.remote_code import OwnCode, is_allowed, own_code, read_code
from lmstudio_app.models.starter_pack import download_size, missing_starters
from lmstudio_app.settings import network_allowed, offline_by_environment


@dataclass(frozen=True)
class Hit:
    """A model of the hub, and what it means for this machine. ``verdict``: as :func:`fits` has it."""

    result: HubResult
    verdict: str
    needed: int
    machine: Machine
    present: bool


@dataclass(frozen=True)
class SearchRequest:
    """``fitting``: only models that this machine runs easily, instead of the query's own limit."""

    query: HubQuery
    fitting: bool = False


@dataclass(frozen=True)
class Hits:
    """One page. ``cursor`` is for the next one, and empty on the last."""

    hits: tuple[Hit, ...]
    cursor: str


@dataclass(frozen=True)
class HubModel:
    """One model in full. ``card`` is readable Markdown; ``code``: the program files that it brings along, when it
    needs them.
    """

    hit: Hit
    details: HubDetails
    card: str
    choices: tuple[WeightChoice, ...]
    code: tuple[HubFile, ...]


def find_models(request: SearchRequest, ctx: JobContext) -> Hits:
    """A page of the search. Raises as :func:`search_page`."""
    machine = this_machine()
    query = request.query
    if request.fitting:
        largest = machine.free * ROOMY_SHARE / (1 + WORKING_SHARE) / machine.bytes_per_parameter
        query = dataclasses.replace(query, max_parameters=_rounded(largest))
    page = search_page(query, ctx)
    return Hits(tuple(_hit(result, machine) for result in page.results), page.cursor)


def _rounded(parameters: float) -> int:
    """Two digits, as the hub's filter takes them."""
    unit = 10 ** max(0, len(str(int(parameters))) - 2)
    return int(parameters // unit * unit)


def _hit(result: HubResult, machine: Machine) -> Hit:
    present = is_present(result.repo_id)
    return Hit(result, fits(result, machine), needed_memory(result, machine), machine, present)


def describe_hub_model(repo_id: str, ctx: JobContext) -> HubModel:
    """Card, files and forms of the weights. Raises as :func:`read_details`."""
    details = read_details(repo_id, ctx)
    hit = _hit(details.result, this_machine())
    code = tuple(file for file in details.files if "/" not in file.path and file.path.endswith(".py"))
    needs_code = "custom_code" in details.tags
    choices = tuple(weight_choices(details.files))
    return HubModel(hit, details, readable_card(details.card), choices, code if needs_code else ())


@dataclass(frozen=True)
class NetworkState:
    """``by_environment``: it is ``HF_HUB_OFFLINE`` that forbids it, which no click can change. ``host``: of the hub."""

    allowed: bool
    by_environment: bool
    host: str


def read_network(_: None, ctx: JobContext) -> NetworkState:
    return NetworkState(network_allowed(), offline_by_environment(), hub_host())


@dataclass(frozen=True)
class LocalRow:
    """``needed_by``: the models that cannot be loaded without it. ``deletable``: it is the app's own."""

    item: LocalItem
    needed_by: tuple[str, ...]
    deletable: bool


@dataclass(frozen=True)
class Disk:
    """What models take up here. ``starters``: titles that are missing, and ``starters_size`` bytes to fetch them."""

    rows: tuple[LocalRow, ...]
    downloads: int
    starters: tuple[str, ...]
    starters_size: int


def read_disk(_: None, ctx: JobContext) -> Disk:
    items = list_local()
    rows = [
        LocalRow(item, tuple(needed_by(item.reference)) if item.kind == "model" else (), is_ours(item))
        for item in items
        if item.kind != "download"
    ]
    missing = missing_starters()
    return Disk(
        tuple(rows),
        sum(item.size for item in items if item.kind == "download"),
        tuple(entry.title for entry in missing),
        sum(map(download_size, missing)),
    )


@dataclass(frozen=True)
class ShownCode:
    """``texts``: the name and the text of each program file."""

    code: OwnCode
    texts: tuple[tuple[str, str], ...]
    allowed: bool


def read_own_code(folder: Path, ctx: JobContext) -> ShownCode | None:
    """The program code that the model in ``folder`` would run, where it needs its own; None for all others.

    Raises :class:`UserError` for code of another repository.
    """
    if "auto_map" not in read_config(folder):
        return None
    from lmstudio_app.models.loading import needs_code
    from lmstudio_app.models.preloading import preload_libraries

    preload_libraries(ctx)
    if not needs_code(folder):
        return None
    code = own_code(folder)
    if code is None or not code.files:
        return None
    return ShownCode(code, tuple(read_code(code)), is_allowed(code))
