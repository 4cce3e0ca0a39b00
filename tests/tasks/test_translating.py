"""Which languages models offer, how they are asked, and texts of any length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.events import Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.translating import translate, translate_text
from lmstudio_app.tasks.translation_direction import offered_languages
from lmstudio_app.tasks.translators import TranslateOptions, make_translator, tidy_reply
from tests.tiny_chat import build_chat
from tests.tiny_seq2seq import PAIRS, build_m2m100, build_marian, build_t5


def load(folder: Path) -> LoadedModel:
    return load_model(LoadRequest(str(folder), device="cpu"), JobContext())


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = build_marian(tmp_path_factory.mktemp("models") / "marian", tokens=(">>deu<<", ">>zho<<"), spread=0.3)
    return load(folder)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(build_chat(tmp_path_factory.mktemp("models") / "chat"))


def texts(loaded: LoadedModel, rows: list[str], **options: Any) -> list[str]:
    chosen = TranslateOptions(**{"beams": 2, "max_new_tokens": 10, **options})
    return [output.text for output in translate(loaded, [{"text": row} for row in rows], JobContext(), chosen)]


# --- languages


def test_several_targets_by_their_tokens(marian: LoadedModel) -> None:
    offer = offered_languages(marian)
    assert (offer.sources, offer.targets) == ((), ("de", "zh"))
    assert offer.targets_of("en") == ("de", "zh")
    assert not offer.can_swap("en", "de")
    with pytest.raises(UserError, match="does not know the language fr") as raised:
        texts(marian, ["tea"], target_language="fr")
    assert "de, zh" in raised.value.remedy


def test_a_single_pair_is_known_by_its_tokenizer_or_its_name(tmp_path: Path) -> None:
    folder = build_marian(tmp_path / "opus-mt-en-de")
    named = load(folder)
    assert (offered_languages(named).sources, offered_languages(named).targets) == (("en",), ("de",))
    assert texts(named, ["tea"]) == texts(named, ["tea"], source_language="en", target_language="de")
    with pytest.raises(UserError, match="does not translate from en into fr") as raised:
        texts(named, ["tea"], target_language="fr")
    assert "en → de" in raised.value.remedy
    plain = folder.rename(tmp_path / "mine")
    assert offered_languages(load(plain)).targets == ()
    change(plain / "tokenizer_config.json", source_lang="deu", target_lang="fr")
    stated = offered_languages(load(plain))
    assert (stated.sources, stated.targets) == (("de",), ("fr",))


def test_from_any_into_any(tmp_path: Path) -> None:
    loaded = load(build_m2m100(tmp_path / "m2m"))
    offer = offered_languages(loaded)
    assert len(offer.targets) == 96  # of its 100 languages those with a code of two letters
    assert "en" not in offer.targets_of("en")
    assert offer.can_swap("en", "de")
    assert texts(loaded, ["good morning"], source_language="en", target_language="de")
    with pytest.raises(UserError, match="does not know the language bi"):
        texts(loaded, ["good morning"], source_language="en", target_language="bi")


def test_pairs_by_their_prefix(tmp_path: Path) -> None:
    folder = build_t5(tmp_path / "t5")
    customary = make_translator(load(folder), TranslateOptions(source_language="en", target_language="de"))
    assert customary.direction.prefix == "translate English to German: "
    pairs = {f"translation_en_to_{code}": {"prefix": f"translate English to {code}: "} for code in ("de", "fr")}
    change(folder / "config.json", task_specific_params=pairs)
    loaded = load(folder)
    offer = offered_languages(loaded)
    assert offer.pairs == (("en", "de"), ("en", "fr"))
    assert (offer.targets_of("en"), offer.targets_of("de")) == (("de", "fr"), ())
    told = make_translator(loaded, TranslateOptions(target_language="fr"))
    assert told.direction.prefix == "translate English to fr: "
    with pytest.raises(UserError, match="does not translate from de into en") as raised:
        texts(loaded, ["tea"], source_language="de", target_language="en")
    assert "en → de, en → fr" in raised.value.remedy
    with pytest.raises(UserError, match="several languages: de, fr"):
        texts(loaded, ["tea"])
    own = TranslateOptions(source_language="de", target_language="en", source_prefix="say: ")
    assert make_translator(loaded, own).direction.prefix == "say: "


def test_a_chat_model_is_asked_in_words(chat: LoadedModel) -> None:
    offer = offered_languages(chat)
    assert offer.instructed
    assert offer.can_swap("en", "zh")
    translator = make_translator(chat, TranslateOptions(source_language="en", target_language="is"))
    prompt = next(translator._prompts(["we drink tea"], [""]))[0]
    assert chat.tokenizer.decode(prompt) == (
        "<|im_start|>user\nTranslate the following text from English into Icelandic. Reply with the translation only."
        "\n\nwe drink tea<|im_end|>\n<|im_start|>assistant\n"
    )
    with pytest.raises(UserError, match="not said which language"):
        texts(chat, ["tea"])
    rows = translate(
        chat, [{"text": "tea"}, {"text": "tea", "language": "de"}], JobContext(),
        TranslateOptions(target_language="zh", alternatives=3, max_new_tokens=6),
    )  # fmt: skip
    for row in rows:
        assert len({item.text for item in row.sentences[0].hypotheses}) == len(row.sentences[0].hypotheses) > 1
    again = texts(chat, ["tea", "we drink tea"], target_language="zh", sample=True, seed=7, max_new_tokens=6)
    assert again == texts(chat, ["tea", "we drink tea"], target_language="zh", sample=True, seed=7, max_new_tokens=6)


def test_a_language_model_without_a_chat_template(tmp_path: Path) -> None:
    loaded = load(build_chat(tmp_path / "plain", template=None))
    translator = make_translator(loaded, TranslateOptions(source_language="en", target_language="de"))
    assert loaded.tokenizer.decode(next(translator._prompts(["tea"], [""]))[0]) == "English: tea\nGerman:"


def test_a_template_that_takes_no_question_is_told(tmp_path: Path) -> None:
    loaded = load(build_chat(tmp_path / "odd", template="{{ raise_exception('only robots') }}"))
    with pytest.raises(UserError, match="does not take a question"):
        texts(loaded, ["tea"], target_language="de")


@pytest.mark.parametrize(
    ("reply", "source", "text"),
    [
        ("Guten Morgen", "good morning", "Guten Morgen"),
        ("Here is the translation:\n\n“Guten Morgen”\n\nNote: it is polite.", "good morning", "Guten Morgen"),
        ("German: Guten Morgen", "good morning", "Guten Morgen"),
        ('"Guten Morgen"', '"good morning"', '"Guten Morgen"'),
        ("eins\nzwei", "one\ntwo", "eins\nzwei"),
        ("", "good morning", ""),
    ],
)
def test_what_chat_models_say_around_a_translation_is_left_out(reply: str, source: str, text: str) -> None:
    assert tidy_reply(reply, source, "German") == text


# --- texts


def test_a_long_text_is_its_sentences_and_keeps_its_shape(marian: LoadedModel) -> None:
    sources = [source for source, _ in PAIRS]
    text = f"{sources[0].capitalize()}. {sources[1].capitalize()}!\n\n- {sources[2]}\n- 42\n\t{sources[3]}\n"
    one = texts(marian, [sources[0].capitalize() + ".", sources[1].capitalize() + "!", *sources[2:4]],
                target_language="de")  # fmt: skip
    assert len(set(one)) > 1
    whole, number, nothing = texts(marian, [text, "42 %", " \n "], target_language="de", batch_size=2)
    assert whole == f"{one[0]} {one[1]}\n\n- {one[2]}\n- 42\n\t{one[3]}\n"
    assert (number, nothing) == ("42 %", "")


def test_nothing_of_a_sentence_that_is_too_long_is_lost(marian: LoadedModel) -> None:
    seen: list[str] = []
    translator = make_translator(marian, TranslateOptions(target_language="de", beams=2, max_new_tokens=4))
    clause = "the cat sits on the mat and a dog runs in the park"
    text = ", ".join([clause] * 12) + "."
    limit = marian.tokenizer.model_max_length
    assert len(marian.tokenizer(text)["input_ids"]) > 64
    original = translator.write

    def _write(pieces: Any, *others: Any, **named: Any) -> Any:
        seen.extend(pieces)
        return original(pieces, *others, **named)

    translator.write = _write  # type: ignore[method-assign]
    events: list[Any] = []
    from lmstudio_app.tasks.translating import plan_translation

    plan = plan_translation(translator, text, "", by_sentence=True)
    translator.write(plan.pieces, [""] * len(plan.pieces), JobContext(events.append))
    assert len(seen) > 1
    assert " ".join(seen) == text
    assert all(len(marian.tokenizer(f">>deu<< {piece}")["input_ids"]) <= min(64, limit) for piece in seen)
    assert all(piece.endswith((",", ".")) for piece in seen)  # cut at clauses


def test_a_translation_that_does_not_end_is_told(marian: LoadedModel) -> None:
    events: list[Any] = []
    options = TranslateOptions(target_language="de", beams=1, max_new_tokens=1)
    list(translate(marian, [{"text": "we drink tea"}], JobContext(events.append), options))
    assert [event.parameters for event in events if isinstance(event, Status) and event.warning] == [{"count": 1}]


def test_a_text_that_is_watched_comes_piece_by_piece(marian: LoadedModel) -> None:
    plans: list[Any] = []
    done: dict[int, str] = {}
    text = "We drink tea. Good morning!\n\nThe bird sings."
    options = TranslateOptions(target_language="de", beams=2, max_new_tokens=10, alternatives=3)
    whole = translate_text(
        marian, text, JobContext(), options, planned=plans.append,
        done=lambda number, items: done.update({number: items[0].text}),
    )  # fmt: skip
    assert plans[0].pieces == ["We drink tea.", "Good morning!", "The bird sings."]
    assert [done[number] for number in range(3)] == [item.hypotheses[0].text for item in whole.sentences]
    assert whole.text == texts(marian, [text], target_language="de", beams=3)[0]
    row = next(translate(marian, [{"text": text}], JobContext(), options)).to_row()
    assert [sentence["text"] for sentence in row["sentences"]] == [done[number] for number in range(3)]
    assert row["sentences"][2]["start"] == text.index("The")
    assert all(len(sentence["alternatives"]) > 1 for sentence in row["sentences"])
    assert set(
        next(translate(marian, [{"text": "tea"}], JobContext(), TranslateOptions(target_language="de"))).to_row()
    ) == {"text"}
