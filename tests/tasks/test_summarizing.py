"""Summaries of any length: targets, parts, rounds, limits, stops, and both kinds of models."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.cli import main
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Status
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.instructed_writing import Ask, Manner, repeats, write_behind
from lmstudio_app.tasks.summarization import summarize
from lmstudio_app.tasks.summarizing import Draft, plan_reading, summarize_texts
from lmstudio_app.tasks.summary_lengths import count_words, target_for, target_for_part, target_words
from lmstudio_app.tasks.summary_parts import split_parts
from lmstudio_app.tasks.summary_writers import INSTRUCTION, InstructedWriter, SummaryOptions, tidy
from tests.tiny_chat import build_chat
from tests.tiny_seq2seq import build_bart, build_t5

SENTENCES = ("The cat sits on the mat.", "A dog runs in the park.", "The bird sings.", "We drink tea.")
LONG = "\n\n".join(" ".join(SENTENCES[(row + shift) % 4] for shift in range(4)) for row in range(12))


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = build_bart(tmp_path_factory.mktemp("models") / "bart")
    return load_model(LoadRequest(str(folder), device="cpu"), JobContext())


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = build_chat(tmp_path_factory.mktemp("models") / "chat")
    return load_model(LoadRequest(str(folder), device="cpu"), JobContext())


def by_words(texts: Any) -> list[int]:
    return [len(text.split()) for text in texts]


# --- how long


def test_a_length_is_a_share_of_the_text_within_limits() -> None:
    assert [target_words(300, length) for length in ("short", "medium", "long")] == [30, 60, 105]
    assert [target_words(20, length) for length in ("short", "medium", "long")] == [15, 40, 70]
    assert [target_words(50_000, length) for length in ("short", "medium", "long")] == [30, 80, 200]
    assert target_words(300, "short", sentences=3) == 60
    target = target_for(60, 1.5)
    assert (target.words, target.sentences, target.min_tokens) == (60, 3, 45)
    assert 60 * 1.5 == target.aim_tokens < target.max_tokens < 2.5 * 60 * 1.5
    assert count_words("我们喝茶 and tea") == 6


def test_partial_summaries_leave_at_most_a_third_of_the_window() -> None:
    for window in (16, 64, 1024):
        for parts in (2, 10, 500):
            target = target_for_part(window, parts, 60, 1.0, window)
            assert 0 <= target.min_tokens <= target.aim_tokens <= target.max_tokens <= max(4, window // 3)


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match=r"options.length cannot be tiny"):
        SummaryOptions(length="tiny")
    with pytest.raises(UserError, match="The instruction cannot be filled in") as refused:
        SummaryOptions(instruction="In {count} words.")
    assert "{words}" in refused.value.remedy
    assert SummaryOptions(instruction="In {words} words: {{}}").instruction.format(words=3, sentences="") == (
        "In 3 words: {}"
    )


# --- parts


@pytest.mark.parametrize("limit", [1, 5, 7, 23, 64, 1000])
def test_parts_fit_and_nothing_is_lost(limit: int) -> None:
    text = LONG + " " + "averylongword" * 3 + " " + "word " * 40 + "。一只狗在公园里跑。"
    spans = split_parts(text, limit, by_words, JobContext())
    assert all(size <= limit for size in by_words(text[begin:end] for begin, end in spans))
    assert "".join("".join(text[begin:end] for begin, end in spans).split()) == "".join(text.split())
    assert all(text[begin:end].strip() == text[begin:end] != "" for begin, end in spans)


def test_parts_end_with_paragraphs_and_are_about_equally_long() -> None:
    spans = split_parts(LONG, 60, by_words, JobContext())
    sizes = by_words(LONG[begin:end] for begin, end in spans)
    assert len(spans) == 4
    assert min(sizes) >= 0.7 * max(sizes)
    assert all(LONG[end : end + 2] in ("\n\n", "") for _, end in spans)
    assert split_parts("  \n ", 10, by_words, JobContext()) == []
    assert split_parts("one two", 10, by_words, JobContext()) == [(0, 7)]


def test_a_word_longer_than_a_part_is_cut_between_characters() -> None:
    def _letters(texts: Any) -> list[int]:
        return [len(text) for text in texts]

    spans = split_parts("x" * 25, 10, _letters, JobContext())
    assert all(end - begin <= 10 for begin, end in spans)
    assert spans[0][0] == 0
    assert [begin for begin, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert spans[-1][1] == 25


def test_splitting_can_be_cancelled() -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        split_parts(LONG, 5, by_words, JobContext(control=control))


# --- rounds


@pytest.mark.parametrize("kind", ["bart", "chat"])
def test_a_long_text_is_read_in_parts_whose_summaries_are_summarised(kind: str, request: Any) -> None:
    loaded = request.getfixturevalue(kind)
    options = SummaryOptions(beams=1, part_tokens=40, length="short", batch_size=4)
    plan = plan_reading(loaded, LONG, JobContext(), options)
    assert plan.window == 40
    assert len(plan.parts) > 4
    drafts: list[Draft] = []
    (summary,) = summarize_texts(loaded, [LONG], JobContext(), options, watch=drafts.append)
    first = [part for part in summary.parts if part.round == 0]
    assert tuple((part.start, part.end) for part in first) == plan.parts
    assert summary.complete
    assert summary.tokens > 0
    assert summary.words == count_words(LONG)
    done = [draft for draft in drafts if draft.done]
    assert [draft.is_last for draft in done][-1]
    assert sum(draft.round == 0 for draft in done) == len(plan.parts)
    assert done[-1].text == summary.text
    assert max(part.round for part in summary.parts) + 1 == done[-1].round


def test_texts_together_and_alone_have_the_same_summaries(bart: LoadedModel) -> None:
    options = SummaryOptions(beams=2, part_tokens=40, length="short")
    texts = [LONG, LONG[:700], "", " We drink tea. ", LONG[200:]]
    together = summarize_texts(bart, texts, JobContext(), options)
    assert [item.text for item in together] == [
        summarize_texts(bart, [text], JobContext(), options)[0].text for text in texts
    ]
    assert [item.is_text for item in together] == [False, False, True, True, False]
    assert together[2].text == ""
    assert together[3].text == "We drink tea."


def test_what_cannot_be_made_shorter_stands_one_behind_the_other(
    bart: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose summaries of parts are longer than a part would be read for ever."""
    monkeypatch.setattr("lmstudio_app.tasks.summarizing.target_for_part", lambda *_: target_for(60, 1.0))
    events: list[Any] = []
    options = SummaryOptions(beams=1, part_tokens=16, length="short")
    outputs = list(summarize(bart, [{"text": LONG}], JobContext(events.append), options))
    assert "\n\n" in outputs[0].text
    assert [event.template[:20] for event in events if isinstance(event, Status) and event.warning] == [
        "The summaries of the"
    ]


def test_tokens_that_are_asked_for_are_kept_to(bart: LoadedModel, chat: LoadedModel) -> None:
    for loaded in (bart, chat):
        texts = summarize_texts(loaded, ["we drink tea"], JobContext(), SummaryOptions(max_new_tokens=4, beams=1))
        assert not texts[0].is_text
        assert 0 < texts[0].tokens <= 4
        plan = plan_reading(loaded, LONG, JobContext(), SummaryOptions(max_new_tokens=9, min_new_tokens=5))
        assert (plan.target.min_tokens, plan.target.max_tokens) == (5, 9)


def test_t5_reads_its_prefix_and_what_fits_beside_it(tmp_path: Path) -> None:
    loaded = load_model(LoadRequest(str(build_t5(tmp_path / "t5")), device="cpu"), JobContext())
    loaded.tokenizer.model_max_length = 40
    plan = plan_reading(loaded, LONG, JobContext(), SummaryOptions())
    assert plan.window == 40 - 2  # "summarize:" and the end
    seen: list[list[int]] = []
    original = loaded.model.generate

    def _generate(**arguments: Any) -> Any:
        seen.extend(arguments["input_ids"].tolist())
        return original(**arguments)

    loaded.model.generate = _generate
    summarize_texts(loaded, [LONG], JobContext(), SummaryOptions(beams=1, length="short"))
    first = loaded.tokenizer.convert_tokens_to_ids("summarize:")
    assert all(row[0] == first and len(row) <= 40 for row in seen)
    assert len(seen) >= len(plan.parts) > 1


# --- language models


def test_a_chat_model_is_told_how_long(chat: LoadedModel) -> None:
    writer = InstructedWriter(chat, SummaryOptions(), 100, ends_early=False)
    target = target_for(40, 1.0)
    prompt = chat.tokenizer.decode(writer._prompt("We drink tea.", target))
    assert "two sentences" in prompt
    assert "We drink tea." in prompt
    told = InstructedWriter(chat, SummaryOptions(instruction="say it in {words} words"), 100, ends_early=False)
    assert "say it in 40 words" in chat.tokenizer.decode(told._prompt("We drink tea.", target))
    assert "{" not in INSTRUCTION.format(words=1, sentences="one sentence")


def test_a_model_without_a_template_is_asked_as_gpt2_was(tmp_path: Path) -> None:
    folder = build_chat(tmp_path / "plain", template=None)
    loaded = load_model(LoadRequest(str(folder), device="cpu"), JobContext())
    writer = InstructedWriter(loaded, SummaryOptions(), 100, ends_early=False)
    assert loaded.tokenizer.decode(writer._prompt("We drink tea.", target_for(9, 1.0))).endswith("tea.\n\nTL;DR:")


def test_a_template_that_refuses_is_told(chat: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat.tokenizer, "chat_template", "{{ raise_exception('no') }}")
    with pytest.raises(UserError, match="does not take an instruction"):
        summarize_texts(chat, [LONG], JobContext(), SummaryOptions())


def test_a_model_without_room_is_told(chat: LoadedModel) -> None:
    with pytest.raises(UserError, match="no room for a text"):
        summarize_texts(chat, [LONG], JobContext(), SummaryOptions(max_new_tokens=100_000))


def test_each_text_keeps_to_its_own_limits_in_any_batch(chat: LoadedModel) -> None:
    ids = chat.tokenizer("we drink tea and the bird sings")["input_ids"]
    asks = [Ask(ids[:size], low, high) for size, low, high in ((3, 2, 4), (9, 6, 6), (5, 0, 12), (9, 11, 20))]
    together = write_behind(chat, asks, JobContext(), Manner(), batch_size=4)
    alone = [write_behind(chat, [ask], JobContext(), Manner())[0] for ask in asks]
    assert together == alone
    assert all(ask.min_tokens <= written.tokens <= ask.max_tokens for ask, written in zip(asks, together, strict=True))
    drawn = [write_behind(chat, asks, JobContext(), Manner(temperature=2.0, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_text_that_is_long_enough_ends_with_its_sentence(chat: LoadedModel) -> None:
    ids = chat.tokenizer("we drink tea")["input_ids"]
    manner = Manner(temperature=10.0, top_k=24)
    (whole,) = write_behind(chat, [Ask(ids, 200, 200)], JobContext(), manner)
    (found,) = write_behind(chat, [Ask(ids, 200, 200, 20)], JobContext(), manner)
    assert whole.text.startswith(found.text)
    assert found.text.endswith(".")
    assert found.ended
    assert 20 <= found.tokens < whole.tokens == 200
    later = found.text[20:-1]
    assert all(later[place - 1] in " ." for place in range(1, len(later)) if later[place] == ".")


def test_runs_of_tokens_are_written_once(chat: LoadedModel) -> None:
    assert repeats([1, 2, 3, 1, 2], 3) == [3]
    assert repeats([1, 2, 3, 1, 2], 4) == []
    assert repeats([5, 6], 1) == [5, 6]
    ids = chat.tokenizer("we drink tea")["input_ids"]
    seen: list[list[int]] = []
    original = chat.model.generate

    def _generate(**arguments: Any) -> Any:
        written = original(**arguments)
        seen.append(written[0, arguments["input_ids"].shape[1] :].tolist())
        return written

    chat.model.generate = _generate
    try:
        write_behind(chat, [Ask(ids, 60, 60)], JobContext(), Manner())
        write_behind(chat, [Ask(ids, 60, 60)], JobContext(), Manner(no_repeat_ngram=2))
        write_behind(chat, [Ask(ids, 60, 60)], JobContext(), Manner(repetition_penalty=5.0))
    finally:
        del chat.model.generate
    pairs = [list(pairwise(tokens)) for tokens in seen]
    assert len(set(pairs[0])) < 59
    assert len(set(pairs[1])) == 59
    assert len(set(seen[2])) > len(set(seen[0]))


def test_a_batch_of_prompts_without_memory_is_halved(chat: LoadedModel) -> None:
    asks = [Ask(chat.tokenizer("we drink tea")["input_ids"], 3, 5)] * 4
    expected = write_behind(chat, asks, JobContext(), Manner())
    sizes: list[int] = []
    original = chat.model.generate

    def _generate(**arguments: Any) -> Any:
        sizes.append(len(arguments["input_ids"]))
        if sizes[-1] > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(**arguments)

    chat.model.generate = _generate
    try:
        assert write_behind(chat, asks, JobContext(), Manner()) == expected
    finally:
        del chat.model.generate
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


def test_an_engine_that_streams_writes_the_same_rounds(chat: LoadedModel) -> None:
    from lmstudio_app.chat.torch_engine import TorchEngine

    options = SummaryOptions(part_tokens=300, length="short")
    drafts: list[Draft] = []
    engine = TorchEngine(chat)
    (summary,) = summarize_texts(
        chat, [LONG], JobContext(), options, ends_early=True, watch=drafts.append, talker=engine
    )
    first = [part for part in summary.parts if part.round == 0]
    assert len(first) > 1
    assert summary.text
    assert summary.complete
    assert summary.tokens > len(first)
    assert drafts[-1].done
    control = Control()

    def _watch(draft: Draft) -> None:
        if draft.text:
            control.stop()

    longer = SummaryOptions(max_new_tokens=1000)
    (stopped,) = summarize_texts(
        chat, [LONG], JobContext(control=control), longer, ends_early=True, watch=_watch, talker=engine
    )
    assert not stopped.complete
    assert 0 < stopped.tokens < 1000


# --- stops


def test_a_stop_keeps_what_there_is(chat: LoadedModel) -> None:
    options = SummaryOptions(part_tokens=40, length="short", batch_size=2)
    control = Control()
    drafts: list[Draft] = []

    def _watch(draft: Draft) -> None:
        drafts.append(draft)
        if sum(item.done for item in drafts) == 2:
            control.stop()

    (summary,) = summarize_texts(chat, [LONG], JobContext(control=control), options, ends_early=True, watch=_watch)
    assert not summary.complete
    assert summary.text == "\n\n".join(part.summary for part in summary.parts if part.summary)
    assert sum(draft.done for draft in drafts) == len(summary.parts)


def test_a_stop_while_the_text_is_read_leaves_nothing(chat: LoadedModel) -> None:
    control = Control()
    layers: list[int] = []

    def _stop(*_: Any) -> None:
        layers.append(1)
        control.stop()

    hook = chat.model.model.layers[0].register_forward_pre_hook(_stop)
    try:
        (summary,) = summarize_texts(chat, [LONG], JobContext(control=control), SummaryOptions(), ends_early=True)
    finally:
        hook.remove()
    assert (summary.text, summary.complete, layers) == ("", False, [1])


def test_a_cancel_ends_a_summary_within_200_ms(chat: LoadedModel) -> None:
    control = Control()
    cancelled: list[float] = []

    def _cancel() -> None:
        cancelled.append(time.perf_counter())
        control.cancel()

    timer = threading.Timer(0.2, _cancel)
    timer.start()
    options = SummaryOptions(part_tokens=40, max_new_tokens=100)
    with pytest.raises(Cancelled):
        summarize_texts(chat, [LONG] * 500, JobContext(control=control), options)
    timer.join()
    assert time.perf_counter() - cancelled[0] < 0.2
    assert not any(module._forward_pre_hooks for module in chat.model.modules())


# --- what is around a summary


def test_what_models_say_around_a_summary_is_left_out() -> None:
    assert tidy("Here is a summary of the text:\n\nA dog runs.", whole=True) == "A dog runs."
    assert tidy("**Summary:** A dog runs.", whole=True) == "A dog runs."
    assert tidy("A dog runs. It is cold. A dog runs.", whole=True) == "A dog runs. It is cold."
    assert tidy("A dog runs. It is", whole=False) == "A dog runs."
    assert tidy("A dog runs. It is", whole=True) == "A dog runs. It is"
    assert tidy("A dog", whole=False) == "A dog"
    assert tidy("Note: it is cold.", whole=True) == "Note: it is cold."
    assert tidy("", whole=True) == ""


def test_the_command_line(tmp_path: Path, chat: LoadedModel, capsys: pytest.CaptureFixture[str]) -> None:
    inputs, outputs = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = ["", "We drink tea.", LONG]
    inputs.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows), encoding="utf-8")
    command = ["predict", "summarization", "--model", str(chat.folder), "--device", "cpu"]
    command += ["--input", str(inputs), "--output", str(outputs), "--part-tokens", "40"]
    assert main([*command, "--length", "short"]) == 0
    written = [json.loads(line) for line in outputs.read_text(encoding="utf-8").splitlines()]
    assert written[:2] == [{"text": ""}, {"text": "We drink tea."}]
    assert list(written[2]) == ["text"]
    assert written[2]["text"]
    with pytest.raises(SystemExit):
        main([*command, "--length", "none"])
    assert "--length" in capsys.readouterr().err
    inputs.write_text('{"words": "tea"}\n')
    assert main(command) == 2
    assert "Line 1" in capsys.readouterr().err
