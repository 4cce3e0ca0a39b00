import json
import threading
import time
from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.models.hub_search import (
    HubQuery,
    HubResult,
    Machine,
    fits,
    needed_memory,
    read_details,
    search_models,
    search_page,
    this_machine,
)
from lmstudio_app.settings import Settings
from tests.hub_server import HubServer, Repository, serve_hub
from tests.models.conftest import Recorder


def facts(downloads: int, task: str, parameters: dict[str, int], tags: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "downloads": downloads,
        "likes": downloads // 10,
        "pipeline_tag": task,
        "library_name": "transformers",
        "lastModified": "2025-02-06T10:00:00.000Z",
        "safetensors": {"parameters": parameters, "total": sum(parameters.values())},
        "tags": ["transformers", "safetensors", *tags],
    }


@pytest.fixture
def filled(hub: HubServer) -> HubServer:
    hub.repositories = {
        "org/small-chat": Repository({}, facts=facts(500, "text-generation", {"BF16": 134_515_008})),
        "org/large-chat": Repository(
            {}, facts=facts(9000, "text-generation", {"BF16": 70_000_000_000}), gated="manual"
        ),
        "org/translator": Repository({}, "mit", facts=facts(800, "translation", {"F32": 77_000_000, "I64": 512})),
        "org/quantised": Repository(
            {}, None, facts={"downloads": 3, "gguf": {"total": 1_000_000}, "tags": ["gguf", "license:gemma"]}
        ),
        "org/secret": Repository({}, facts=facts(1, "text-generation", {"F32": 10}), private=True),
    }
    return hub


def names(results: list[HubResult]) -> list[str]:
    return [found.repo_id for found in results]


def test_what_the_hub_says_of_a_model(filled: HubServer, recorder: Recorder) -> None:
    (found,) = search_models(HubQuery("small"), recorder.ctx)
    assert found == HubResult(
        "org/small-chat", "text-generation", "apache-2.0", 500, 50, "", False, "transformers",
        "2025-02-06T10:00:00+00:00", ("safetensors",), 134_515_008, (("BF16", 134_515_008),),
    )  # fmt: skip
    assert found.size == 269_030_016
    (other,) = search_models(HubQuery("quantised"), recorder.ctx)
    assert (other.license, other.formats, other.parameters, other.size) == ("gemma", ("gguf",), 1_000_000, 0)
    (gated,) = search_models(HubQuery("large"), recorder.ctx)
    assert gated.gated == "manual"


def test_filters_order_and_limit(filled: HubServer, recorder: Recorder) -> None:
    assert names(search_models(HubQuery(), recorder.ctx)) == [
        "org/large-chat", "org/translator", "org/small-chat", "org/quantised"
    ]  # fmt: skip
    assert names(search_models(HubQuery(task="translation"), recorder.ctx)) == ["org/translator"]
    assert names(search_models(HubQuery(license="MIT"), recorder.ctx)) == ["org/translator"]
    assert names(search_models(HubQuery("chat", limit=1), recorder.ctx)) == ["org/large-chat"]
    assert search_models(HubQuery("nothing like it"), recorder.ctx) == []


def test_page_after_page(filled: HubServer, recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    first = search_page(HubQuery(limit=3), recorder.ctx)
    assert names(list(first.results)) == ["org/large-chat", "org/translator", "org/small-chat"]
    second = search_page(HubQuery(limit=3, cursor=first.cursor), recorder.ctx)
    assert (names(list(second.results)), second.cursor) == (["org/quantised"], "")
    for number in range(120):
        filled.repositories[f"many/m{number}"] = Repository({}, facts={"downloads": 10 - number})
    assert main(["models", "search", "m", "--limit", "110", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert len({row["repo_id"] for row in rows}) == 110


def test_the_token_does_not_follow_the_address_of_the_next_page(
    filled: HubServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve_hub() as other:
        filled.url, here = other.url, filled.url  # what the answer names as the next page
        page = search_page(HubQuery(limit=1), recorder.ctx)
        search_page(HubQuery(limit=1, cursor=page.cursor), recorder.ctx)
        filled.url = here
        assert other.requests == []
    assert len(filled.requests) == 2


def test_a_private_model_is_found_with_the_token(
    filled: HubServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (found,) = search_models(HubQuery("secret"), recorder.ctx)
    assert found.private


@pytest.mark.parametrize(
    ("parameters", "free", "width", "expected"),
    [
        (1_000_000_000, 7_000_000_000, 4, "fits"),
        (1_000_000_000, 6_000_000_000, 4, "tight"),
        (1_000_000_000, 4_700_000_000, 4, "too large"),
        (1_000_000_000, 4_700_000_000, 2, "fits"),
        (0, 10**12, 4, "unknown"),
    ],
)
def test_what_fits_this_machine(parameters: int, free: int, width: int, expected: str) -> None:
    result = HubResult("a/b", "", "", 0, 0, "", False, "", "", (), parameters, ())
    assert fits(result, Machine(free, width)) == expected
    assert needed_memory(result, Machine(free, width)) == pytest.approx(1.2 * width * parameters)


def test_this_machine_has_memory() -> None:
    machine = this_machine()
    assert machine.free > 10**6
    assert machine.bytes_per_parameter in (2, 4)


def test_a_model_in_full(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    repository = hub.add("tests/tiny", tiny_encoder, facts=facts(7, "fill-mask", {"F32": 1000}))
    repository.files["README.md"] = b"---\nlicense: mit\n---\n\n# Tiny\n\nIt knows nothing.\n"
    repository.files["onnx/model.onnx"] = b"x" * 20
    details = read_details("tests/tiny", recorder.ctx)
    assert details.card == "# Tiny\n\nIt knows nothing."
    sizes = {file.path: file.size for file in details.files}
    assert sizes["onnx/model.onnx"] == 20
    assert sizes["model.safetensors"] == (tiny_encoder / "model.safetensors").stat().st_size
    assert "onnx/model.onnx" not in {file.path for file in details.chosen}
    assert (details.result.downloads, details.result.formats, details.problem) == (7, ("safetensors",), None)


def test_a_model_that_leaves_the_choice_open(hub: HubServer, recorder: Recorder) -> None:
    hub.repositories["tests/gguf"] = Repository({"a.gguf": b"a", "b.gguf": b"b"}, facts={"tags": ["gguf"]})
    details = read_details("tests/gguf", recorder.ctx)
    assert details.chosen == ()
    assert details.problem is not None
    assert "has 2 GGUF files: a.gguf, b.gguf" in details.problem.message
    assert details.card == ""


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_nothing_is_asked_where_the_network_is_not_allowed(
    filled: HubServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    else:
        Settings().set("network.allowed", False)
    for ask in (lambda: search_models(HubQuery("chat"), recorder.ctx), lambda: read_details("a/b", recorder.ctx)):
        with pytest.raises(UserError, match="network is switched off") as caught:
            ask()
        assert "network.allowed" in caught.value.remedy
    assert filled.requests == []


def test_a_hub_that_refuses_or_is_not_there(
    filled: HubServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.refusals = [(429, {"Retry-After": "600"})]
    with pytest.raises(UserError, match="asked too often") as caught:
        search_models(HubQuery("chat"), recorder.ctx)
    assert "Wait 600 s" in caught.value.remedy
    filled.refusals = [(500, {})]
    with pytest.raises(UserError, match="HTTP 500"):
        search_models(HubQuery("chat"), recorder.ctx)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        search_models(HubQuery("chat"), recorder.ctx)


def test_a_search_is_cancelled_at_once(filled: HubServer, recorder: Recorder) -> None:
    filled.refusals = [(429, {"Retry-After": "30"})]
    threading.Timer(0.3, recorder.control.cancel).start()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        search_models(HubQuery("chat"), recorder.ctx)
    assert time.monotonic() - start < 1.0


@pytest.mark.parametrize(("field", "value"), [("sort", "beauty"), ("limit", 0), ("max_parameters", -1)])
def test_queries_that_make_no_sense(field: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"search\.{field}"):
        HubQuery(**{field: value})  # type: ignore[arg-type]


# --- the command


def test_the_search_as_a_command(filled: HubServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "search", "chat", "--task", "text-generation"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "PARAMETERS", "SIZE", "HERE", "DOWNLOADS", "LIKES", "LICENCE", "TASK"]
    assert lines[1].startswith("org/large-chat (gated)")
    assert "70,000,000,000" in lines[1]
    assert "too large" in lines[1]
    assert main(["models", "search", "chat", "--json", "--sort", "likes", "--max-parameters", "1e9"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [row["repo_id"] for row in rows] == ["org/small-chat"]
    assert {"size", "fits", "downloads", "license", "gated"} <= rows[-1].keys()
    assert main(["models", "search", "no-such-thing"]) == 0
    assert "No model of the hub is like that" in capfd.readouterr().out
