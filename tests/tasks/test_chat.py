from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Evaluated, Event, Status
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.models.sampling import sampling_processor
from lmstudio_app.tasks.chat import CHAT, ChatOptions, encode
from lmstudio_app.tasks.chat_templates import (
    DEFAULT_CHAT_TEMPLATE,
    encode_chat,
    encode_prompt,
    end_of_turn_ids,
    ensure_chat_template,
    fit_chat,
    render,
)
from lmstudio_app.tasks.labelled_loss import count_targets, labelled_loss
from lmstudio_app.tasks.replying import CHAT_REPLY
from lmstudio_app.tasks.task import IGNORED, Setup
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe

# as SmolLM2 and Qwen 2.5 have it: a system prompt of its own where a conversation has none
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are Sam.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# tags around the text alone: the end of the turn has to be learned as well
TAGGED = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\n' }}{% generation %}{{ message['content'] }}{% endgeneration %}{{ '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# as Llama 2 and Mistral have it: no system message, turns must alternate
BRACKETS = (
    "{{ '<s>' }}{% for message in messages %}"
    "{% if message['role'] == 'system' or (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + '</s>' }}{% endif %}{% endfor %}"
)
# as Qwen 3 has it: only the last answer shows that it was thought about, and the prompt opens a thought
THINKING = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '(hm)' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n(think' }}{% endif %}"
)
TALK = [
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello you."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "Bye."},
]


def make_tokenizer(template: str | None = None) -> Any:
    """Every byte a token, besides the special ones."""
    specials = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: index for index, token in enumerate([*specials, *alphabet])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    from tokenizers.decoders import ByteLevel

    backend.decoder = ByteLevel()
    backend.add_special_tokens(specials)
    made = t.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.chat_template = template
    return made


def build(family: str, folder: Path, template: str | None = None) -> Path:
    torch.manual_seed(0)
    tokenizer = make_tokenizer(template)
    if family == "llama":
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
        config = t.LlamaConfig(
            vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=256,
            bos_token_id=0, eos_token_id=1, pad_token_id=2, **sizes,
        )  # fmt: skip
        model: Any = t.LlamaForCausalLM(config)
    else:
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
        model = t.GPT2LMHeadModel(t.GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=1, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path) -> LoadedModel:
    return load_model(LoadRequest(str(folder), head="causal-lm", device="cpu"), JobContext())


def answers(tokenizer: Any, messages: list[dict[str, str]]) -> list[list[str]]:
    """The marked parts of each example, as text."""
    found = []
    for chat in encode_chat(tokenizer, messages):
        parts: list[list[int]] = []
        for index, (token, marked) in enumerate(zip(chat.input_ids, chat.is_answer, strict=True)):
            if marked and (not index or not chat.is_answer[index - 1]):
                parts.append([])
            if marked:
                parts[-1].append(token)
        found.append([tokenizer.decode(part) for part in parts])
    return found


# --- which tokens are learned


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, ["Hello you.<|im_end|>", "Bye.<|im_end|>"]),
        (TAGGED, ["Hello you.<|im_end|>", "Bye.<|im_end|>"]),
        (BRACKETS, [" Hello you.</s>", " Bye.</s>"]),
        (DEFAULT_CHAT_TEMPLATE, [" Hello you.</s>", " Bye.</s>"]),
    ],
)
def test_answers_and_their_ends_are_marked(template: str, expected: list[str]) -> None:
    assert answers(make_tokenizer(template), TALK) == [expected]


def test_the_tokens_are_those_of_the_template() -> None:
    tokenizer = make_tokenizer(CHATML)
    (chat,) = encode_chat(tokenizer, TALK)
    assert chat.input_ids == tokenizer.apply_chat_template(TALK)["input_ids"]
    assert "You are Sam." in tokenizer.decode(chat.input_ids)
    assert encode_prompt(tokenizer, TALK[:1], 1000) == chat.input_ids[: chat.is_answer.index(True)]


def test_a_slow_tokenizer_marks_by_prefixes() -> None:
    class Slow:
        """The same tokenizer without its offsets."""

        def __init__(self) -> None:
            self._whole = make_tokenizer(CHATML)
            self.is_fast = False

        def __getattr__(self, name: str) -> Any:
            return getattr(self._whole, name)

        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            return {"input_ids": self._whole(text, **options)["input_ids"]}

    (slow,) = encode_chat(Slow(), TALK)
    (fast,) = encode_chat(make_tokenizer(CHATML), TALK)
    assert slow == fast


def test_a_template_that_rewrites_earlier_turns_gives_an_example_an_answer() -> None:
    tokenizer = make_tokenizer(THINKING)
    assert answers(tokenizer, TALK) == [["hm)Hello you.<|im_end|>"], ["hm)Bye.<|im_end|>"]]
    setup = Setup(tokenizer, (), 256, ChatOptions())
    encoded = encode({"messages": [TALK[:2], TALK]}, setup)
    assert encoded["row"] == [0, 1, 1]
    assert [(text[:40], count) for text, count in setup.notes.items()] == [
        ("The model's chat template writes earlier", 1)
    ]


def test_a_conversation_may_begin_with_the_assistant() -> None:
    expected = [["Hello you.<|im_end|>", "Bye.<|im_end|>"]]
    assert answers(make_tokenizer(CHATML), TALK[1:]) == expected


def test_a_system_prompt_joins_the_question_where_the_template_has_none() -> None:
    tokenizer = make_tokenizer(BRACKETS)
    messages = [{"role": "system", "content": "Be brief."}, *TALK]
    (chat,) = encode_chat(tokenizer, messages)
    assert "[INST] Be brief.\n\nHi. [/INST]" in tokenizer.decode(chat.input_ids)


def test_refused_and_empty_conversations_are_counted() -> None:
    setup = Setup(make_tokenizer(BRACKETS), (), 40, ChatOptions())
    long = [{"role": "user", "content": "x" * 60}, {"role": "assistant", "content": "y"}]
    encoded = encode({"messages": [TALK[1:], long, TALK[:2]]}, setup)
    assert encoded["row"] == [2]
    notes = {sentence.split(":")[0]: count for sentence, count in setup.notes.items()}
    assert notes["{count} conversations are left out"] == 1
    assert sum(count for sentence, count in setup.notes.items() if "left out" in sentence) == 2


def test_labels_of_answers_and_of_everything() -> None:
    tokenizer = make_tokenizer(BRACKETS)
    for train_on in ("answers", "all"):
        encoded = encode({"messages": [TALK[:3]]}, Setup(tokenizer, (), 256, ChatOptions(train_on=train_on)))
        ids, labels = encoded["input_ids"][0], encoded["labels"][0]
        learned = tokenizer.decode([label for label in labels if label != IGNORED])
        expected = {"answers": " Hello you.</s>", "all": "[INST] Hi. [/INST] Hello you.</s>[INST] And now? [/INST]"}
        assert learned == expected[train_on]
        assert labels[0] == IGNORED
        assert all(label in (IGNORED, token) for label, token in zip(labels, ids, strict=True))


def test_a_system_prompt_is_added_where_there_is_none() -> None:
    tokenizer = make_tokenizer(CHATML)
    setup = Setup(tokenizer, (), 512, ChatOptions(system="Be kind."))
    own = [{"role": "system", "content": "Be brief."}, *TALK]
    first, second = (tokenizer.decode(ids) for ids in encode({"messages": [TALK, own]}, setup)["input_ids"])
    assert "Be kind." in first
    assert "Be kind." not in second
    assert "Be brief." in second


def test_long_conversations_lose_their_oldest_turns() -> None:
    tokenizer = make_tokenizer(DEFAULT_CHAT_TEMPLATE)
    system = {"role": "system", "content": "Be brief."}
    turns = [
        {"role": role, "content": f"{role} number {number}"} for number in range(50) for role in ("user", "assistant")
    ]
    kept = fit_chat(tokenizer, [system, *turns], 200)
    assert kept[0] == system
    assert kept[-1]["content"] == "assistant number 49"
    assert kept[1]["role"] == "user"
    assert len(tokenizer(render(tokenizer, kept))["input_ids"]) <= 200
    assert len(tokenizer(render(tokenizer, [system, *turns[-len(kept) - 1 :]]))["input_ids"]) > 200  # no more would fit
    setup = Setup(tokenizer, (), 200, ChatOptions())
    (ids,), (labels,) = (encode({"messages": [[system, *turns]]}, setup)[name] for name in ("input_ids", "labels"))
    assert len(ids) <= 200
    assert "assistant number 49</s>" in tokenizer.decode([label for label in labels if label != IGNORED])
    (ids,) = encode({"messages": [[*TALK[:1], {"role": "assistant", "content": "y" * 900}]]}, setup)["input_ids"]
    assert len(ids) == 200
    assert tokenizer.decode(ids).startswith("User: Hi.\nAssistant: yyy")
    prompt = encode_prompt(tokenizer, [*turns, {"role": "user", "content": "last"}], 60)
    assert len(prompt) <= 60
    assert tokenizer.decode(prompt).endswith("User: last\nAssistant:")


def test_the_default_template_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    assert ensure_chat_template(tokenizer)
    assert not ensure_chat_template(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    again = t.AutoTokenizer.from_pretrained(tmp_path)
    assert again.chat_template == DEFAULT_CHAT_TEMPLATE
    assert render(again, TALK[:2]) == "User: Hi.\nAssistant: Hello you.</s>\n"
    assert render(again, TALK[:1], prompt=True) == "User: Hi.\nAssistant:"
    assert end_of_turn_ids(again) == [1]
    assert end_of_turn_ids(make_tokenizer(CHATML)) == [1, 4]
    again.eos_token = again.chat_template = None
    with pytest.raises(UserError, match="could never end"):
        ensure_chat_template(again)


# --- the loss


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_loss_is_the_models_own_and_its_gradients_too(family: str, tmp_path: Path) -> None:
    loaded = load(build(family, tmp_path, CHATML))
    setup = Setup(loaded.tokenizer, (), 256, ChatOptions(), loaded.model.config)
    encoded = encode({"messages": [TALK, TALK[:2]]}, setup)
    features = [{name: encoded[name][row] for name in ("input_ids", "labels")} for row in range(2)]
    batch = CHAT.collate(features, setup, None)  # type: ignore[arg-type]
    seen = []
    head = loaded.model.get_output_embeddings()
    watch = head.register_forward_hook(lambda module, given, output: seen.append(tuple(output.shape)))
    loss = labelled_loss(loaded.model, batch)
    watch.remove()
    assert seen == [(count_targets(batch), len(loaded.tokenizer))]  # no logits but those that count
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in loaded.model.named_parameters()}
    loaded.model.zero_grad()
    expected = loaded.model(**batch).loss
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    expected.backward()
    for name, parameter in loaded.model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-4)


# --- training and replies

PAIRS = {"Name a colour.": "Blue.", "Name a fruit.": "A pear.", "Say nothing.": "Well."}


def learn(model: Path, folder: Path, rows: list[Any], **training: Any) -> tuple[Any, list[Event]]:
    folder.mkdir()
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values = {"epochs": 80, "batch_size": 4, "learning_rate": 5e-3, "max_length": 128, "evaluate_every": 1000}
    recipe = Recipe.from_dict(
        {
            "task": "chat",
            "model": str(model),
            "data": {"train": str(data), "eval": str(data), "deduplicate": False},
            "options": {"max_new_tokens": 16},
            "training": values | {"device": "cpu"} | training,
        }
    )
    events: list[Event] = []
    return train(TrainRequest(recipe, folder / "run"), JobContext(events.append)), events


def reply(loaded: LoadedModel, questions: list[str], **options: Any) -> list[str]:
    rows = [{"messages": [{"role": "user", "content": question}]} for question in questions]
    options = {"max_new_tokens": 16, **options}
    return [output.text for output in CHAT_REPLY.predict(loaded, rows, JobContext(), CHAT_REPLY.options(**options))]


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A tiny Llama with the template of Qwen 2.5, which knows three answers by heart."""
    folder = tmp_path_factory.mktemp("talker")
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in PAIRS.items()
    ]
    result, events = learn(build("llama", folder / "model", CHATML), folder / "training", rows)
    return result.model_folder, events


def test_answers_learned_by_heart_are_given(talker: tuple[Path, list[Event]]) -> None:
    folder, events = talker
    assert reply(load(folder), list(PAIRS)) == list(PAIRS.values())
    last = [event for event in events if isinstance(event, Evaluated)][-1]
    assert last.metrics["perplexity"] == pytest.approx(torch.tensor(last.metrics["loss"]).exp().item(), rel=1e-5)
    assert last.metrics["loss"] < 0.05
    assert last.details["samples"][0] == {"input": "user: Name a colour.", "reference": "Blue.", "output": "Blue."}


def test_a_model_without_a_template_gets_the_default_one(tmp_path: Path) -> None:
    """GPT-2, from rows of one question and one answer."""
    rows = [{"prompt": question, "response": answer} for question, answer in PAIRS.items()]
    result, events = learn(build("gpt2", tmp_path / "model"), tmp_path / "training", rows)
    loaded = load(result.model_folder)
    assert loaded.tokenizer.chat_template == DEFAULT_CHAT_TEMPLATE
    assert reply(loaded, list(PAIRS)) == list(PAIRS.values())
    warnings = [event.template for event in events if isinstance(event, Status) and event.warning]
    assert sum("no chat template" in warning for warning in warnings) == 1


def test_together_and_alone_give_the_same(talker: tuple[Path, list[Event]]) -> None:
    loaded = load(talker[0])
    questions = ["Name a colour.", "x", "Name a fruit." * 4, "Say nothing.", "why?"]
    for options in ({}, {"temperature": 1.5, "seed": 3, "top_k": 20, "top_p": 0.9}, {"repetition_penalty": 1.5}):
        together = reply(loaded, questions, batch_size=4, **options)
        assert together == reply(loaded, questions, batch_size=1, **options)
    drawn = {tuple(reply(loaded, questions, temperature=2.0, seed=seed)) for seed in range(3)}
    assert len(drawn) == 3
    assert reply(loaded, ["x"], temperature=2.0, top_k=1) == reply(loaded, ["x"])


def test_drawing_leaves_the_global_generator_alone(talker: tuple[Path, list[Event]]) -> None:
    loaded = load(talker[0])
    before = torch.get_rng_state()
    reply(loaded, ["x"], temperature=1.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_tokens_are_drawn_by_their_probabilities() -> None:
    scores = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().repeat(4000, 1)
    mask = torch.ones(4000, 1, dtype=torch.int64)
    seeds = [(0, row) for row in range(4000)]

    def _shares(**options: Any) -> list[float]:
        chosen = sampling_processor(mask, seeds, **options)(mask, scores.clone()).argmax(-1)
        return (torch.bincount(chosen, minlength=4) / 4000).tolist()

    assert _shares(temperature=1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert _shares(temperature=1.0, top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert _shares(temperature=1.0, top_p=0.6) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert _shares(temperature=0.0) == [1, 0, 0, 0]
    # what stands in the padding has not occurred
    padded = torch.tensor([[0, 1]])
    lowered = sampling_processor(torch.tensor([[0, 1]]), [(0,)], repetition_penalty=2.0)(padded, scores[:1])
    assert lowered[0].tolist() == pytest.approx((scores[0] * torch.tensor([1, 2, 1, 1])).tolist())


def test_a_conversation_longer_than_the_model_reads(talker: tuple[Path, list[Event]]) -> None:
    turns = [{"role": role, "content": "a film " * 9} for _ in range(9) for role in ("user", "assistant")]
    row = {"messages": [*turns, {"role": "user", "content": "Name a colour."}]}
    (output,) = CHAT_REPLY.predict(load(talker[0]), [row], JobContext(), CHAT_REPLY.options(max_new_tokens=100))
    assert isinstance(output.text, str)
    (huge,) = reply(load(talker[0]), ["x" * 5000])
    assert isinstance(huge, str)


def test_replies_are_stopped_in_the_middle(talker: tuple[Path, list[Event]]) -> None:
    loaded = load(talker[0])
    control, emitted = Control(), []
    calls = []
    watch = loaded.model.register_forward_pre_hook(lambda *_: calls.append(time.monotonic()))
    loaded.tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE  # which this model has not learned to end

    def _cancel(*_: Any) -> None:
        if len(calls) == 5:
            control.cancel()
            emitted.append(time.monotonic())

    other = loaded.model.register_forward_hook(_cancel)
    rows = [{"messages": [{"role": "user", "content": "Tell."}]}]
    options = CHAT_REPLY.options(max_new_tokens=200, temperature=5.0)
    with pytest.raises(Cancelled):
        list(CHAT_REPLY.predict(loaded, rows, JobContext(None, control), options))
    assert time.monotonic() - emitted[0] < 0.2
    assert len(calls) == 5
    watch.remove()
    other.remove()


def test_a_stop_ends_the_reply_where_it_is(talker: tuple[Path, list[Event]]) -> None:
    control = Control()
    control_calls = []
    loaded = load(talker[0])

    def _stop(*_: Any) -> None:
        control_calls.append(1)
        if len(control_calls) == 3:
            control.stop()

    watch = loaded.model.register_forward_hook(_stop)
    rows = ({"messages": [{"role": "user", "content": "Name a fruit."}]} for _ in iter(int, 1))
    options = CHAT_REPLY.options(batch_size=1, max_new_tokens=16)
    outputs = list(CHAT_REPLY.predict(loaded, rows, JobContext(None, control), options))
    watch.remove()
    assert len(outputs) == 16  # the rows that were read ahead
    assert "A pear.".startswith(outputs[0].text)
    assert outputs[0].text != "A pear."


def test_what_is_no_conversation_is_told(talker: tuple[Path, list[Event]], tiny_encoder: Path) -> None:
    loaded = load(talker[0])
    for row in ({}, {"messages": []}, {"messages": "Hi"}, {"messages": [{"role": "king", "content": "x"}]}):
        with pytest.raises(UserError, match="no conversation with a question"):
            list(CHAT_REPLY.predict(loaded, [row], JobContext(), CHAT_REPLY.options()))
    (output,) = CHAT_REPLY.predict(
        loaded,
        [{"messages": [{"role": "human", "content": "Name a fruit."}, {"role": "assistant", "content": "No."}]}],
        JobContext(),
        CHAT_REPLY.options(),
    )
    assert output.text == "A pear."
    loaded.tokenizer.chat_template = BRACKETS
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(UserError, match="does not take this conversation"):
        list(CHAT_REPLY.predict(loaded, [{"messages": two}], JobContext(), CHAT_REPLY.options()))
    encoder = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext())
    with pytest.raises(UserError, match="cannot chat"):
        list(CHAT_REPLY.predict(encoder, [], JobContext(), CHAT_REPLY.options()))
