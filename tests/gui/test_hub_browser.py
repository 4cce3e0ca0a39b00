"""“Find on the hub”, clicked through with a hub on the loopback interface."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from pytestqt.qtbot import QtBot

from lmstudio_app.gui import hub_texts
from lmstudio_app.gui.card_text import readable_card
from lmstudio_app.gui.hub_queries import Hit
from lmstudio_app.gui.tabs.model import ModelTab
from lmstudio_app.gui.widgets.hub_page import HubPage
from lmstudio_app.models.hub_search import HubResult, Machine
from lmstudio_app.models.hub_weights import WeightChoice
from lmstudio_app.models.names import install_folder
from lmstudio_app.settings import Settings
from tests.hub_server import HubServer, Repository

CARD = b"""---
license: mit
---
<div align="center"><img src="http://127.0.0.1:9/logo.png"></div>

# Tiny

![a picture](http://127.0.0.1:9/picture.png) See <a href="https://example.org/paper">the paper</a>.

## How to use

`<b>code stays</b>`
"""


def facts(downloads: int, task: str, parameters: int, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "downloads": downloads,
        "likes": 7,
        "pipeline_tag": task,
        "lastModified": "2025-02-06T10:00:00.000Z",
        "safetensors": {"parameters": {"F32": parameters}, "total": parameters},
        "tags": ["safetensors", *tags],
    }


@pytest.fixture
def page(qtbot: QtBot, services: Any, hub: HubServer, tiny_encoder: Path) -> Iterator[HubPage]:
    """The page, and a hub with a handful of models."""
    tiny = hub.add("org/tiny", tiny_encoder, facts=facts(900, "fill-mask", 20_000))
    tiny.files["README.md"] = CARD
    hub.repositories["org/chat"] = Repository({"config.json": b"{}"}, facts=facts(5000, "text-generation", 10**12))
    hub.repositories["org/quantised"] = Repository(
        {"m.Q4_K_M.gguf": b"x" * 300, "m.Q8_0.gguf": b"x" * 500, "m.Q2_K.gguf": b"x" * 100},
        None,
        facts={"downloads": 3, "tags": ["gguf"]},
    )
    page = HubPage(services)
    qtbot.addWidget(page)
    page.resize(1050, 720)
    page.show()
    qtbot.waitExposed(page)
    qtbot.waitUntil(lambda: not services.query_runner.busy)
    yield page
    page.shutdown()


def names(page: HubPage) -> list[str]:
    return [hit.result.repo_id for hit in page.results.hits]


def search(qtbot: QtBot, page: HubPage, text: str = "") -> None:
    page.filters.edit.setText(text)
    qtbot.keyClick(page.filters.edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not page.busy, timeout=20_000)


def look_at(qtbot: QtBot, page: HubPage, repo_id: str) -> None:
    search(qtbot, page, repo_id.split("/")[1])
    page.results.choose(names(page).index(repo_id))
    qtbot.waitUntil(lambda: page.details.shows_model or bool(page.details.empty.buttons), timeout=20_000)


# --- searching


def test_nothing_is_asked_before_somebody_searches(qtbot: QtBot, page: HubPage, hub: HubServer) -> None:
    qtbot.wait(100)
    assert hub.requests == []
    assert "Nothing is asked of the network before you search" in page.empty.text.text()
    assert not page.details.isVisible()


def test_what_is_found_says_what_it_is_and_whether_it_fits(qtbot: QtBot, page: HubPage) -> None:
    search(qtbot, page)
    assert names(page) == ["org/chat", "org/tiny", "org/quantised"]
    assert [hit.verdict for hit in page.results.hits] == ["too large", "fits", "unknown"]
    model = page.results.model()
    spoken = model.index(1, 0).data(Qt.ItemDataRole.AccessibleTextRole)
    for part in ("org/tiny", "Fits this machine", "Filling gaps in a text", "20.0k parameters", "80.0 kB", "900 dow",
                 "7 likes", "apache-2.0", "2025-02-06"):  # fmt: skip
        assert part in spoken
    assert "× 4 bytes + 20 %" in model.index(1, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert page.count.text() == "3 models, no more"
    assert not page.more_button.isEnabled()


def test_filters_ask_again_and_are_remembered(qtbot: QtBot, page: HubPage, hub: HubServer, services: Any) -> None:
    page.filters.task.setCurrentIndex(page.filters.task.findText("Filling gaps in a text"))
    qtbot.wait(50)
    assert hub.requests == []  # nobody has searched yet
    search(qtbot, page)
    assert names(page) == ["org/tiny"]
    page.filters.task.setCurrentIndex(0)
    qtbot.waitUntil(lambda: not page.busy and len(page.results.hits) == 3)
    page.filters.size.setCurrentIndex(page.filters.size.findText("What fits this machine"))
    qtbot.waitUntil(lambda: not page.busy and "org/chat" not in names(page))
    page.filters.sort.setCurrentIndex(page.filters.sort.findText("Most liked"))
    qtbot.waitUntil(lambda: not page.busy)
    again = HubPage(services)
    qtbot.addWidget(again)
    assert again.filters.request() == dataclasses.replace(page.filters.request())
    assert (again.filters.request().fitting, again.filters.request().query.sort) == (True, "likes")
    again.shutdown()


def test_page_after_page(qtbot: QtBot, page: HubPage, hub: HubServer) -> None:
    for number in range(40):
        hub.repositories[f"many/m{number:02}"] = Repository({}, facts=facts(100 - number, "translation", 10**6))
    search(qtbot, page, "many")
    assert len(page.results.hits) == 30
    assert page.count.text() == "30 models so far"
    qtbot.mouseClick(page.more_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy)
    assert len(set(names(page))) == 40
    assert page.count.text() == "40 models, no more"


def test_a_page_that_fails_leaves_what_was_found(qtbot: QtBot, page: HubPage, hub: HubServer) -> None:
    for number in range(40):
        hub.repositories[f"many/m{number:02}"] = Repository({}, facts=facts(100 - number, "translation", 10**6))
    search(qtbot, page, "many")
    hub.refusals = [(500, {})]
    qtbot.mouseClick(page.more_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy)
    assert "HTTP 500" in page.notice.text()
    assert len(page.results.hits) == 30
    assert page.more_button.isEnabled()


def test_a_search_is_stopped_at_once(qtbot: QtBot, page: HubPage, hub: HubServer) -> None:
    hub.refusals = [(429, {"Retry-After": "30"})]
    qtbot.mouseClick(page.filters.search_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(hub.requests))
    assert page.filters.stop_button.isVisible()
    qtbot.mouseClick(page.filters.stop_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=500)
    assert page.empty.title.text() == "Stopped"
    assert page.filters.search_button.isVisible()


def test_nothing_found_says_what_to_change(qtbot: QtBot, page: HubPage) -> None:
    search(qtbot, page, "no such thing")
    assert page.empty.title.text() == "No model is like that"


@pytest.mark.parametrize(
    ("status", "headers", "message", "remedy"),
    [
        (401, {}, "somebody unknown", "access token"),
        (403, {}, "to this account", "log in with a token"),
        (404, {}, "has no model", "spelling"),
        (429, {"Retry-After": "600"}, "asked too often", "Wait 600 s"),
        (500, {}, "HTTP 500", "Try again later"),
    ],
)
def test_what_the_hub_refuses(
    qtbot: QtBot, page: HubPage, hub: HubServer, status: int, headers: dict[str, str], message: str, remedy: str
) -> None:
    hub.refusals = [(status, headers)]
    search(qtbot, page, "tiny")
    assert message in page.empty.title.text()
    assert remedy in page.empty.text.text()
    buttons = [button.text() for button in page.empty.buttons]
    assert ("Access token…" in buttons) == (status in (401, 403))
    qtbot.mouseClick(page.empty.buttons[0], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: names(page) == ["org/tiny"])


def test_no_network(qtbot: QtBot, page: HubPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    search(qtbot, page)
    assert "The hub at http://127.0.0.1:9 cannot be reached" in page.empty.title.text()
    assert "Check the network" in page.empty.text.text()


def test_a_network_that_the_environment_forbids(
    qtbot: QtBot, page: HubPage, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    search(qtbot, page)
    qtbot.waitUntil(lambda: page.empty.title.text() == "The network is switched off")
    assert "The variable HF_HUB_OFFLINE forbids it" in page.empty.text.text()
    assert not page.empty.buttons
    assert hub.requests == []


def test_a_network_that_a_setting_forbids_can_be_allowed(
    qtbot: QtBot, services: Any, hub: HubServer, tiny_encoder: Path
) -> None:
    hub.add("org/tiny", tiny_encoder)
    services.settings.set("network.allowed", False)
    page = HubPage(services)
    qtbot.addWidget(page)
    page.show()
    qtbot.waitUntil(lambda: page.empty.title.text() == "The network is switched off")
    qtbot.mouseClick(page.empty.buttons[0], Qt.MouseButton.LeftButton)
    assert Settings().get("network.allowed") is True
    search(qtbot, page)
    assert names(page) == ["org/tiny"]
    page.shutdown()


# --- one model


def test_a_model_in_full(qtbot: QtBot, page: HubPage, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at(qtbot, page, "org/tiny")
    details = page.details
    assert details.title.text() == "org/tiny"
    assert "apache-2.0" in details.facts.text()
    assert details.verdict.text().startswith("Fits this machine: it takes about 96.0 kB of memory")
    shown = details.card.toPlainText()
    assert "See the paper." in shown
    assert "<b>code stays</b>" in shown
    assert "<div" not in shown
    assert "license: mit" not in shown
    assert not details.access.isVisible()
    rows = {}
    tree = details.files.tree
    for number in range(tree.topLevelItemCount()):
        item = tree.topLevelItem(number)
        rows[item.text(0)] = item.text(2)
    assert (rows["model.safetensors"], rows["README.md"]) == ("yes", "yes")
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()) or True)
    details.card.anchorClicked.emit(QUrl("https://example.org/paper"))
    assert opened == []  # it is asked first
    page.link_question.yes_button.click()
    assert opened == ["https://example.org/paper"]
    details.page_button.click()
    assert opened[-1].endswith("/org/tiny")


def test_a_card_fetches_nothing(qtbot: QtBot, page: HubPage, hub: HubServer) -> None:
    look_at(qtbot, page, "org/tiny")
    before = len(hub.requests)
    page.details.card.setHtml(f'<img src="{hub.url}/org/tiny/resolve/main/README.md">')
    qtbot.wait(200)
    assert len(hub.requests) == before


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <!-- secret\nlines --> b", "a  b"),
        ("[![badge](x.svg)](https://a.b)\n\ntext", "text"),
        ("![](x.png)", ""),
        ('<a href="https://a.b"><img src="x"></a>', ""),
        ("one<br/>two", "one\n\ntwo"),
        ("`<br>`", "`<br>`"),
        ("```html\n<p>\n```", "```html\n<p>\n```"),
        ("<script>alert(1)</script>x", "x"),
        ("see <https://a.b/c>, and 1 < 2", "see <https://a.b/c>, and 1 < 2"),
    ],
)
def test_cards_lose_their_html_and_pictures(text: str, shown: str) -> None:
    assert readable_card(text) == shown


@pytest.mark.parametrize(
    "piece", ["<a ", "<a href='http://x", "<!-- ", "[![a", "![a](", "`", "<script", "```\n", "~~~a\n", "<b ", "\\\\["]
)
def test_no_card_takes_long(piece: str) -> None:
    start = time.process_time()
    assert len(readable_card(piece * 300_000)) <= 60_000
    assert time.process_time() - start < 1.0


def test_one_of_several_quantisations_is_chosen(qtbot: QtBot, page: HubPage, services: Any) -> None:
    look_at(qtbot, page, "org/quantised")
    files = page.details.files
    texts = [files.combo.itemText(index) for index in range(files.combo.count())]
    assert texts == ["GGUF Q2_K, 100 B", "GGUF Q4_K_M, 300 B", "GGUF Q8_0, 500 B"]
    assert files.weights == ("m.Q4_K_M.gguf",)
    assert "about 4 bits: the usual compromise" in files.hint.text()
    assert not page.details.problem.isVisible()
    files.combo.setCurrentIndex(2)
    assert (files.weights, files.size) == (("m.Q8_0.gguf",), 500)
    assert "hardly to be told from the original" in files.hint.text()
    assert page.details.amount.text() == "500 B"
    page.details.download_button.click()
    assert services.downloads.find("org/quantised").weights == ("m.Q8_0.gguf",)
    services.downloads.runner.cancel_all()
    qtbot.waitUntil(lambda: not services.downloads.busy)


def test_a_model_without_weights_says_so(qtbot: QtBot, page: HubPage) -> None:
    look_at(qtbot, page, "org/chat")
    assert "org/chat has no weights" in page.details.problem.text()
    assert not page.details.download_button.isEnabled()


def test_a_gated_model_says_what_to_do(qtbot: QtBot, page: HubPage, hub: HubServer) -> None:
    hub.repositories["org/tiny"].gated = "manual"
    look_at(qtbot, page, "org/tiny")
    assert "Gated: its authors give it to those who have accepted their terms" in page.details.access.text()
    assert page.details.token_button.isVisible()
    assert "only to those who have access" in page.details.card.toPlainText()


def test_a_model_that_vanished_says_so_and_is_asked_again(qtbot: QtBot, page: HubPage, hub: HubServer) -> None:
    search(qtbot, page, "tiny")
    hub.repositories["org/tiny"].status = 404
    page.results.choose(0)
    qtbot.waitUntil(lambda: bool(page.details.empty.buttons))
    assert "has no model org/tiny" in page.details.empty.title.text()
    hub.repositories["org/tiny"].status = 200
    qtbot.mouseClick(page.details.empty.buttons[0], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.details.shows_model)


def test_program_code_is_announced(qtbot: QtBot, page: HubPage, hub: HubServer) -> None:
    tiny = hub.repositories["org/tiny"]
    tiny.files["modeling_mine.py"] = b"print(1)\n"
    look_at(qtbot, page, "org/tiny")
    assert not page.details.code_notice.isVisible()  # files that nothing asks for
    tiny.facts["tags"].append("custom_code")
    look_at(qtbot, page, "org/tiny")
    qtbot.waitUntil(page.details.code_notice.isVisible)
    assert "modeling_mine.py (9 B)" in page.details.code_notice.text()
    assert "does not run unless you allow" in page.details.code_notice.text()


def test_what_is_found_is_downloaded_and_loaded(qtbot: QtBot, services: Any, page: HubPage) -> None:
    tab = ModelTab(services)
    qtbot.addWidget(tab)
    page.load_requested.connect(tab.load_reference)
    look_at(qtbot, page, "org/tiny")
    with qtbot.waitSignal(services.downloads.succeeded, timeout=20_000):
        qtbot.mouseClick(page.details.download_button, Qt.MouseButton.LeftButton)
    assert (install_folder("org/tiny") / "model.safetensors").is_file()
    line = page.downloads.lines["org/tiny"]
    assert "Every file has the checksum that the hub states" in line.status.text()
    assert page.details.download_button.text() == "Load"
    with qtbot.waitSignal(tab.model_loaded, timeout=30_000) as loaded:
        qtbot.mouseClick(page.details.download_button, Qt.MouseButton.LeftButton)
    assert loaded.args[0].folder == install_folder("org/tiny")
    search(qtbot, page, "tiny")
    assert page.results.hits[0].present
    tab.shutdown()


# --- words


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (WeightChoice("safetensors", ("model.safetensors",), 1), "as its authors have published it"),
        (WeightChoice("pickle", ("pytorch_model.bin",), 1), "can hide programs"),
        (WeightChoice("adapter", ("adapter_config.json",), 1), "change another model"),
        (WeightChoice("gguf", ("a.F16.gguf",), 1, "F16"), "Not rounded"),
        (WeightChoice("gguf", ("a.gguf",), 1), "Safetensors are made of it"),
    ],
)
def test_each_form_of_weights_is_explained(qapp: Any, choice: WeightChoice, words: str) -> None:
    assert words in hub_texts.choice_explained(choice)
    assert hub_texts.choice_text(choice)


def test_an_unknown_size_is_not_guessed(qapp: Any) -> None:
    result = HubResult("a/b", "odd-task", "", 5, 1, "", True, "", "", (), 0, ())
    hit = Hit(result, "unknown", 0, Machine(10**9), present=False)
    assert "does not state" in hub_texts.verdict_reason(hit)
    assert hub_texts.what_text(hit) == "odd task · size not stated · download size not stated"
    assert hub_texts.access_text(result) == "private"


def test_every_control_explains_itself(qtbot: QtBot, page: HubPage) -> None:
    look_at(qtbot, page, "org/tiny")
    filters, details = page.filters, page.details
    for widget in (
        filters.edit, filters.search_button, filters.stop_button, filters.token_button, filters.task, filters.size,
        filters.license, filters.sort, page.results, page.more_button, details.download_button, details.page_button,
        details.token_button, details.files.combo, details.files.tree,
    ):  # fmt: skip
        assert widget.accessibleName(), widget
        assert widget.toolTip(), widget
