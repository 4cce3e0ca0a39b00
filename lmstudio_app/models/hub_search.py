"""Looking for models on the hub: only when somebody asks, and only where the network is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import psutil

from lmstudio_app.errors import Cancelled
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.credentials import find_token
from lmstudio_app.models.hub import HubFile, ask_about, choose_files, files_of, license_of
from lmstudio_app.models.hub_client import TOKEN, endpoint, explain, hub_headers, patiently, require_network, timeout
from lmstudio_app.models.transfer import Line, SourceError, call_beside
from lmstudio_app.options import check_options, option

T = TypeVar("T")
SORTS = ("downloads", "likes", "lastModified", "createdAt", "trendingScore")
_EXPAND = (
    "downloads", "likes", "gated", "private", "safetensors", "gguf", "tags", "pipeline_tag", "library_name",
    "cardData", "lastModified",
)  # fmt: skip
# bytes a parameter takes, by the type that safetensors' header states
_WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
LARGEST_PAGE = 100  # models
_CARD_BYTES = 1_000_000
WORKING_SHARE = 0.2  # of the weights, for what a model computes with: activations, keys and values, a batch
ROOMY_SHARE = 0.7  # of the free memory that a model may take without other programs feeling it


@dataclass(frozen=True)
class HubQuery:
    """What to look for. Sizes in parameters; 0: any."""

    text: str = option("", "Search", "Words in the name of the model.", basic=True)
    task: str = option("", "Task", "The hub's name of a task, such as text-generation or translation.", basic=True)
    license: str = option("", "Licence", "The hub's name of a licence, such as apache-2.0 or mit.", basic=True)
    sort: str = option("downloads", "Order", "The most of this comes first.", choices=SORTS)
    max_parameters: int = option(0, "Largest size", "Only models with at most this many parameters.", minimum=0)
    limit: int = option(30, "Results", "How many models are listed at most.", minimum=1, maximum=LARGEST_PAGE)
    cursor: str = option("", "Page", "Where the page begins: what the page before it has given.")

    def __post_init__(self) -> None:
        check_options(self, "search")


@dataclass(frozen=True)
class HubResult:
    """One model of the hub, as the search describes it. What the hub does not state is empty or 0.

    ``types``: how many parameters there are of each safetensors type, the most first.
    """

    repo_id: str
    task: str
    license: str
    downloads: int
    likes: int
    gated: str  # "", "auto" (given to who accepts the terms) or "manual" (given by its authors)
    private: bool
    library: str
    updated: str  # ISO 8601
    formats: tuple[str, ...]  # of "safetensors", "gguf", "pickle"
    parameters: int
    types: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes of the weights as safetensors; 0 when unknown."""
        return sum(count * _WIDTHS.get(name, 1) for name, count in self.types)


@dataclass(frozen=True)
class HubPage:
    """Some of the models that were found. ``cursor``: for the query of the next page; empty on the last one."""

    results: tuple[HubResult, ...]
    cursor: str


@dataclass(frozen=True)
class HubDetails:
    """A model of the hub in full: its card as Markdown (without the front matter), its files, those that are fetched.

    ``chosen`` is empty where the user has to choose, and ``problem`` says why.
    """

    result: HubResult
    commit: str
    card: str
    files: tuple[HubFile, ...]
    chosen: tuple[HubFile, ...]
    problem: SourceError | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """``free`` bytes of memory where a model would be loaded, and the bytes that a parameter takes there."""

    free: int
    bytes_per_parameter: int = 4


def this_machine() -> Machine:
    """The graphics card when torch is loaded and has one (bfloat16), else the memory that is free now (float32)."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Machine(int(free), 2 if torch.cuda.is_bf16_supported(including_emulation=False) else 4)
    return Machine(int(psutil.virtual_memory().available))


def fits(result: HubResult, machine: Machine) -> str:
    """Can this machine run the model? ``fits``, ``tight``, ``too large``, or ``unknown`` where the hub states no size.

    Up to 70 % of the free memory fits, up to all of it is tight. To train all weights takes about four times as much
    (gradients and two moments of Adam).
    """
    needed = needed_memory(result, machine)
    if not needed:
        return "unknown"
    if needed <= ROOMY_SHARE * machine.free:
        return "fits"
    return "tight" if needed <= machine.free else "too large"


def needed_memory(result: HubResult, machine: Machine) -> int:
    """Bytes that the model takes in memory; 0 when its size is unknown.

    The app loads every weight in one type, so they are parameters × bytes a parameter (4 on a CPU, 2 on a graphics card
    with bfloat16) and a fifth more to compute with.
    """
    return round(result.parameters * machine.bytes_per_parameter * (1 + WORKING_SHARE))


def search_models(query: HubQuery, ctx: JobContext) -> list[HubResult]:
    """The models of one page (a job). Raises as :func:`search_page`."""
    return list(search_page(query, ctx).results)


def search_page(query: HubQuery, ctx: JobContext) -> HubPage:
    """Ask the hub for models (a job). Raises :class:`UserError` without a network, :class:`Cancelled` at once.

    The request is that of ``HfApi.list_models``, which has no timeout, tries again for half a minute, and would send
    the token along to wherever the hub's answer names a next page. Of that address only the cursor is taken here.
    """
    require_network()
    ctx.status("Asking the hub for models")

    def _ask(line: Line) -> HubPage:
        token = find_token()
        rows, cursor = patiently(line, lambda: _rows(query, token))
        # not every mirror knows the limit
        found = [result for result in map(_result, rows) if not 0 < query.max_parameters < result.parameters]
        return HubPage(tuple(found), cursor)

    return _asked(_ask, query.text or query.task or "…", ctx)


def read_details(repo_id: str, ctx: JobContext) -> HubDetails:
    """One model of the hub with its card and files (a job). Raises as :func:`search_models`."""
    require_network()
    ctx.status("Asking the hub for {repo}", repo=repo_id)
    info = ask_about(repo_id, "main", ctx)
    files = files_of(info)
    chosen: tuple[HubFile, ...] = ()
    problem = None
    try:
        chosen = choose_files(repo_id, files)
    except SourceError as error:
        problem = error
    card = ""
    if any(file.path == "README.md" for file in files):
        try:
            card = _asked(lambda line: patiently(line, lambda: _read_card(repo_id, info.sha, line)), repo_id, ctx)
        except SourceError as error:  # a gated model is described to everybody, its files are not
            if error.parameters.get("needs") != TOKEN:
                raise
    return HubDetails(_from_info(info), info.sha or "main", card, tuple(files), chosen, problem, tuple(info.tags or ()))


def _asked(ask: Callable[[Line], T], about: str, ctx: JobContext) -> T:
    try:
        return call_beside(ctx, ask)
    except Cancelled:
        raise
    except Exception as error:
        raise explain(error, about) from error


def _rows(query: HubQuery, token: str | None) -> tuple[list[dict[str, Any]], str]:
    """What the hub says of each model, and the cursor of the next page."""
    from huggingface_hub import get_session
    from huggingface_hub.utils._http import hf_raise_for_status

    values: dict[str, Any] = {"limit": query.limit, "sort": query.sort, "expand": list(_EXPAND)}
    if query.text.strip():
        values["search"] = query.text.strip()
    if query.task:
        values["pipeline_tag"] = query.task
    if query.license:
        values["filter"] = [f"license:{query.license.lower()}"]
    if query.max_parameters:
        values["num_parameters"] = f"max:{_short(query.max_parameters)}"
    if query.cursor:
        values["cursor"] = query.cursor
    response = get_session().get(
        f"{endpoint()}/api/models", params=values, headers=hub_headers(token), timeout=timeout()
    )
    hf_raise_for_status(response)
    rows = [row for row in response.json() if isinstance(row, dict)]
    following = urlsplit(str(response.links.get("next", {}).get("url", "")))
    return rows[: query.limit], parse_qs(following.query).get("cursor", [""])[0]


def _short(count: int) -> str:
    """A number as the hub takes it: ``1.5B``."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)


def _result(row: dict[str, Any]) -> HubResult:
    import huggingface_hub

    make: Any = huggingface_hub.ModelInfo
    return _from_info(make(**{"siblings": None, **row}))


def _from_info(info: Any) -> HubResult:
    tags = list(info.tags or [])
    types = dict(info.safetensors.parameters) if info.safetensors else {}
    gguf = info.gguf or {}
    formats = [name for name in ("safetensors", "gguf") if name in tags]
    names = [file.rfilename for file in info.siblings or []]
    formats += [name for name in ("safetensors", "gguf") if name not in formats and _has(names, f".{name}")]
    if "pytorch" in tags or _has(names, ".bin"):
        formats.append("pickle")
    stated = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
    return HubResult(
        repo_id=info.id,
        task=info.pipeline_tag or "",
        license=license_of(info) or stated,
        downloads=int(info.downloads or 0),
        likes=int(info.likes or 0),
        gated=info.gated if isinstance(info.gated, str) else "",
        private=bool(info.private),
        library=info.library_name or "",
        updated=info.last_modified.isoformat() if info.last_modified else "",
        formats=tuple(formats),
        parameters=sum(types.values()) or int(gguf.get("total") or 0),
        types=tuple(sorted(types.items(), key=lambda pair: -pair[1])),
    )


def _has(names: list[str], suffix: str) -> bool:
    return any(name.endswith(suffix) for name in names)


def _read_card(repo_id: str, commit: str, line: Line) -> str:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._http import hf_raise_for_status

    url = hf_hub_url(repo_id, "README.md", revision=commit, endpoint=endpoint())
    data = bytearray()
    with get_session().stream("GET", url, headers=hub_headers(find_token()), timeout=timeout()) as response:
        line.watch(response)
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        for piece in response.iter_bytes():
            line.check()
            data += piece
            if len(data) >= _CARD_BYTES:
                break
    text = data[:_CARD_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
    if text.startswith("---\n") and "\n---" in text[3:]:
        text = text[3:].split("\n---", 1)[1].partition("\n")[2]
    return text.strip()
