"""The page that stands alone: what it holds, what it may do, and what it computes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PySide6.QtQml import QJSEngine

from lmstudio_app.assets import resource
from lmstudio_app.errors import UserError
from lmstudio_app.inspection import page_html
from lmstudio_app.inspection.drawing import PictureStyle
from lmstudio_app.inspection.export_source import Source
from lmstudio_app.inspection.page_html import PageContent, quantised, write_page
from lmstudio_app.inspection.picture import Subtitles
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext

EVIL = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<!--",
    "]]>",
    "\u2028",
    "&lt;",
    '"',
    "电影",
)


def tokens_of(names: tuple[str, ...]) -> Tokens:
    count = len(names)
    special = (True, *[False] * (count - 1))
    segments = tuple(None if flag else 0 for flag in special)
    return Tokens(names, names, special, segments, words=tuple(range(count)), spans=((0, 1),) * count)


def source_of(weights: np.ndarray, queries: tuple[str, ...], keys: tuple[str, ...]) -> Source:
    """``weights`` float32 ``[layers, heads, query, key]``; the layers are 0, 2, 4, …, the heads 1, 2, 3, …"""
    layers = tuple(range(0, 2 * len(weights), 2))

    def each(receive: Callable[[int, Any], None], ctx: JobContext) -> None:
        for layer, of_layer in zip(layers, weights, strict=True):
            receive(layer, of_layer)

    heads = tuple(range(1, weights.shape[1] + 1))
    return Source("encoder", tokens_of(queries), tokens_of(keys), layers, heads, each)


def random_weights(*shape: int) -> np.ndarray:
    weights = np.exp(2 * np.random.default_rng(0).normal(size=shape))
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text of scripts by id."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.is_script = False
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.is_script = tag == "script"
        if self.is_script:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.is_script = False

    def handle_data(self, data: str) -> None:
        if self.is_script:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)

    def data(self, name: str) -> str:
        (found,) = [text for attributes, text in self.scripts if attributes.get("id") == name]
        return found

    def information(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.data("information"))
        return found


def page_of(source: Source, content: PageContent | None = None, style: PictureStyle | None = None) -> tuple[Page, str]:
    buffer = io.BytesIO()
    write_page(buffer, source, content or PageContent(Subtitles("Title")), JobContext(), style)
    markup = buffer.getvalue().decode()
    return Page(markup), markup


def test_text_from_outside_is_data_and_never_markup() -> None:
    source = source_of(random_weights(1, 1, 8, 8), EVIL, EVIL)
    evil = "".join(EVIL)
    page, markup = page_of(source, PageContent(Subtitles(evil, (evil,)), text=evil, single=evil))
    information = page.information()
    assert tuple(information["queries"]) == tuple(information["keys"]) == EVIL
    assert information["title"] == information["caption"] == information["text"] == evil
    running = [text for attributes, text in page.scripts if attributes.get("type") != "text/plain"]
    assert len(running) == 1
    assert "alert(" not in running[0]
    assert {tag for tag, _ in page.elements}.isdisjoint({"img", "iframe", "object", "link", "form", "base"})
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("src", "href", "style") for name in attributes), tag
    assert "<img" not in markup
    assert markup.count("<script>") == 1


def test_nothing_runs_but_our_script_and_nothing_is_fetched() -> None:
    page, markup = page_of(source_of(random_weights(1, 1, 3, 3), ("a", "b", "c"), ("a", "b", "c")))
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    (running,) = [text for attributes, text in page.scripts if attributes.get("type") != "text/plain"]
    (style,) = re.findall("<style>(.*?)</style>", markup, re.DOTALL)
    for kind, text in (("script", running), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in str(policy)
    assert str(policy).startswith("default-src 'none';")
    assert "unsafe" not in str(policy)
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|WebSocket|import\(|innerHTML|document\.write|eval\(", markup)


@pytest.mark.parametrize("bits", [16, 8])
def test_the_weights_come_back_out_of_the_page(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if bits == 8:
        monkeypatch.setattr(page_html, "_EXACT_WEIGHTS", 10)
    weights = random_weights(2, 3, 5, 4)
    names = ("a", "b", "c", "d", "e")
    page, _ = page_of(source_of(weights, names, names[:4]), PageContent(Subtitles("T"), chosen=(2, 3)))
    information = page.information()
    assert (information["layers"], information["heads"], information["chosen"]) == ([0, 2], [1, 2, 3], [1, 2])
    assert (information["bits"], information["thumbnail"]) == (bits, [5, 4])
    for row, column in np.ndindex(2, 3):
        (attributes,) = [a for a, _ in page.scripts if a.get("id") == f"weights-{row}-{column}"]
        codes = np.frombuffer(
            zlib.decompress(base64.b64decode(page.data(f"weights-{row}-{column}"))),
            np.uint16 if bits == 16 else np.uint8,
        ).reshape(5, 4)
        most, top = 2**bits - 1, float(str(attributes["data-top"]))
        found = top * (codes / most) ** 2
        np.testing.assert_allclose(found, weights[row, column], atol=top * (2e-5 if bits == 16 else 4.1e-3))
    thumbnails = np.frombuffer(base64.b64decode(page.data("thumbnails")), np.uint8).reshape(2, 3, 5, 4)
    expected = np.sqrt(weights / weights.max(axis=(2, 3), keepdims=True))
    np.testing.assert_allclose(thumbnails / 255, expected, atol=1 / 255)
    assert len(information["statistics"]) == 2
    assert all(len(row) == 3 for row in information["statistics"])
    assert all("Strongest" in head for row in information["statistics"] for head in row)


def test_small_weights_keep_their_share_of_eight_bits() -> None:
    weights = np.array([[1.0, 0.01, 0.001]], dtype=np.float32)
    codes, top = quantised(weights, 8)
    found = top * (codes / 255.0) ** 2
    np.testing.assert_allclose(found[0, :2], [1.0, 0.01], rtol=0.05)
    np.testing.assert_allclose(found[0, 2], 0.001, rtol=0.15)
    assert quantised(np.zeros((2, 2), dtype=np.float32), 8)[0].max() == 0


def test_a_page_too_large_for_a_browser_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_html, "MOST_WEIGHTS", 100)
    buffer = io.BytesIO()
    with pytest.raises(UserError, match="would hold 128 weights"):
        write_page(buffer, source_of(random_weights(1, 2, 8, 8), EVIL, EVIL), PageContent(Subtitles("")), JobContext())
    assert buffer.getvalue() == b""


def test_five_hundred_tokens_of_all_heads_stay_small() -> None:
    names = tuple(f"t{index}" for index in range(500))
    weights = random_weights(1, 12, 500, 500)
    buffer = io.BytesIO()
    write_page(buffer, source_of(weights, names, names), PageContent(Subtitles("")), JobContext())
    assert (
        len(buffer.getvalue()) < 5e6
    )  # a sixth of MiniLM's, without any pattern to pack; BertViz writes 829 MB of all


# --- what the page computes, in a real engine


@pytest.fixture
def ask(qapp: Any) -> Any:
    """``ask(expression)``: what the page's functions make of it."""
    engine = QJSEngine()
    loaded = engine.evaluate(resource("attention_page", "functions.js").read_text("utf-8"))
    assert not loaded.isError(), loaded.toString()

    def evaluate(expression: str) -> Any:
        result = engine.evaluate(f"JSON.stringify({expression})")
        assert not result.isError(), result.toString()
        return json.loads(result.toString())

    return evaluate


def test_the_page_reads_what_was_quantised(ask: Any) -> None:
    weights = random_weights(4, 4)
    codes, top = quantised(weights, 16)
    found = ask(f"Array.from(unquantise(new Uint16Array({codes.ravel().tolist()}), {top!r}, 65535))")
    np.testing.assert_allclose(np.array(found).reshape(4, 4), weights, atol=1e-5)


@pytest.mark.parametrize("scale", ["head", "shared", "row", "log"])
def test_the_page_shades_as_the_app_does(scale: str, ask: Any) -> None:
    from lmstudio_app.inspection.scales import scale_weights

    weights = random_weights(6, 5)
    numbers = json.dumps(weights.astype(float).ravel().tolist())
    found = ask(f'Array.from(shadesOf(new Float32Array({numbers}), 6, 5, "{scale}"))')
    assert np.abs(np.array(found).reshape(6, 5) - scale_weights(weights, scale).shades.astype(int)).max() <= 1


def test_the_page_pools_with_the_largest(ask: Any) -> None:
    found = ask("poolShades(new Uint8Array([1, 2, 9, 4, 5, 6, 7, 8, 3]), 3, 3)")
    assert (found["rows"], found["columns"]) == (2, 2)
    assert list(found["shades"].values()) == [5, 9, 8, 3]


def test_zoom_and_move_stay_within_the_tokens(ask: Any) -> None:
    assert ask("zoomed([0, 100], 0.5, 2, 100)") == [25, 75]
    assert ask("zoomed([0, 100], 0, 4, 100)") == [0, 25]
    assert ask("zoomed([90, 100], 1, 0.01, 100)") == [0, 100]
    assert ask("zoomed([0, 100], 0.5, 1000, 100)") == [48, 52]
    assert ask("zoomed([0, 2], 0.5, 10, 2)") == [0, 2]
    assert ask("moved([10, 20], -50, 100)") == [0, 10]
    assert ask("moved([10, 20], 500, 100)") == [90, 100]
    assert ask("revealing([10, 20], 25, 100)") == [16, 26]
    assert ask("revealing([10, 20], 12, 100)") == [10, 20]


def test_the_page_finds_the_strongest(ask: Any) -> None:
    weights = "new Float32Array([0.9, 0.1, 0.001, 0.3])"
    assert [(line["query"], line["key"]) for line in ask(f"strongestLines({weights}, 2, 1, 9)")] == [
        (0, 1),
        (1, 1),
        (0, 0),
    ]
    assert len(ask(f"strongestLines({weights}, 2, 1, 1)")) == 1
    assert [found["index"] for found in ask(f"strongestOf({weights}, 2, 2, 1, 1, 2)")] == [1, 0]
    assert [found["index"] for found in ask(f"strongestOf({weights}, 2, 2, 0, 0, 1)")] == [0]


def test_keys_walk_through_the_heads(ask: Any) -> None:
    for key, expected in (
        ("ArrowRight", [1, 2]),
        ("ArrowUp", [0, 1]),
        ("ArrowDown", [1, 1]),
        ("End", [1, 3]),
        ("Home", [1, 0]),
        ("PageUp", [0, 1]),
        ("x", None),
    ):
        assert ask(f'steppedHead([1, 1], "{key}", 2, 4)') == expected


def test_weights_are_read_with_the_digits_they_have(ask: Any) -> None:
    assert ask("[shownWeight(0.12345, true), shownWeight(0.12345, false), shownWeight(0, true)]") == [
        "0.1235",
        "≈ 0.12",
        "0",
    ]
    assert ask("shownWeight(0.0000123, true)") == "1.2e-5"
