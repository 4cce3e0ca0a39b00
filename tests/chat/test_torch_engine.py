from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lmstudio_app.chat.engine import Piece, ReplyOptions, from_rows, open_engine, reply_text, to_rows
from lmstudio_app.chat.torch_engine import TorchEngine
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.chat_templates import encode_prompt
from lmstudio_app.tasks.replying import predict_replies

Tiny = Callable[[str], LoadedModel]
QUESTION = [{"role": "user", "content": "Hello, 你好"}]
GREEDY = ReplyOptions(max_new_tokens=24)


def generated(loaded: LoadedModel, messages: list[dict[str, str]], count: int, prefix: str = "") -> list[int]:
    """What transformers' own greedy search writes."""
    begun = loaded.tokenizer(prefix, add_special_tokens=False)["input_ids"]
    prompt = torch.tensor([encode_prompt(loaded.tokenizer, messages, 400) + begun])
    with torch.inference_mode():
        written = loaded.model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count,
            pad_token_id=0, eos_token_id=2,
        )  # fmt: skip
    return [token for token in written[0, prompt.shape[1] :].tolist() if token != 2]


def tokens(pieces: list[Piece]) -> list[int]:
    return [piece.token_id for piece in pieces if piece.token_id >= 0]


def two_turns(engine: TorchEngine, options: ReplyOptions = GREEDY) -> tuple[list[dict[str, str]], list[Piece]]:
    first = list(engine.reply(QUESTION, options, JobContext()))
    messages = [*QUESTION, {"role": "assistant", "content": reply_text(first) or "Hm."}]
    messages.append({"role": "user", "content": "And then?"})
    return messages, list(engine.reply(messages, options, JobContext()))


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
def test_greedy_replies_are_those_of_generate_token_for_token(tiny_chat: Tiny, family: str) -> None:
    loaded = tiny_chat(family)
    engine = TorchEngine(loaded)
    assert tokens(list(engine.reply(QUESTION, GREEDY, JobContext()))) == generated(loaded, QUESTION, 24)
    messages, second = two_turns(engine)
    assert tokens(second) == generated(loaded, messages, 24)


def test_the_turn_before_is_not_read_again(tiny_chat: Tiny) -> None:
    engine = TorchEngine(tiny_chat("llama"))
    two_turns(engine)
    assert 20 < engine.report.reused_tokens < engine.report.prompt_tokens
    list(engine.reply([{"role": "user", "content": "Something else"}], GREEDY, JobContext()))
    assert 0 < engine.report.reused_tokens < 20  # the beginning of the template


def test_a_cache_that_cannot_be_shortened_is_made_anew(tiny_chat: Tiny) -> None:
    engine = TorchEngine(tiny_chat("mistral"))
    two_turns(engine)
    assert engine.report.reused_tokens == 0


def test_what_is_streamed_is_the_decoded_whole(tiny_chat: Tiny) -> None:
    loaded = tiny_chat("llama")
    engine = TorchEngine(loaded)
    for seed in range(5):
        options = ReplyOptions(max_new_tokens=60, temperature=2.0, seed=seed)
        pieces = list(engine.reply(QUESTION, options, JobContext()))
        whole = loaded.tokenizer.decode(tokens(pieces), skip_special_tokens=True).replace("\ufffd", "")
        assert "".join(piece.text for piece in pieces) == whole
        assert not any("\ufffd" in piece.text for piece in pieces)


@pytest.mark.parametrize(
    "options",
    [
        ReplyOptions(max_new_tokens=30, temperature=0.8, top_k=40, top_p=0.9, repetition_penalty=1.2, seed=3),
        ReplyOptions(max_new_tokens=30, repetition_penalty=1.5, system="Be brief."),
    ],
)
def test_it_draws_as_the_prediction_does(tiny_chat: Tiny, options: ReplyOptions) -> None:
    loaded = tiny_chat("llama")
    pieces = list(TorchEngine(loaded).reply(QUESTION, options, JobContext()))
    (row,) = predict_replies(loaded, [{"messages": QUESTION}], JobContext(), options)
    assert reply_text(pieces) == row.text.replace("\ufffd", "").strip()


def test_probabilities_are_the_models_own(tiny_chat: Tiny) -> None:
    loaded = tiny_chat("llama")
    options = ReplyOptions(max_new_tokens=8, temperature=3.0, seed=1)
    pieces = list(TorchEngine(loaded).reply(QUESTION, options, JobContext(), candidates=5))
    ids = torch.tensor([encode_prompt(loaded.tokenizer, QUESTION, 400) + tokens(pieces)])
    with torch.inference_mode():
        shares = loaded.model(input_ids=ids).logits[0].softmax(-1)
    for place, piece in enumerate(pieces, ids.shape[1] - len(pieces) - 1):
        assert piece.probability == pytest.approx(float(shares[place, piece.token_id]), rel=1e-3)
        best = shares[place].topk(5).values.tolist()
        assert [c.probability for c in piece.candidates] == pytest.approx(best, rel=1e-3)
    assert from_rows(to_rows(pieces)) == pieces


def test_a_reply_can_begin_with_a_text(tiny_chat: Tiny) -> None:
    loaded = tiny_chat("llama")
    engine = TorchEngine(loaded)
    pieces = list(engine.reply(QUESTION, GREEDY, JobContext(), prefix="Well, 好"))
    asked = encode_prompt(loaded.tokenizer, QUESTION, 400)
    assert engine.report.prompt_tokens == len(asked) + len("Well, 好".encode())
    assert tokens(pieces) == generated(loaded, QUESTION, 24, "Well, 好")


def test_a_stop_text_ends_the_reply(tiny_chat: Tiny) -> None:
    engine = TorchEngine(tiny_chat("llama"))
    whole = "".join(piece.text for piece in engine.reply(QUESTION, GREEDY, JobContext()))
    middle = whole[len(whole) // 2 : len(whole) // 2 + 2]
    pieces = list(engine.reply(QUESTION, GREEDY, JobContext(), stop=[middle]))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(middle)]
    assert engine.report.ending == "stop text"


def test_a_stop_ends_the_reply_where_it_is(tiny_chat: Tiny) -> None:
    engine = TorchEngine(tiny_chat("llama"))
    control = Control()
    pieces = []
    for piece in engine.reply(QUESTION, GREEDY, JobContext(control=control)):
        pieces.append(piece)
        if len(pieces) == 3:
            control.stop()
    assert len(tokens(pieces)) == 3
    assert (engine.report.ending, engine.report.new_tokens) == ("stopped", 3)


@pytest.mark.parametrize("switch", ["cancel", "stop"])
def test_a_long_prompt_is_left_between_two_layers(tiny_chat: Tiny, switch: str) -> None:
    loaded = tiny_chat("llama")
    engine = TorchEngine(loaded)
    long = [{"role": "user", "content": "x" * 300}]
    whole = tokens(list(engine.reply(long, GREEDY, JobContext())))
    list(engine.reply(QUESTION, GREEDY, JobContext()))
    control = Control()
    passed = 0

    def _flip(*_: Any) -> None:
        nonlocal passed
        passed += 1
        if passed == 2:  # in the second layer of the first part
            getattr(control, switch)()

    hook = loaded.model.model.layers[1].register_forward_pre_hook(_flip)
    other = loaded.model.model.layers[2].register_forward_pre_hook(_flip)
    try:
        reply = engine.reply(long, GREEDY, JobContext(control=control))
        if switch == "cancel":
            with pytest.raises(Cancelled):
                list(reply)
        else:
            assert list(reply) == []
            assert engine.report.ending == "stopped"
    finally:
        hook.remove()
        other.remove()
    assert passed <= 3
    assert tokens(list(engine.reply(long, GREEDY, JobContext()))) == whole  # as if nothing had been


def test_the_oldest_turns_give_way(tiny_chat: Tiny) -> None:
    engine = TorchEngine(tiny_chat("llama"))
    assert engine.context_length == 512
    messages = [{"role": "system", "content": "Be brief."}]
    for number in range(8):
        messages += [{"role": "user", "content": f"{number} " + "q" * 60}, {"role": "assistant", "content": "a" * 20}]
    messages.append({"role": "user", "content": "last"})
    assert engine.count_tokens(messages) > 512
    list(engine.reply(messages, ReplyOptions(max_new_tokens=100), JobContext()))
    report = engine.report
    assert report.dropped_messages >= 6
    assert report.dropped_messages % 2 == 0
    assert report.prompt_tokens <= 412
    kept = [messages[0], *messages[1 + report.dropped_messages :]]
    assert report.prompt_tokens == engine.count_tokens(kept)


def test_a_question_longer_than_the_context_loses_its_beginning(tiny_chat: Tiny) -> None:
    engine = TorchEngine(tiny_chat("llama"))
    pieces = list(
        engine.reply([{"role": "user", "content": "q" * 2000}], ReplyOptions(max_new_tokens=500), JobContext())
    )
    assert engine.report.prompt_tokens == 256
    assert len(tokens(pieces)) <= 256


def test_another_reply_waits_and_can_be_cancelled(tiny_chat: Tiny) -> None:
    engine = TorchEngine(tiny_chat("llama"))
    first = engine.reply(QUESTION, GREEDY, JobContext())
    next(first)
    control = Control()
    seen: list[type[BaseException]] = []

    def _ask() -> None:
        try:
            next(engine.reply(QUESTION, GREEDY, JobContext(control=control)))
        except Cancelled as error:
            seen.append(type(error))

    thread = threading.Thread(target=_ask)
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    control.cancel()
    thread.join(2)
    assert seen == [Cancelled]
    first.close()  # type: ignore[attr-defined]
    assert next(engine.reply(QUESTION, GREEDY, JobContext())).token_id >= 0


def test_what_cannot_be_asked_is_told(tiny_chat: Tiny, tiny_encoder: Path) -> None:
    loaded = tiny_chat("llama")
    engine = TorchEngine(loaded)
    with pytest.raises(UserError, match="no conversation with a question"):
        next(engine.reply([{"role": "system", "content": "x"}], GREEDY, JobContext()))
    with pytest.raises(UserError, match="does not write text"):
        TorchEngine(load_model(LoadRequest(str(tiny_encoder)), JobContext()))
    with pytest.raises(UserError, match="did not come as a GGUF file"):
        open_engine(loaded, JobContext(), "llama.cpp")
    with pytest.raises(UserError, match="There is no engine tpu"):
        open_engine(loaded, JobContext(), "tpu")
    assert open_engine(dataclasses.replace(loaded), JobContext()).name == "torch"
    engine.close()
    with pytest.raises(UserError, match="closed"):
        next(engine.reply(QUESTION, GREEDY, JobContext()))
