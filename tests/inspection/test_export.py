"""Files of numbers, and which picture or page becomes of which question."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection import export_numbers
from lmstudio_app.inspection.arrangement import Arrangement
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.inspection.drawing import PictureStyle
from lmstudio_app.inspection.export import AttentionJob, SaveJob, read_and_save, run_save_job
from lmstudio_app.inspection.export_numbers import write_csv, write_npz
from lmstudio_app.inspection.export_source import (
    LayerGatherer,
    Source,
    arranged,
    for_each_layer,
    only_head,
    source_of_maps,
    source_of_request,
)
from lmstudio_app.inspection.reading import Reading, ReadingRequest, read_text
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import Control, JobContext

TEXT = "the film was not very good"


def tokens_of(*names: str, special: tuple[int, ...] = ()) -> Tokens:
    count = range(len(names))
    flags = tuple(index in special for index in count)
    segments = tuple(None if flag else 0 for flag in flags)
    return Tokens(names, names, flags, segments, words=tuple(count), spans=tuple((i, i + 1) for i in count))


def source_of(weights: list[np.ndarray], queries: Tokens, keys: Tokens, kind: str = "encoder") -> Source:
    """Layers 3, 4, …; as many heads as the first one has."""
    layers = tuple(range(3, 3 + len(weights)))

    def each(receive: Callable[[int, Any], None], ctx: JobContext) -> None:
        for layer, of_layer in zip(layers, weights, strict=True):
            receive(layer, of_layer)

    return Source(kind, queries, keys, layers, tuple(range(len(weights[0]))), each)


def random_weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def request_of(text: str = TEXT, **options: Any) -> AttentionRequest:
    return AttentionRequest(text, **options)


# --- numbers


def test_npz_holds_tokens_and_weights(make_loaded: Callable[..., Any], heard: Any, tmp_path: Path) -> None:
    loaded = make_loaded("bert")
    job = AttentionJob("", request_of(pair="bad food"), tmp_path / "new" / "a.npz")
    with np.load(read_and_save(loaded, job, heard.ctx)) as data:
        assert list(data["tokens"]) == ["[CLS]", *TEXT.split(), "[SEP]", "bad", "food", "[SEP]"]
        assert data["weights"].dtype == np.float32
        expected = read_attention(loaded, request_of(pair="bad food"), heard.ctx).weights
        np.testing.assert_allclose(data["weights"], expected, atol=1e-6)
        assert list(data["layers"]) == [0, 1]
        assert list(data["heads"]) == [0, 1, 2, 3]
        assert str(data["kind"]) == "encoder"
        assert "target_tokens" not in data


def test_npz_of_chosen_layers_and_heads(make_loaded: Callable[..., Any], heard: Any, tmp_path: Path) -> None:
    loaded = make_loaded("llama")
    job = AttentionJob("", request_of(layers=(1,), heads=(0, 2)), tmp_path / "a.npz")
    whole = read_attention(loaded, request_of(), heard.ctx).weights
    with np.load(read_and_save(loaded, job, heard.ctx)) as data:
        np.testing.assert_allclose(data["weights"], whole[1:2, [0, 2]], atol=1e-6)
        assert (list(data["layers"]), list(data["heads"]), str(data["kind"])) == ([1], [0, 2], "decoder")


def test_of_cross_attention_the_keys_are_tokens_and_the_queries_target_tokens(
    make_loaded: Callable[..., Any], heard: Any, tmp_path: Path
) -> None:
    loaded = make_loaded("bart")
    job = AttentionJob("", request_of(target="bad food", kind="cross"), tmp_path / "a.npz")
    with np.load(read_and_save(loaded, job, heard.ctx)) as data:
        assert str(data["kind"]) == "cross"
        assert [word in data["tokens"] for word in TEXT.split()] == [True] * 6
        assert {"bad", "food"} <= set(data["target_tokens"])
        assert data["weights"].shape == (1, 2, len(data["target_tokens"]), len(data["tokens"]))
        np.testing.assert_allclose(data["weights"].sum(-1), 1, atol=1e-4)


def test_a_layer_with_fewer_heads_is_filled_up(tmp_path: Path) -> None:
    weights = [random_weights(3, 2, 2), random_weights(1, 2, 2)]
    with (tmp_path / "a.npz").open("wb") as file:
        write_npz(file, source_of(weights, tokens_of("a", "b"), tokens_of("a", "b")), JobContext())
    with np.load(tmp_path / "a.npz") as data:
        np.testing.assert_array_equal(data["weights"][0], weights[0])
        np.testing.assert_array_equal(data["weights"][1, 0], weights[1][0])
        assert np.isnan(data["weights"][1, 1:]).all()


def test_half_precision_is_written_in_full(tmp_path: Path) -> None:
    weights = random_weights(1, 2, 3).astype(np.float16)
    with (tmp_path / "a.npz").open("wb") as file:
        write_npz(file, source_of([weights], tokens_of("a", "b"), tokens_of("a", "b", "c")), JobContext())
    with np.load(tmp_path / "a.npz") as data:
        assert data["weights"].dtype == np.float32
        np.testing.assert_array_equal(data["weights"][0], weights)


def test_csv_has_a_row_for_every_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ('say "hi"', "a,b", "two\nlines", "电影")
    weights = [random_weights(2, 3, 4), random_weights(2, 3, 4)]
    monkeypatch.setattr(export_numbers, "_BATCH", 4)  # a query at a time
    with (tmp_path / "a.csv").open("wb") as file:
        write_csv(file, source_of(weights, tokens_of(*names[:3]), tokens_of(*names)), JobContext())
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["layer", "head", "query", "query_token", "key", "key_token", "weight"]
    assert len(rows) == 2 * 2 * 3 * 4
    for row in rows:
        layer, head, query, key = (int(row[name]) for name in ("layer", "head", "query", "key"))
        assert np.float32(row["weight"]) == weights[layer - 3][head, query, key]
        assert (row["query_token"], row["key_token"]) == (names[query], names[key])


def test_a_long_table_is_said_and_an_endless_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Any
) -> None:
    source = source_of([random_weights(2, 3, 3)], tokens_of("a", "b", "c"), tokens_of("a", "b", "c"))
    monkeypatch.setattr(export_numbers, "_MANY_ROWS", 17)
    with (tmp_path / "a.csv").open("wb") as file:
        write_csv(file, source, heard.ctx)
    assert "18 rows" in heard.warnings[0]
    monkeypatch.setattr(export_numbers, "MOST_ROWS", 17)
    with pytest.raises(UserError, match="18 rows") as caught, (tmp_path / "b.csv").open("wb") as file:
        write_csv(file, source, heard.ctx)
    assert ".npz" in caught.value.remedy


def test_a_full_disk_is_said_beforehand(tmp_path: Path) -> None:
    names = tokens_of(*"ab" * 500_000)
    source = Source("encoder", names, names, tuple(range(1000)), (0,), lambda receive, ctx: None)
    with pytest.raises(UserError, match="free on its disk"), (tmp_path / "a.npz").open("wb") as file:
        write_npz(file, source, JobContext())
    assert (tmp_path / "a.npz").stat().st_size == 0


def test_a_failed_write_leaves_the_old_file(make_loaded: Callable[..., Any], tmp_path: Path) -> None:
    output = tmp_path / "a.npz"
    output.write_bytes(b"old")
    control = Control()

    def cancel_while_writing(event: Any) -> None:
        if any(tmp_path.glob(".a.npz*")):
            control.cancel()

    with pytest.raises(Cancelled):
        read_and_save(
            make_loaded("bert"), AttentionJob("", request_of(), output), JobContext(cancel_while_writing, control)
        )
    assert output.read_bytes() == b"old"
    assert list(tmp_path.glob(".a.npz*")) == []


# --- what is saved


def test_a_missing_layer_is_an_error_that_says_which_there_are() -> None:
    def each(receive: Callable[[int, Any], None], ctx: JobContext) -> None:
        receive(2, random_weights(1, 1, 1))

    source = Source("encoder", tokens_of("a"), tokens_of("a"), (1, 2), (0,), each)
    with pytest.raises(UserError, match="no attention in the layers 1") as caught:
        for_each_layer(source, lambda layer, weights: None, JobContext())
    assert "2" in caught.value.remedy


def test_one_head_of_a_source(make_loaded: Callable[..., Any]) -> None:
    maps = read_attention(make_loaded("bert"), request_of(), JobContext())
    found: list[tuple[int, np.ndarray]] = []
    source = only_head(source_of_maps(maps), 1, 2)
    for_each_layer(source, lambda layer, weights: found.append((layer, weights)), JobContext())
    ((layer, weights),) = found
    assert layer == 1
    np.testing.assert_array_equal(weights, maps.head(1, 2)[None])
    assert source.count == 64


def test_hidden_tokens_are_hidden_in_numbers_too(make_loaded: Callable[..., Any], heard: Any, tmp_path: Path) -> None:
    loaded = make_loaded("bert")
    job = AttentionJob("", request_of(), tmp_path / "a.npz", arrangement=Arrangement(hide_special=True))
    whole = read_attention(loaded, request_of(), heard.ctx).weights
    with np.load(read_and_save(loaded, job, heard.ctx)) as data:
        assert list(data["tokens"]) == TEXT.split()
        np.testing.assert_allclose(data["weights"], whole[:, :, 1:-1, 1:-1], atol=1e-6)


def test_chunks_become_layers_in_one_buffer() -> None:
    import torch

    expected = random_weights(3, 2, 5, 4)
    found: list[tuple[int, np.ndarray]] = []
    buffers: list[np.ndarray] = []

    def receive(layer: int, weights: np.ndarray) -> None:
        found.append((layer, weights.copy()))
        buffers.append(weights)

    gather = LayerGatherer(receive)
    for layer, of_layer in enumerate(expected):
        for start in (0, 2, 4):
            gather(layer, start, 5, torch.from_numpy(of_layer[:, start : start + 2]))
    assert [layer for layer, _ in found] == [0, 1, 2]
    np.testing.assert_array_equal(np.stack([weights for _, weights in found]), expected)
    assert all(np.shares_memory(buffer, buffers[0]) for buffer in buffers)


def test_a_text_is_read_while_it_is_written(make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded("bert")
    source = source_of_request(loaded, request_of(), JobContext())
    found: dict[int, np.ndarray] = {}
    source.each(lambda layer, weights: found.update({layer: weights.copy()}), JobContext())
    expected = read_attention(loaded, request_of(), JobContext()).weights
    np.testing.assert_allclose(np.stack([found[layer] for layer in source.layers]), expected, atol=1e-6)


# --- pictures and pages


@pytest.mark.parametrize(
    ("options", "view", "title"),
    [
        ({}, "", "Attention in every layer and head"),
        ({"layers": (1,)}, "", "Attention in every layer and head"),
        ({"layers": (1,), "heads": (2,)}, "", "Layer 1, head 2"),
        ({"layers": (1,), "heads": (2,)}, "lines", "Layer 1, head 2"),
        ({}, "rollout", "Attention rollout"),
    ],
)
def test_which_picture_becomes_of_which_question(
    options: dict[str, Any], view: str, title: str, make_loaded: Callable[..., Any], heard: Any, tmp_path: Path
) -> None:
    loaded = make_loaded("bert")
    for form in ("svg", "pdf", "PNG", "html"):
        output = tmp_path / f"a.{form}"
        read_and_save(loaded, AttentionJob("", request_of(**options), output, view=view), heard.ctx)
    texts = [
        "".join(e.itertext()) for e in ElementTree.parse(tmp_path / "a.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    assert texts[0] == title
    assert "film" in " ".join(texts)
    assert title in PdfReader(tmp_path / "a.pdf").pages[0].extract_text()
    with Image.open(tmp_path / "a.PNG") as image:
        assert (image.format, image.size[0]) == ("PNG", 1600)
    page = (tmp_path / "a.html").read_text("utf-8")
    information = json.loads(page.split('id="information">')[1].split("</script>")[0])
    assert information["title"] == title
    assert information["text"] == TEXT
    assert information["single"] == ("Attention rollout" if view == "rollout" else "")


def test_a_rollout_is_saved_as_one_map(make_loaded: Callable[..., Any], heard: Any, tmp_path: Path) -> None:
    job = AttentionJob("", request_of(), tmp_path / "a.npz", view="rollout")
    with np.load(read_and_save(make_loaded("bert"), job, heard.ctx)) as data:
        assert data["weights"].shape == (1, 1, 8, 8)
        np.testing.assert_allclose(data["weights"].sum(-1), 1, atol=1e-4)
        assert str(data["method"]) == "rollout"
        assert "layers" not in data


def test_one_head_has_to_be_named(make_loaded: Callable[..., Any], heard: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which one") as caught:
        read_and_save(make_loaded("bert"), AttentionJob("", request_of(), tmp_path / "a.png", view="head"), heard.ctx)
    assert "--heads 0" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_the_difference_is_from_the_mean_of_all_heads(
    make_loaded: Callable[..., Any], heard: Any, tmp_path: Path
) -> None:
    job = AttentionJob(
        "", request_of(layers=(1,), heads=(2,)), tmp_path / "a.svg", style=PictureStyle(scale="difference")
    )
    loaded = make_loaded("bert")
    text = read_and_save(loaded, job, heard.ctx).read_text("utf-8")
    assert "the weight minus the mean of the layer's heads" in text
    weights = read_attention(loaded, request_of(), heard.ctx).weights[1]
    assert f"{np.abs(weights[2] - weights.mean(0)).max():+.2g}" in text  # at the end of the colour bar


@pytest.mark.parametrize("name", ["a.gif", "a"])
def test_another_kind_of_file_is_refused_before_the_work(
    name: str, make_loaded: Callable[..., Any], heard: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="cannot be written") as caught:
        read_and_save(make_loaded("bert"), AttentionJob("", request_of(), tmp_path / name), heard.ctx)
    assert ".npz" in caught.value.remedy
    assert heard.events == []


# --- what a reading shows


@pytest.fixture(params=["whole", "long"])
def reading(request: Any, make_loaded: Callable[..., Any]) -> Reading:
    """Of a short text, or as a long one is read: with nothing but its overview."""
    found = read_text(ReadingRequest(make_loaded("bert"), request_of()), JobContext())
    if request.param == "long":
        from dataclasses import replace

        return replace(found, kept={})
    return found


def save_job(reading: Reading, view: str, output: Path | None, **options: Any) -> SaveJob:
    return SaveJob(reading, view, 1, 2, output, PictureStyle(width=500), options.pop("arrangement", Arrangement()))


@pytest.mark.parametrize("form", ["png", "svg", "pdf", "html", "npz", "csv"])
@pytest.mark.parametrize("view", ["grid", "head", "lines"])
def test_everything_that_is_shown_can_be_saved(view: str, form: str, reading: Reading, tmp_path: Path) -> None:
    output = tmp_path / f"a.{form}"
    assert run_save_job(save_job(reading, view, output), JobContext()) == b""
    maps = read_attention(reading.loaded, reading.request, JobContext())
    if form == "npz":
        with np.load(output) as data:
            expected = maps.weights if view == "grid" else maps.head(1, 2)[None, None]
            np.testing.assert_allclose(data["weights"], expected, atol=1e-6)
    elif form == "csv":
        assert len(output.read_text().splitlines()) == 1 + (2 * 4 * 64 if view == "grid" else 64)
    else:
        title = "Attention in every layer and head" if view == "grid" else "Layer 1, head 2"
        assert form == "png" or form == "pdf" or title in output.read_text("utf-8")
        assert output.stat().st_size > 3000


def test_a_copy_is_a_png_that_lies_nowhere(reading: Reading, tmp_path: Path) -> None:
    found = run_save_job(save_job(reading, "head", None), JobContext())
    with Image.open(io.BytesIO(found)) as image:
        assert (image.format, image.size[0]) == ("PNG", 500)


def test_a_picture_shows_the_tokens_that_the_window_shows(reading: Reading, tmp_path: Path) -> None:
    job = save_job(reading, "head", tmp_path / "a.svg", arrangement=Arrangement(hide_special=True))
    run_save_job(job, JobContext())
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert "film" in text
    assert "[CLS]" not in text


def test_what_is_in_memory_is_not_copied(make_loaded: Callable[..., Any]) -> None:
    maps = read_attention(make_loaded("bert"), request_of(), JobContext())
    source = arranged(source_of_maps(maps), Arrangement())
    shared: list[bool] = []
    source.each(lambda layer, weights: shared.append(np.shares_memory(weights, maps.weights)), JobContext())
    assert shared == [True] * len(maps.layers)
