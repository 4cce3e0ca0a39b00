"""The Try page, with real widgets on tiny models of every kind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtWidgets import QAbstractButton, QApplication

from lmstudio_app.assets import resource
from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.gui.main_window import MainWindow
from lmstudio_app.gui.tabs.try_model import TryTab
from lmstudio_app.gui.try_queries import read_samples
from lmstudio_app.gui.try_texts import answer_title, explanation, field_texts, token_label
from lmstudio_app.gui.widgets.try_candidates import share_text
from lmstudio_app.gui.widgets.try_history import KEPT
from lmstudio_app.gui.widgets.try_views import (
    AnswerView,
    ConversationView,
    GapsView,
    LabelView,
    NextTokenView,
    TextView,
)
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.settings import Settings
from lmstudio_app.tasks import PREDICTIONS, find_prediction
from lmstudio_app.tasks.next_token import append_token
from tests.conftest import build_tiny_tokenizer
from tests.tiny_seq2seq import build_marian

TEXT = "the film was not very good"
VIEWS = {
    "sentiment": LabelView,
    "classification": LabelView,
    "translation": TextView,
    "summarization": TextView,
    "question_answering": AnswerView,
    "chat": ConversationView,
    "fill_mask": GapsView,
    "next_sentence": LabelView,
    "next_token": NextTokenView,
}


def byte_tokenizer() -> Any:
    """Every byte is a token, as in a GPT-2 without merges; it knows every character, and writes parts of some."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({symbol: index for index, symbol in enumerate(symbols)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|end|>", eos_token="<|end|>", model_max_length=4096
    )


def build(kind: str, folder: Path) -> Path:
    """A model of two layers with random weights."""
    import torch
    import transformers as t

    if kind == "marian":
        return build_marian(folder, spread=0.5)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    tokenizer = byte_tokenizer() if kind == "gpt2" else build_tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "gpt2":
            shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 4096, "initializer_range": 0.3}
            model: Any = t.GPT2LMHeadModel(
                t.GPT2Config(vocab_size=len(tokenizer), eos_token_id=0, bos_token_id=0, **shape)
            )
        else:
            config = t.BertConfig(
                vocab_size=len(tokenizer), max_position_embeddings=128, initializer_range=0.3, **sizes
            )
            classes = {"mlm": t.BertForMaskedLM, "bert": t.BertForPreTraining, "qa": t.BertForQuestionAnswering}
            model = classes[kind](config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def get_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path, tiny_encoder: Path
) -> Callable[[str], Any]:
    """Models by kind, each made and loaded once."""
    models: dict[str, Any] = {}

    def _get(kind: str) -> Any:
        if kind not in models:
            known = {"classifier": tiny_classifier, "encoder": tiny_encoder}
            folder = known.get(kind) or build(kind, tmp_path_factory.mktemp("try") / kind)
            models[kind] = load_model(LoadRequest(str(folder), device="cpu", precision="float32"), JobContext())
        return models[kind]

    return _get


@pytest.fixture
def make_tab(qtbot: Any, services: Any) -> Iterator[Callable[..., TryTab]]:
    tabs: list[TryTab] = []

    def make(loaded: Any = None) -> TryTab:
        tab = TryTab(services)
        qtbot.addWidget(tab)
        tabs.append(tab)
        tab.resize(1040, 740)
        if loaded is not None:
            tab.set_model(loaded)
        tab.show()
        return tab

    yield make
    for tab in tabs:
        tab.shutdown()


def idle(qtbot: Any, tab: TryTab) -> None:
    qtbot.waitUntil(lambda: not tab.busy, timeout=30_000)


def direct(loaded: Any, name: str, inputs: Any, **options: Any) -> Any:
    prediction = find_prediction(name)
    return next(iter(prediction.predict(loaded, [inputs], JobContext(), prediction.options(**options))))


def ask(qtbot: Any, tab: TryTab, **inputs: str) -> None:
    for name, text in inputs.items():
        tab.fields.edits[name].setPlainText(text)
    tab.question.ask_button.click()
    idle(qtbot, tab)


def test_without_a_model_it_says_what_to_do(qtbot: Any, make_tab: Callable[..., TryTab]) -> None:
    tab = make_tab()
    assert "Load a model" in tab.empty.title.text()
    with qtbot.waitSignal(tab.step_requested) as asked:
        tab.empty.buttons[-1].click()
    assert asked.args == ["model"]


def test_a_model_that_can_do_nothing_offers_those_that_were_trained(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any], tiny_classifier: Path
) -> None:
    from lmstudio_app.data.splits import DataConfig
    from lmstudio_app.training.recipe import Recipe
    from lmstudio_app.training.runs import create_run
    from lmstudio_app.training.summaries import About, write_about

    folders = []
    for task in ("sentiment", "sentiment", "classification"):
        run = create_run(Recipe(task=task, model="starter:encoder", data=DataConfig(train="uci-sentiment")))
        shutil.copytree(tiny_classifier, run.path / "final")
        run.close()
        folders.append(run.path / "final")
        write_about(run.path, About(title="the second" if len(folders) == 2 else ""))
        time.sleep(1.01)  # the time of a run is in whole seconds
    tab = make_tab(get_model("encoder"))
    assert "cannot be asked anything" in tab.empty.title.text()
    qtbot.waitUntil(lambda: len(tab.empty.buttons) == 4, timeout=20_000)
    newest, older = (button.text() for button in tab.empty.buttons[:2])
    assert newest.startswith("Load MiniLM-L6 encoder · Text classification, today ")
    assert older == "Load the second"
    with qtbot.waitSignal(tab.load_requested) as asked:
        tab.empty.buttons[1].click()
    assert asked.args == [str(folders[1])]  # the newest of its kind
    tab.set_model(get_model("classifier"))
    assert tab.question.isVisible()
    assert tab.prediction.name == "sentiment"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("classifier", "sentiment"),
        ("classifier", "classification"),
        ("marian", "translation"),
        ("marian", "summarization"),
        ("qa", "question_answering"),
        ("gpt2", "chat"),
        ("gpt2", "next_token"),
        ("mlm", "fill_mask"),
        ("bert", "fill_mask"),
        ("bert", "next_sentence"),
    ],
)
def test_every_prediction_answers_its_examples(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any], kind: str, name: str
) -> None:
    loaded = get_model(kind)
    tab = make_tab(loaded)
    tab.choose(name)
    assert tab.prediction.name == name
    assert type(tab.view) is VIEWS[name]
    tab._kit.form.set_values({"options.max_new_tokens": 12})
    qtbot.waitUntil(lambda: len(tab.question.samples) >= 2, timeout=20_000)
    assert tab.answer.blank.isVisible()
    tab.question.samples[0].click()
    assert tab.busy
    idle(qtbot, tab)
    assert not tab.answer.notice.isVisible()
    assert tab.view.isVisible()
    assert tab.answer.time.text().endswith("s")
    assert tab.question.history.count() == 1
    tab.answer.copy_button.click()
    copied = QApplication.clipboard().text()
    assert copied == tab.view.copied_text().replace("\r\n", "\n")
    sample = read_samples(resource("samples"))[name][0].inputs
    expected = direct(
        loaded, name, sample, **({"max_new_tokens": 12} if kind in ("marian", "gpt2") and name != "next_token" else {})
    )
    if name in ("translation", "summarization"):
        assert copied == expected.text
    elif name == "chat":
        assert tab.view.turns[0] == ("user", sample["messages"][0]["content"])
        assert tab.view.turns[1][0] == "assistant"
        assert expected.text == "" or copied == expected.text
    elif name == "question_answering":
        assert tab.view.marked.strip() == expected.answer
        assert tab.view.answer.text() == expected.answer
    elif name == "fill_mask":
        assert copied == expected.text
        assert [share for _, share in tab.view.bars.rows] == pytest.approx(
            [item.probability for item in expected.places[0]], abs=1e-5
        )
    elif name == "next_token":
        assert [row[0] for row in tab.view.bars.rows] == [token_label(item.token) for item in expected.places[0]]
    else:
        assert sorted(score for _, score in tab.view.bars.rows) == pytest.approx(
            sorted(expected.scores.values()), abs=1e-5
        )


def test_examples_in_other_languages_need_their_characters(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    tab = make_tab(get_model("bert"))
    qtbot.waitUntil(lambda: bool(tab.question.samples), timeout=20_000)
    assert all(button.text().isascii() for button in tab.question.samples)
    tab.set_model(get_model("gpt2"))  # every byte
    qtbot.waitUntil(lambda: bool(tab.question.samples), timeout=20_000)
    assert not all(button.text().isascii() for button in tab.question.samples)


def test_every_prediction_has_examples_and_words() -> None:
    samples = read_samples(resource("samples"))
    for prediction in PREDICTIONS:
        known = {column.name for column in prediction.inputs}
        needed = {column.name for column in prediction.inputs if column.required or column.type == "messages"}
        of_it = samples[prediction.name]
        assert {item.language for item in of_it} >= {"en", "zh"}, prediction.name
        assert sum(item.language == "en" for item in of_it) >= 2, prediction.name
        for item in of_it:
            assert needed <= item.inputs.keys() <= known
        assert explanation(prediction.name)
        assert answer_title(prediction.name)
        assert all(field_texts(prediction.name, column)[1] for column in prediction.inputs)


def test_words_are_put_into_the_gaps_one_by_one(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    loaded = get_model("mlm")
    tab = make_tab(loaded)
    text = "the [MASK] was ___ good"
    ask(qtbot, tab, text=text)
    view: GapsView = tab.view
    assert view.words == [None, None]
    assert view.sentence.isVisible()
    first = view.bars.item(2)
    word = first.text()
    qtbot.mouseClick(view.bars.viewport(), Qt.MouseButton.LeftButton, pos=view.bars.visualItemRect(first).center())
    idle(qtbot, tab)
    token = direct(loaded, "fill_mask", {"text": text}).places[0][2].token
    assert (token.strip(), view.words) == (word, [token, None])
    assert tab.fields.edits["text"].toPlainText() == text  # what was typed stays
    assert tab.question.history.count() == 1  # going on is no new question
    # the other gap is judged anew, with the word in its place
    filled = f"the{token[2:]}" if token.startswith("##") else f"the {token}"
    expected = direct(loaded, "fill_mask", {"text": f"{filled} was [MASK] good"}).places[0]
    view.sentence.anchorClicked.emit(QUrl("#1"))
    assert "gap 2 of 2" in view.caption.text()
    assert [share for _, share in view.bars.rows] == pytest.approx([item.probability for item in expected], abs=1e-6)
    view.bars.setCurrentRow(0)
    qtbot.keyClick(view.bars, Qt.Key.Key_Return)
    assert not tab.busy  # no gap is left
    assert view.words[1] == expected[0].token
    assert "[MASK]" not in view.copied_text()
    assert "___" not in view.copied_text()
    view.empty_button.click()
    idle(qtbot, tab)
    assert view.words == [token, None]


def test_a_text_without_a_gap_says_so_and_offers_one(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    tab = make_tab(get_model("mlm"))
    ask(qtbot, tab, text="the film was good")
    assert "There is no gap in this text: “the film was good”" in tab.answer.notice.text()
    assert tab.answer.insert_button.isVisible()
    assert not tab.answer.details_button.isVisible()
    assert tab.question.history.count() == 0
    assert not tab.findChildren(ErrorDialog)
    edit = tab.fields.edits["text"]
    cursor = edit.textCursor()
    cursor.setPosition(4)
    cursor.setPosition(8, cursor.MoveMode.KeepAnchor)
    edit.setTextCursor(cursor)
    tab.answer.insert_button.click()
    assert edit.toPlainText() == "the [MASK] was good"
    assert not tab.answer.notice.isVisible()
    tab.question.ask_button.click()
    idle(qtbot, tab)
    assert not tab.answer.notice.isVisible()
    assert tab.view.bars.count() == 10


def test_an_empty_field_is_told(qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]) -> None:
    tab = make_tab(get_model("bert"))
    tab.choose("next_sentence")
    ask(qtbot, tab, text="good film", pair="  ")
    assert "Second text (B)" in tab.answer.notice.text()
    assert not tab.answer.details_button.isVisible()
    assert tab.question.history.count() == 0


def test_writing_by_hand_and_taking_back(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    loaded = get_model("gpt2")
    tab = make_tab(loaded)
    assert tab.prediction.name == "next_token"  # it has no chat template
    tab._kit.form.set_values({"options.top_k": 60})
    ask(qtbot, tab, text="good")
    view: NextTokenView = tab.view
    assert not view.undo_button.isEnabled()
    candidates = direct(loaded, "next_token", {"text": "good"}, top_k=60).places[0]
    taken = [number for number, item in enumerate(candidates) if "\N{REPLACEMENT CHARACTER}" not in item.token]
    rows = [row for row in taken if candidates[row].token != "<|end|>"]
    parts = [row for row, item in enumerate(candidates) if "\N{REPLACEMENT CHARACTER}" in item.token]
    assert rows
    assert parts
    view.bars.itemClicked.emit(view.bars.item(parts[0]))
    assert not tab.busy  # a part of a character cannot be written
    view.bars.itemClicked.emit(view.bars.item(rows[0]))
    idle(qtbot, tab)
    written = "good" + candidates[rows[0]].token
    assert tab.fields.edits["text"].toPlainText() == written
    assert [share for _, share in view.bars.rows] == pytest.approx(
        [item.probability for item in direct(loaded, "next_token", {"text": written}, top_k=60).places[0]], abs=1e-6
    )
    view.undo_button.click()
    idle(qtbot, tab)
    assert tab.fields.edits["text"].toPlainText() == "good"
    assert not view.undo_button.isEnabled()
    assert tab.question.history.count() == 1


def test_tokens_are_put_behind_a_text_as_their_vocabulary_wants_it() -> None:
    bert, gpt = build_tiny_tokenizer(), byte_tokenizer()
    assert append_token(bert, "the film", "was") == "the film was"
    assert append_token(bert, "the film", "##s") == "the films"
    assert append_token(bert, "the film", ".") == "the film."
    assert append_token(bert, "", "the") == "the"
    assert append_token(bert, "the", "[SEP]") is None
    assert append_token(gpt, "the film", "s") == "the films"
    assert append_token(gpt, "the film", " ") == "the film "
    assert append_token(gpt, "the film", "<|end|>") is None
    assert append_token(gpt, "the film", "\N{REPLACEMENT CHARACTER}") is None


def test_a_conversation_goes_on_and_begins_anew(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    loaded = get_model("gpt2")
    tab = make_tab(loaded)
    tab.choose("chat")
    tab._kit.form.set_values({"options.max_new_tokens": 5})
    ask(qtbot, tab, messages="good film?")
    assert tab.fields.edits["messages"].toPlainText() == ""
    first = tab.fields.turns
    assert [turn["role"] for turn in first] == ["user", "assistant"]
    ask(qtbot, tab, messages="and the food?")
    assert tab.fields.turns[:2] == first
    asked = [*first, {"role": "user", "content": "and the food?"}]
    assert tab.fields.turns[3]["content"] == direct(loaded, "chat", {"messages": asked}, max_new_tokens=5).text
    assert len(tab.view.turns) == 4
    tab.question.over_button.click()
    assert tab.fields.turns == []
    assert tab.answer.blank.isVisible()
    tab.question.history.itemClicked.emit(tab.question.history.item(0))  # the later question, with what was before it
    idle(qtbot, tab)
    assert len(tab.fields.turns) == 4


@pytest.mark.parametrize(("kind", "name"), [("gpt2", "chat"), ("marian", "translation")])
def test_a_long_answer_is_stopped_within_a_fifth_of_a_second(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any], kind: str, name: str
) -> None:
    loaded = get_model(kind)
    tab = make_tab(loaded)
    tab.choose(name)
    field = next(iter(tab.fields.edits))
    layers = loaded.model.transformer.h if kind == "gpt2" else loaded.model.model.decoder.layers
    # as slow as a large model
    hooks = [layer.register_forward_pre_hook(lambda *_: time.sleep(0.02)) for layer in layers]
    tab._kit.form.set_values({"options.max_new_tokens": 60, "options.min_new_tokens": 60, "options.beams": 1})
    tab.fields.edits[field].setPlainText("good morning")
    tab.question.ask_button.click()
    qtbot.wait(60)
    assert tab.busy
    assert tab.question.stop_button.isEnabled()
    start = time.monotonic()
    tab.question.stop_button.click()
    idle(qtbot, tab)
    took = time.monotonic() - start
    for hook in hooks:
        hook.remove()
    assert took < 0.4  # 0.2 s on an idle machine
    assert not tab.question.stop_button.isEnabled()
    assert not tab.answer.notice.isVisible()
    if kind == "marian":
        assert tab.answer.time.text() == "Stopped"
        assert tab.answer.blank.isVisible()
    else:
        assert tab.fields.turns[-1]["role"] == "assistant"  # what was written so far
    tab._kit.form.set_values({"options.max_new_tokens": 3, "options.min_new_tokens": 0, "options.beams": 1})
    ask(qtbot, tab, **{field: "good"})
    assert tab.view.isVisible()


def test_a_new_question_takes_the_place_of_the_old_one(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    loaded = get_model("classifier")
    tab = make_tab(loaded)
    tab.choose("classification")
    edit = tab.fields.edits["text"]
    for number in range(10):
        edit.setPlainText(f"good film {number}")
        qtbot.keyClick(edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    idle(qtbot, tab)
    assert edit.toPlainText() == "good film 9"
    expected = direct(loaded, "classification", {"text": "good film 9"})
    assert dict(tab.view.bars.rows) == pytest.approx(dict(expected.scores), abs=1e-5)


def test_the_last_questions_stay(qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]) -> None:
    tab = make_tab(get_model("classifier"))
    for number in range(KEPT + 3):
        ask(qtbot, tab, text=f"good film {number}")
    assert tab.question.history.count() == KEPT
    assert len(Settings(tab._settings.path).get("try.history")) == KEPT
    again = make_tab(get_model("classifier"))
    assert again.question.history.item(0).text() == f"Sentiment: good film {KEPT + 2}"
    assert again.fields.edits["text"].toPlainText() == f"good film {KEPT + 2}"
    again.choose("classification")
    again.question.history.itemClicked.emit(again.question.history.item(1))
    idle(qtbot, again)
    assert again.prediction.name == "sentiment"
    assert again.fields.edits["text"].toPlainText() == f"good film {KEPT + 1}"
    assert again.question.history.item(0).text() == f"Sentiment: good film {KEPT + 1}"
    again.set_model(get_model("bert"))
    assert again.question.history.count() == 0  # it cannot be asked those


def test_odd_settings_are_passed_over(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any], services: Any
) -> None:
    services.settings.set(
        "try.history", [3, {"prediction": "sentiment"}, {"prediction": "chat", "inputs": {"messages": [1]}}]
    )
    services.settings.set("try.chosen", "sentiment")
    services.settings.set("try.inputs.sentiment", {"text": 5})
    services.settings.set("try.options.sentiment", {"options.batch_size": "x"})
    services.settings.set("try.splitter", ["a"])
    tab = make_tab(get_model("classifier"))
    assert tab.question.history.count() == 0
    tab.choose("classification")
    ask(qtbot, tab, text="good")
    assert tab.view.verdict.text() in ("negative", "positive")


def test_the_choice_is_remembered_for_each_model(
    make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    tab = make_tab(get_model("bert"))
    assert [tab.question.combo.itemData(row) for row in range(tab.question.combo.count())] == [
        "fill_mask",
        "next_sentence",
    ]
    tab.question.combo.setCurrentIndex(1)
    tab.question.combo.activated.emit(1)
    assert tab.prediction.name == "next_sentence"
    tab.set_model(get_model("mlm"))
    assert tab.prediction.name == "fill_mask"
    again = make_tab(get_model("bert"))
    assert again.prediction.name == "next_sentence"


def test_a_model_trained_here_is_asked_what_it_was_trained_for(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any], tmp_path: Path
) -> None:
    from lmstudio_app.models.provenance import write_provenance

    folder = build("marian", tmp_path / "model")
    write_provenance(folder, {"task": "summarization"})
    tab = make_tab(load_model(LoadRequest(str(folder), precision="float32"), JobContext()))
    qtbot.waitUntil(lambda: tab.prediction.name == "summarization", timeout=20_000)
    tab.choose("translation")
    again = make_tab(tab._model)
    qtbot.waitUntil(lambda: bool(again.question.samples), timeout=20_000)
    assert again.prediction.name == "translation"  # a choice by hand counts more


def test_a_trained_model_goes_where_it_can_be_asked(
    qtbot: Any, get_model: Callable[[str], Any], tiny_classifier: Path
) -> None:
    window = MainWindow()
    window.show()
    try:
        for folder, name, page in (
            (get_model("bert").folder, "next_sentence", "try"),
            (tiny_classifier, "classification", "sentiment"),
            (get_model("gpt2").folder, "chat", "chat"),
        ):
            window.tab("train").try_requested.emit(str(folder), name)
            qtbot.waitUntil(lambda page=page: window.current_tab == page, timeout=20_000)
            assert window.model.folder == folder
            if page == "try":
                assert window.tab("try").prediction.name == name
            else:
                qtbot.waitUntil(lambda page=page: window.tab(page).page.loaded is window.model, timeout=20_000)
        with qtbot.waitSignal(window.services.model_runner.job_started):  # the empty page loads one by itself
            window.tab("try").load_requested.emit(str(tiny_classifier))
        qtbot.waitUntil(lambda: window.model.folder == tiny_classifier, timeout=20_000)
        assert window.current_tab == "try"
        assert window.tab("try").prediction.name == "sentiment"
    finally:
        window._shut_down()
        window.close()
        window.deleteLater()


def test_a_failure_can_be_looked_into(qtbot: Any, make_tab: Callable[..., TryTab], tiny_classifier: Path) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), precision="float32"), JobContext())
    tab = make_tab(loaded)
    weights = loaded.model.classifier.weight
    loaded.model.classifier.weight = type(weights)(weights[:, :5])
    ask(qtbot, tab, text=TEXT)
    assert tab.answer.notice.isVisible()
    tab.answer.details_button.click()
    dialog = tab.findChildren(ErrorDialog)[0]
    assert "Traceback" in dialog.details()
    dialog.close()
    loaded.model.classifier.weight = weights
    ask(qtbot, tab, text=TEXT)
    assert not tab.answer.notice.isVisible()
    assert tab.view.verdict.text() == direct(loaded, "sentiment", {"text": TEXT}).label


def test_an_option_that_is_needed_is_shown(qtbot: Any, make_tab: Callable[..., TryTab], tmp_path: Path) -> None:
    folder = build_marian(tmp_path / "many", tokens=(">>deu<<", ">>fra<<"))
    tab = make_tab(load_model(LoadRequest(str(folder), precision="float32"), JobContext()))
    tab.choose("translation")
    assert not tab.question.options.is_open
    ask(qtbot, tab, text="good morning")
    assert "several languages: de, fr" in tab.answer.notice.text()
    assert tab.question.options.is_open
    tab._kit.form.set_values({"options.target_language": "de", "options.max_new_tokens": 5})
    ask(qtbot, tab, text="good morning")
    assert not tab.answer.notice.isVisible()
    assert Settings(tab._settings.path).get("try.options.translation")["options.target_language"] == "de"


def test_leaving_a_conversation_that_waits(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    tab = make_tab(get_model("gpt2"))
    tab.choose("chat")
    tab._kit.form.set_values({"options.max_new_tokens": 3000})
    tab.fields.edits["messages"].setPlainText("good film?")
    tab.question.ask_button.click()
    assert tab.view.turns == [("user", "good film?"), ("assistant", "…")]
    tab.choose("next_token")
    tab.choose("chat")
    assert tab.view.turns == []
    assert tab.answer.blank.isVisible()
    assert tab.fields.edits["messages"].toPlainText() == "good film?"
    assert not tab.busy


def test_an_answer_behind_characters_of_two_units(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any]
) -> None:
    loaded = get_model("qa")
    tab = make_tab(loaded)
    context = "🙂🙂 the film was good and the food was bad 🙂"
    ask(qtbot, tab, question="what was bad?", context=context)
    expected = direct(loaded, "question_answering", {"question": "what was bad?", "context": context})
    assert expected.answer
    assert tab.view.marked == expected.answer


def test_shares_and_tokens_for_people() -> None:
    assert [share_text(value) for value in (1.0, 0.1234, 0.0, 0.00456, 0.00001)] == [
        "100.0 %", "12.3 %", "0.0 %", "0.46 %", "< 0.01 %"
    ]  # fmt: skip
    assert [token_label(token) for token in (" the", "\n", " ", "a ", "##s")] == ["␣the", "↵", "␣", "a␣", "##s"]


@pytest.mark.parametrize(("kind", "name"), [("bert", "fill_mask"), ("gpt2", "next_token"), ("gpt2", "chat")])
def test_every_control_can_be_named(
    qtbot: Any, make_tab: Callable[..., TryTab], get_model: Callable[[str], Any], kind: str, name: str
) -> None:
    tab = make_tab(get_model(kind))
    tab.choose(name)
    if name == "chat":
        tab._kit.form.set_values({"options.max_new_tokens": 3})
    qtbot.waitUntil(lambda: bool(tab.question.samples), timeout=20_000)
    tab.question.samples[0].click()
    idle(qtbot, tab)
    tab.question.options.set_open(True)
    named: list[Any] = [item for item in tab.findChildren(QAbstractButton) if item.isVisible()]
    named += [tab.question.combo, tab.question.history, *tab.fields.edits.values()]
    named += [tab.view.bars] if name != "chat" else [tab.view]
    assert len(named) > 10
    for item in named:
        if item.parent().metaObject().className() != "QScrollBar":
            assert item.accessibleName(), item
            assert item.toolTip(), item.accessibleName()
