"""The Questions page: knowledge bases made, filled, asked and thrown away, as a person does it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLineEdit

from lmstudio_app.gui.tabs.question_answering import QuestionAnsweringTab
from lmstudio_app.gui.widgets.kb_texts import likelihood_text, percent_text
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge import handbook
from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.handbook import handbook_folder
from lmstudio_app.knowledge.shelf import create_base, shelf_folder
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.models.names import install_folder

LEFT = Qt.MouseButton.LeftButton
MOON = "How many days does the moon take to go around the earth?"


@pytest.fixture(scope="module")
def encoder(starter_encoder: Path) -> Encoder:
    return Encoder(load_model(LoadRequest(str(starter_encoder), head="base", device="cpu"), JobContext()))


@pytest.fixture
def starter(app_home: Path, starter_encoder: Path) -> Path:
    """The real encoder where the app looks for it."""
    folder = install_folder("starter:encoder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(starter_encoder, folder)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "cats.txt").write_text("Cats sleep for most of the day. They hunt at night.")
    (folder / "moon.txt").write_text("The moon goes around the earth in 27 days. It has no air.")
    return folder


@pytest.fixture
def short_handbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A handbook of some sentences: the whole one takes the tests too long."""
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "01-words.md").write_text(
        "# Words\n\nA token is a piece of a word. Dropout switches off units at random."
    )
    monkeypatch.setattr(handbook, "resource", lambda *parts: folder)
    return folder


@pytest.fixture
def moon_base(files: Path, starter: Path, encoder: Encoder) -> Path:
    folder = create_base("Moon and cats")
    loaded = load_model(LoadRequest("starter:encoder", head="base", device="cpu"), JobContext())
    build_knowledge_base(BuildRequest(folder, (files,)), JobContext(), Encoder(loaded))
    return folder


@pytest.fixture
def make_tab(qtbot: Any, services: Any, short_handbook: Path, one_thread: None) -> Iterator[Callable[[], Any]]:
    def _make() -> QuestionAnsweringTab:
        tab = QuestionAnsweringTab(services)
        qtbot.addWidget(tab, before_close_func=lambda widget: widget.shutdown())
        tab.resize(1080, 720)
        tab.show()
        qtbot.waitUntil(lambda: tab.contents.contents is not None and not services.query_runner.busy, timeout=20_000)
        return tab

    yield _make
    for runner in services.runners():
        runner.cancel_all()
    qtbot.waitUntil(lambda: not any(runner.busy for runner in services.runners()), timeout=20_000)


def choose(qtbot: Any, tab: QuestionAnsweringTab, folder: Path) -> None:
    tab.shelf.choose(folder)
    qtbot.waitUntil(lambda: tab.contents.contents is not None and tab.contents.contents.folder == folder)


def ask(qtbot: Any, tab: QuestionAnsweringTab, question: str) -> Any:
    tab.ask(question)
    qtbot.waitUntil(lambda: not tab.asker.busy and tab.pane.both is not None, timeout=30_000)
    return tab.pane.both


def names(tab: QuestionAnsweringTab) -> list[str]:
    return [row.title for row in tab.shelf.list.rows]


def test_an_answer_is_shown_in_its_sentence_with_its_sources(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], moon_base: Path, files: Path
) -> None:
    tab = make_tab()
    choose(qtbot, tab, moon_base)
    both = ask(qtbot, tab, MOON)
    panel = tab.pane.answer
    assert tab.pane.stack.currentWidget() is panel
    assert panel.answer.text() == "The moon goes around the earth in 27 days."
    assert panel.highlighted == panel.answer.text()
    assert panel.bar.value == both.marked.score > 0.9
    assert "almost certain" in panel.confidence.text()
    assert len(panel.cards.cards) == 2
    assert "moon.txt" in panel.cards.cards[0].accessibleName()
    assert not panel.written.isVisible()
    assert tab.pane.bar.time.text()
    assert tab.pane.history.count() == 1

    qtbot.mouseClick(panel.cards.cards[0], LEFT)
    view = tab.pane.passage
    qtbot.waitUntil(lambda: bool(view.text.toPlainText()))
    assert view.isVisible()
    assert view.text.marked == "The moon goes around the earth in 27 days."
    assert len(view.text.extraSelections()) == 2
    qtbot.mouseClick(view.back_button, LEFT)
    assert panel.isVisible()
    qtbot.mouseClick(tab.pane.bar.copy_button, LEFT)
    assert "The moon goes around the earth in 27 days." in QApplication.clipboard().text()
    assert "[1] moon.txt" in QApplication.clipboard().text()


def test_what_is_not_in_there_is_an_answer_too(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], moon_base: Path
) -> None:
    tab = make_tab()
    choose(qtbot, tab, moon_base)
    both = ask(qtbot, tab, "Who composed the opera Carmen?")
    panel = tab.pane.answer
    assert not both.answer.is_found
    assert panel.missing.isVisible()
    assert panel.missing_title.text() == "Not in the knowledge base"
    assert "unlikely" in panel.missing_text.text()
    assert len(panel.cards.cards) == 2
    assert not panel.marked.isVisible()
    qtbot.mouseClick(panel.anyway_button, LEFT)
    qtbot.waitUntil(lambda: tab.pane.both is not None and tab.pane.both.answer.is_found, timeout=20_000)
    assert panel.marked.isVisible()
    assert not panel.missing.isVisible()


def test_a_reader_marks_and_a_chat_model_writes(
    qtbot: Any,
    make_tab: Callable[[], QuestionAnsweringTab],
    moon_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, chat = tiny_models(tmp_path)
    tab = make_tab()
    choose(qtbot, tab, moon_base)
    tab.use_model(str(reader))
    tab.models.use("chat", str(chat))
    qtbot.waitUntil(lambda: tab.models.reader is not None, timeout=20_000)
    tab.pane.form.set_values({"options.min_score": 0.0})  # random weights are sure of nothing
    texts: list[str] = []
    tab.asker.events.connect(lambda _: texts.append(tab.pane.answer.written_text))
    both = ask(qtbot, tab, MOON)
    panel = tab.pane.answer
    assert both.marked.kind == "extracted"
    assert both.written is not None
    assert panel.written.isVisible()
    assert panel.written_caption.text() == f"In the words of {chat.name}"
    assert "marked by" in panel.marked_caption.text()
    assert " ".join(both.marked.answer.split()) == panel.answer.text()
    assert panel.written_text == both.written.answer
    assert any(both.written.answer.startswith(text) for text in texts if text)
    assert "tokens/s" in tab.pane.bar.time.text()
    saved = tmp_path / "answer.jsonl"
    qtbot.mouseClick(tab.pane.bar.export_button, LEFT)
    dialog = tab.findChild(type(tab.contents.dialog) if tab.contents.dialog else _file_dialog())
    dialog.fileSelected.emit(str(saved))
    dialog.done(0)
    qtbot.waitUntil(saved.is_file)
    row = json.loads(saved.read_text(encoding="utf-8"))
    assert (row["question"], row["answer"]) == (MOON, both.written.answer)
    qtbot.waitUntil(lambda: not tab._services.model_runner.busy)


def test_a_stop_ends_the_writing_soon_and_keeps_what_is_there(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], moon_base: Path, tmp_path: Path
) -> None:
    _, chat = tiny_models(tmp_path, positions=4096)
    tab = make_tab()
    choose(qtbot, tab, moon_base)
    tab.pane.form.set_values({"options.max_new_tokens": 3000})
    tab.models.use("chat", str(chat))
    tab.ask(MOON)
    qtbot.waitUntil(lambda: len(tab.pane.answer.written_text) > 20, timeout=30_000)
    begun = time.monotonic()
    qtbot.mouseClick(tab.pane.bar.stop_button, LEFT)
    qtbot.waitUntil(lambda: not tab.asker.busy, timeout=5_000)
    assert time.monotonic() - begun < 1.0  # 0.2 s on a machine that does nothing else
    assert tab.pane.answer.written_text
    assert tab.pane.bar.run_button.isEnabled()


def test_a_knowledge_base_is_made_filled_and_asked(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], starter: Path, files: Path
) -> None:
    tab = make_tab()
    assert names(tab) == ["Handbook of language models"]
    qtbot.mouseClick(tab.shelf.new_button, LEFT)
    qtbot.keyClicks(tab.shelf.name, "Handbook")
    qtbot.keyClick(tab.shelf.name, Qt.Key.Key_Return)
    qtbot.waitUntil(tab.shelf.notice.isVisible)
    assert "already" in tab.shelf.notice.text()
    tab.shelf.name.clear()
    qtbot.keyClicks(tab.shelf.name, "Night sky")
    qtbot.mouseClick(tab.shelf.keep_button, LEFT)
    qtbot.waitUntil(lambda: "Night sky" in names(tab))
    qtbot.waitUntil(lambda: tab.contents.contents.folder == shelf_folder() / "Night sky")
    assert not tab.shelf.naming.isVisible()
    tab.pane.question.setText(MOON)
    assert not tab.pane.bar.run_button.isEnabled()  # there is nothing in it
    (files / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    drop(tab, files)
    qtbot.waitUntil(lambda: tab.strip.isVisible())
    assert not tab.contents.add_button.isEnabled()
    qtbot.waitUntil(lambda: not tab.library.building, timeout=60_000)
    qtbot.waitUntil(lambda: len(tab.contents.contents.files) == 3)
    assert not tab.strip.isVisible()
    assert "One file could not be read." in tab.contents.summary.text()
    tree = tab.contents.tree
    broken = tree.findItems("broken.pdf", Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive)[0]
    assert broken.text(1) == "–"
    assert broken.child(0).text(0).startswith("broken.pdf is damaged")
    qtbot.waitUntil(lambda: tab.pane.bar.run_button.isEnabled())
    assert ask(qtbot, tab, MOON).answer.is_found

    (files / "cats.txt").unlink()
    qtbot.mouseClick(tab.contents.update_button, LEFT)
    qtbot.waitUntil(lambda: len(tab.contents.contents.files) == 2, timeout=30_000)
    tree.topLevelItem(0).setSelected(True)
    qtbot.mouseClick(tab.contents.remove_button, LEFT)
    qtbot.waitUntil(lambda: not tab.contents.contents.sources, timeout=30_000)
    qtbot.waitUntil(lambda: tab.shelf.entry is not None and tab.shelf.entry.is_empty)
    assert (files / "moon.txt").is_file()


def test_files_dropped_on_the_handbook_get_a_knowledge_base_of_their_own(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], starter: Path, files: Path
) -> None:
    tab = make_tab()
    drop(tab, files / "moon.txt")
    assert tab.shelf.naming.isVisible()
    qtbot.keyClicks(tab.shelf.name, "Sky")
    qtbot.keyClick(tab.shelf.name, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(tab.library.building), timeout=10_000)
    qtbot.waitUntil(lambda: not tab.library.building, timeout=60_000)
    qtbot.waitUntil(lambda: [f.passages for f in tab.contents.contents.files] == [1])
    assert tab.library.folder == shelf_folder() / "Sky"


def test_a_stopped_build_goes_on_where_it_was(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], starter: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(30):
        lines = (f"Sentence {line} of story {number} tells of nothing at all." for line in range(60))
        (many / f"{number:02}.txt").write_text(" ".join(lines))
    folder = create_base("Stories")
    tab = make_tab()
    choose(qtbot, tab, folder)
    tab.library.add(folder, [many])
    qtbot.waitUntil(lambda: "passages" in tab.strip.amount.text(), timeout=60_000)
    qtbot.mouseClick(tab.strip.stop_button, LEFT)
    qtbot.waitUntil(lambda: not tab.library.building, timeout=10_000)
    qtbot.waitUntil(lambda: tab.contents.contents.waiting > 0)
    waiting = tab.contents.contents.waiting
    assert "goes on where it stopped" in tab.contents.notice.text()
    assert tab.contents.way_button.text() == "Go on"
    qtbot.waitUntil(lambda: [row.state_text for row in tab.shelf.list.rows][1] == "unfinished")
    qtbot.mouseClick(tab.contents.way_button, LEFT)
    qtbot.waitUntil(lambda: tab.contents._is_building)
    assert f"of {waiting:,} passages" in wait_for_text(qtbot, tab)
    tab.library.stop(folder)
    qtbot.waitUntil(lambda: not tab.library.building, timeout=10_000)


def wait_for_text(qtbot: Any, tab: QuestionAnsweringTab) -> str:
    qtbot.waitUntil(lambda: "passages" in tab.strip.amount.text(), timeout=60_000)
    return str(tab.strip.amount.text())


def test_renaming_and_deleting(
    qtbot: Any,
    make_tab: Callable[[], QuestionAnsweringTab],
    moon_base: Path,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sys.platform != "linux":
        pytest.skip("the trash of other systems cannot be put elsewhere")
    for name in [name for name in sys.modules if name.startswith("send2trash")]:  # it looks for the trash once
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    tab = make_tab()
    assert not tab.shelf.delete_button.isEnabled()  # the handbook stays
    choose(qtbot, tab, moon_base)
    ask(qtbot, tab, MOON)
    qtbot.mouseClick(tab.shelf.rename_button, LEFT)
    tab.shelf.name.setText("Sky")
    qtbot.mouseClick(tab.shelf.keep_button, LEFT)
    qtbot.waitUntil(lambda: names(tab)[1:] == ["Sky"])
    qtbot.waitUntil(lambda: tab.contents.contents.folder == shelf_folder() / "Sky")
    assert ask(qtbot, tab, MOON).answer.is_found
    qtbot.mouseClick(tab.shelf.delete_button, LEFT)
    qtbot.mouseClick(tab.question_dialog.no_button, LEFT)
    assert (shelf_folder() / "Sky").is_dir()
    qtbot.mouseClick(tab.shelf.delete_button, LEFT)
    qtbot.mouseClick(tab.question_dialog.yes_button, LEFT)
    qtbot.waitUntil(lambda: names(tab) == ["Handbook of language models"], timeout=10_000)
    assert (tmp_path / "data" / "Trash" / "files" / "Sky").is_dir()
    assert (files / "moon.txt").is_file()
    qtbot.waitUntil(lambda: tab.contents.contents.folder == handbook_folder())
    assert tab.pane.both is None


def test_the_handbook_is_built_when_it_is_first_asked(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], starter: Path
) -> None:
    tab = make_tab()
    qtbot.waitUntil(lambda: len(tab.pane.samples.buttons) == 5)
    assert not handbook_folder().exists()
    qtbot.mouseClick(tab.pane.samples.buttons[1], LEFT)
    assert tab.pane.question.text() == "Why is dropout used?"
    assert "Building" in tab.pane.bar.time.text()
    qtbot.waitUntil(lambda: tab.pane.both is not None, timeout=60_000)
    assert "Dropout" in tab.pane.both.passages[0].text
    qtbot.waitUntil(lambda: len(tab.contents.contents.files) == 1)
    assert not tab.contents.add_button.isEnabled()


def test_without_the_encoder_the_way_to_it_is_shown(qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab]) -> None:
    tab = make_tab()
    assert tab.contents.way_button.text() == "Get the starter models"
    assert "starter encoder" in tab.contents.notice.text()
    tab.pane.question.setText("What is a token?")
    assert not tab.pane.bar.run_button.isEnabled()
    with qtbot.waitSignal(tab.starter_requested):
        qtbot.mouseClick(tab.contents.way_button, LEFT)


def test_one_built_with_an_encoder_that_is_gone_is_built_anew(
    qtbot: Any,
    make_tab: Callable[[], QuestionAnsweringTab],
    starter: Path,
    files: Path,
    tiny_encoder: Path,
    tmp_path: Path,
) -> None:
    copied = shutil.copytree(tiny_encoder, tmp_path / "other encoder")
    folder = create_base("Old")
    build_knowledge_base(BuildRequest(folder, (files,), encoder=str(copied)), JobContext())
    shutil.rmtree(copied)
    tab = make_tab()
    choose(qtbot, tab, folder)
    assert "no longer on this computer" in tab.contents.notice.text()
    tab.pane.question.setText(MOON)
    assert not tab.pane.bar.run_button.isEnabled()
    qtbot.mouseClick(tab.contents.way_button, LEFT)
    qtbot.waitUntil(lambda: bool(tab.library.building))
    qtbot.waitUntil(lambda: not tab.library.building, timeout=60_000)
    qtbot.waitUntil(lambda: tab.pane.bar.run_button.isEnabled(), timeout=10_000)
    assert "27 days" in ask(qtbot, tab, MOON).marked.answer


def test_a_damaged_one_says_so(qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], starter: Path) -> None:
    folder = create_base("Bad")
    (folder / "passages.sqlite").write_bytes(b"no database at all" * 99)
    tab = make_tab()
    choose(qtbot, tab, folder)
    assert "damaged" in tab.contents.notice.text()
    assert not tab.contents.add_button.isEnabled()
    assert tab.shelf.delete_button.isEnabled()


def test_one_text_of_your_own(qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], tmp_path: Path) -> None:
    reader, _ = tiny_models(tmp_path)
    tab = make_tab()
    tab.modes.setCurrentIndex(1)
    pane = tab.own_text
    qtbot.waitUntil(lambda: bool(pane.samples.buttons))
    qtbot.mouseClick(pane.samples.buttons[0], LEFT)
    assert not pane.bar.run_button.isEnabled()
    assert "Choose a reader" in pane.blank.text()
    tab.use_model(str(reader))
    qtbot.waitUntil(lambda: pane.bar.run_button.isEnabled(), timeout=20_000)
    qtbot.mouseClick(pane.bar.run_button, LEFT)
    qtbot.waitUntil(lambda: pane.view.isVisible() and bool(pane.view.answer.text()), timeout=20_000)
    assert pane.view.marked.replace("\u2029", "\n") == pane.view.answer.text()
    assert pane.history.count() == 1


def test_a_file_of_questions(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], moon_base: Path, tmp_path: Path
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": MOON}) + "\n" + json.dumps({"question": "Who wrote Carmen?"}) + "\n")
    tab = make_tab()
    choose(qtbot, tab, moon_base)
    tab.modes.setCurrentIndex(2)
    tab.files.open_file(questions)
    qtbot.waitUntil(lambda: tab.files.run_button.isEnabled(), timeout=20_000)
    qtbot.mouseClick(tab.files.run_button, LEFT)
    qtbot.waitUntil(lambda: tab.files.report is not None, timeout=60_000)
    rows = [json.loads(line) for line in tab.files.report.output.read_text(encoding="utf-8").splitlines()]
    assert [row["kind"] == "none" for row in rows] == [False, True]
    assert "27 days" in rows[0]["answer"]  # of the reader that comes with the app, or the whole sentence without it


def test_what_was_chosen_is_there_again(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], moon_base: Path
) -> None:
    tab = make_tab()
    choose(qtbot, tab, moon_base)
    tab.models.use("chat", "")
    tab.pane.question.setText("What about cats?")
    tab.shutdown()
    again = make_tab()
    qtbot.waitUntil(lambda: again.contents.contents.folder == moon_base)
    assert again.pane.question.text() == "What about cats?"
    assert again.models.writer == ""


def test_probabilities_in_words() -> None:
    assert [likelihood_text(value) for value in (0.95, 0.8, 0.5, 0.2, 0.01)] == [
        "almost certain", "likely", "possible", "unlikely", "very unlikely",
    ]  # fmt: skip
    assert [percent_text(value) for value in (1.0, 0.42, 0.0)] == ["over 99 %", "42 %", "under 1 %"]


def test_every_control_has_a_name_and_a_tooltip(
    qtbot: Any, make_tab: Callable[[], QuestionAnsweringTab], moon_base: Path
) -> None:
    tab = make_tab()
    choose(qtbot, tab, moon_base)
    ask(qtbot, tab, MOON)
    for mode in range(3):
        tab.modes.setCurrentIndex(mode)
        for kind in (QAbstractButton, QComboBox, QLineEdit):
            for control in tab.findChildren(kind):
                if not control.isVisible() or control.objectName().startswith(("qt_", "_q_", "Scroll")):
                    continue
                if isinstance(control.parent(), QLineEdit | QComboBox):  # a clear button of Qt's own
                    continue
                assert control.accessibleName() or (isinstance(control, QAbstractButton) and control.text()), control
                assert control.toolTip(), (control, control.accessibleName())


def drop(tab: QuestionAnsweringTab, *paths: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    event = QDropEvent(QPoint(50, 50), Qt.DropAction.CopyAction, data, LEFT, Qt.KeyboardModifier.NoModifier)
    tab.dropEvent(event)


def _file_dialog() -> type:
    from PySide6.QtWidgets import QFileDialog

    return QFileDialog


def tiny_models(folder: Path, positions: int = 512) -> tuple[Path, Path]:
    """A reader and a chat model with random weights."""
    import torch
    import transformers as t

    from tests.conftest import build_tiny_tokenizer

    reader, chat = folder / "reader", folder / "chatterbox"
    tokenizer = build_tiny_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    t.BertForQuestionAnswering(
        t.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes)
    ).save_pretrained(reader)
    tokenizer.save_pretrained(reader)
    tokenizer = build_tiny_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "[EOS]"})
    tokenizer.model_max_length = positions
    torch.manual_seed(5)  # one that does not end its answers at once
    config = t.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=positions, bos_token_id=None
    )
    config.eos_token_id = None
    t.GPT2LMHeadModel(config).save_pretrained(chat)
    tokenizer.save_pretrained(chat)
    return reader, chat
