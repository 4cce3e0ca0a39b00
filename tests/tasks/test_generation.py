"""Writing texts in batches: the same as one by one, in order, as the options say, and stopped at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.generation import DecodingOptions, interruptible, stopping_criterion
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.summarization import summarize
from lmstudio_app.tasks.summary_writers import SummaryOptions
from lmstudio_app.tasks.writing import Prompt, generate_texts
from tests.tiny_seq2seq import PAIRS, build_bart, build_marian

SOURCES = [source for source, _ in PAIRS] + ["tea", "the cat sits on the mat and a dog runs in the park today"]


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = build_marian(tmp_path_factory.mktemp("models") / "marian", spread=0.3)
    return load_model(LoadRequest(str(folder), device="cpu"), JobContext())


def prompts(loaded: LoadedModel) -> list[Prompt]:
    return [Prompt(ids) for ids in loaded.tokenizer(SOURCES)["input_ids"]]


def alone(loaded: LoadedModel, **settings: Any) -> list[str]:
    """What transformers writes for each text by itself."""
    texts = []
    for source in SOURCES:
        ids = loaded.model.generate(**loaded.tokenizer(source, return_tensors="pt"), **settings)
        texts.append(loaded.tokenizer.decode(ids[0], skip_special_tokens=True).strip())
    return texts


@pytest.mark.parametrize("beams", [1, 4])
def test_batches_give_what_each_text_gives_alone(marian: LoadedModel, beams: int) -> None:
    options = DecodingOptions(beams=beams, max_new_tokens=12)
    together = generate_texts(marian, prompts(marian), JobContext(), options, batch_size=3)
    assert together == alone(marian, num_beams=beams, max_new_tokens=12)
    assert len(set(together)) > 1  # so that an order that is not kept would show


def test_the_options_are_obeyed(marian: LoadedModel) -> None:
    import torch

    def _write(**options: Any) -> list[str]:
        chosen = DecodingOptions(**{"beams": 1, "max_new_tokens": 20, **options})
        return generate_texts(marian, prompts(marian), JobContext(), chosen)

    plain = _write()
    no_repeats = _write(no_repeat_ngram=2)
    assert no_repeats == alone(marian, max_new_tokens=20, no_repeat_ngram_size=2) != plain
    assert _write(min_new_tokens=20) == alone(marian, max_new_tokens=20, min_new_tokens=20)
    torch.manual_seed(1)
    assert _write(sample=True, temperature=5.0) != plain
    assert _write(sample=True, top_k=1) == plain == _write(sample=True, top_p=0.01)
    with pytest.raises(UserError, match=r"options.beams is 0"):
        DecodingOptions(beams=0)


def test_a_text_is_bounded_by_its_source_and_the_models_positions(marian: LoadedModel) -> None:
    seen: list[int] = []
    original = marian.model.generate

    def _generate(**arguments: Any) -> Any:
        seen.append(arguments["generation_config"].max_new_tokens)
        return original(**arguments)

    marian.model.generate = _generate
    try:
        short = [Prompt([5, 6, 0])]
        generate_texts(marian, short, JobContext(), DecodingOptions(beams=1), longest_ratio=2.0)
        generate_texts(marian, short, JobContext(), DecodingOptions(beams=1, max_new_tokens=1000))
    finally:
        del marian.model.generate
    assert seen == [16, 63]


def test_a_batch_without_memory_is_halved(marian: LoadedModel) -> None:
    options = DecodingOptions(beams=1, max_new_tokens=8)
    expected = generate_texts(marian, prompts(marian), JobContext(), options)
    sizes: list[int] = []
    original = marian.model.generate

    def _generate(**arguments: Any) -> Any:
        sizes.append(len(arguments["input_ids"]))
        if sizes[-1] > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(**arguments)

    marian.model.generate = _generate
    try:
        assert generate_texts(marian, prompts(marian), JobContext(), options) == expected
    finally:
        del marian.model.generate
    assert sizes[:3] == [8, 4, 2]


def test_rows_stream_in_order_window_by_window(marian: LoadedModel) -> None:
    read = 0

    def _rows() -> Any:
        nonlocal read
        for number in range(200):
            read += 1
            yield {"text": SOURCES[number % len(SOURCES)]}

    options = SummaryOptions(beams=1, max_new_tokens=6, batch_size=2)
    stream = summarize(marian, _rows(), JobContext(), options)
    first = next(stream)
    assert read == 32
    texts = [first.text, *(output.text for output in stream)]
    assert len(texts) == 200
    assert texts == (texts[: len(SOURCES)] * 25)


@pytest.fixture(scope="module")
def slow_bart(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Needs seconds for a batch: no text ends, and each has 4,000 tokens."""
    folder = build_bart(tmp_path_factory.mktemp("models") / "bart")
    loaded = load_model(LoadRequest(str(folder), device="cpu"), JobContext())
    loaded.model.generation_config.eos_token_id = None
    loaded.model.config.max_position_embeddings = 10_000
    for part in (loaded.model.model.encoder, loaded.model.model.decoder):
        import torch

        part.embed_positions.weight = torch.nn.Parameter(part.embed_positions.weight[:1].repeat(10_002, 1))
    return loaded


def test_a_cancel_ends_the_writing_within_200_ms(slow_bart: LoadedModel) -> None:
    control = Control()
    cancelled: list[float] = []

    def _cancel() -> None:
        cancelled.append(time.perf_counter())
        control.cancel()

    timer = threading.Timer(0.3, _cancel)
    timer.start()
    options = DecodingOptions(beams=2, max_new_tokens=9000)
    with pytest.raises(Cancelled):
        generate_texts(slow_bart, prompts(slow_bart), JobContext(control=control), options)
    timer.join()
    assert 0 <= time.perf_counter() - cancelled[0] < 0.2
    assert not any(module._forward_pre_hooks for module in slow_bart.model.modules())


def test_a_stop_ends_early_only_where_that_is_wanted(marian: LoadedModel) -> None:
    import torch

    control = Control()
    control.stop()
    ctx = JobContext(control=control)
    inputs = marian.tokenizer("we drink tea", return_tensors="pt")
    lengths = []
    for ends_early in (False, True):
        criteria = [stopping_criterion(ctx, ends_early=ends_early)]
        ids = marian.model.generate(**inputs, max_new_tokens=9, min_new_tokens=9, stopping_criteria=criteria)
        lengths.append(ids.shape[1])
    assert lengths == [10, 2]
    control.cancel()
    with pytest.raises(Cancelled), interruptible(marian.model, ctx), torch.inference_mode():
        marian.model(**inputs, decoder_input_ids=torch.tensor([[0]]))


def test_a_model_that_cannot_write_is_refused(tiny_encoder: Path) -> None:
    loaded = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext())
    with pytest.raises(UserError, match="does not turn one text into another"):
        list(summarize(loaded, [{"text": "tea"}], JobContext(), SummaryOptions()))
