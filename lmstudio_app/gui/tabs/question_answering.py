"""The Questions page: ask your own documents, see where the answer stands, and what a chat model makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.chat_replies import EngineHolder
from lmstudio_app.gui.exporting import export_text
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.kb_library import KnowledgeLibrary
from lmstudio_app.gui.kb_queries import (
    Contents,
    KnowledgeQuestion,
    ShelfChange,
    ask_knowledge_base,
    read_question_samples,
)
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.try_queries import Sample
from lmstudio_app.gui.widgets.card import make_card
from lmstudio_app.gui.widgets.file_batch import FileBatch
from lmstudio_app.gui.widgets.kb_ask import AskPane
from lmstudio_app.gui.widgets.kb_build import BuildStrip
from lmstudio_app.gui.widgets.kb_files import FilesPanel
from lmstudio_app.gui.widgets.kb_models import READER, WRITER, AnswerModels
from lmstudio_app.gui.widgets.kb_own_text import OwnTextPane
from lmstudio_app.gui.widgets.kb_shelf import ShelfPanel
from lmstudio_app.gui.widgets.kb_texts import markdown_text, plain_text, rows_text
from lmstudio_app.gui.widgets.mode_bar import ModeBar
from lmstudio_app.knowledge.handbook import handbook_folder
from lmstudio_app.knowledge.prediction import knowledge_prediction

if TYPE_CHECKING:
    from lmstudio_app.knowledge.answering import AskOptions
    from lmstudio_app.knowledge.asking import BothAnswers
    from lmstudio_app.knowledge.shelf import ShelfEntry
    from lmstudio_app.models.loading import LoadedModel

_MODES = ("base", "text", "file")


class QuestionAnsweringTab(QWidget):
    step_requested = Signal(str)  # name of the page to go to
    starter_requested = Signal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._samples: dict[str, list[Sample]] = {}
        self._studying: JobHandle | None = None
        self._waiting: tuple[str, AskOptions] | None = None  # a question until the handbook is built
        self._dropped: list[Path] = []  # files until there is a knowledge base for them
        self._entry: ShelfEntry | None = None
        self.question_dialog: dialogs.QuestionDialog | None = None
        self.holder = EngineHolder()
        self.library = KnowledgeLibrary(services, self)
        self.asker = Asker(services.answer_runner, self)
        self._build()
        self._connect()
        self.setAcceptDrops(True)
        self.modes.setCurrentIndex(max(0, _MODES.index(str(self._settings.get("knowledge.mode", "base")))))

    # --- what others use

    def set_model(self, loaded: LoadedModel | None) -> None:
        """The model of the Model page: offered where it marks or writes answers."""
        self.models.take_model(loaded)

    def use_model(self, reference: str) -> None:
        """Let this one mark the answers."""
        self.models.use(READER, reference)

    def ask(self, question: str) -> None:
        """Ask the chosen knowledge base."""
        self.modes.setCurrentIndex(0)
        self.pane.question.setText(question)
        self.pane.ask()

    def shutdown(self) -> None:
        self._studying = None
        self.asker.drop()
        self.own_text.shutdown()
        self.files.shutdown()
        self.pane.shutdown()
        self.models.shutdown()
        self.library.shutdown()
        self.holder.close()

    # --- building

    def _build(self) -> None:
        self.models = AnswerModels(self._services, self)
        self.modes = ModeBar(
            self.tr("What is asked"),
            (
                (self.tr("A knowledge base"), self.tr("Ask many documents at once")),
                (self.tr("One text"), self.tr("Ask one text that you paste")),
                (self.tr("Whole file"), self.tr("Have every question of a file answered from the knowledge base")),
            ),
            self,
        )
        self.shelf = ShelfPanel(self)
        self.contents = FilesPanel(self._settings, self)
        self.strip = BuildStrip(self)
        left = QSplitter(Qt.Orientation.Vertical, self)
        left.setChildrenCollapsible(False)
        left.setHandleWidth(theme.em(self, 0.6))
        left.addWidget(self.shelf)
        left.addWidget(self.contents)
        left.setStretchFactor(1, 1)
        side = make_card(left, self.strip)
        side.setMinimumWidth(theme.characters(self, 50))
        self.pane = AskPane(self._settings, self._services.query_runner, self)
        self.files = FileBatch(self._services, knowledge_prediction(handbook_folder()), self)
        self.own_text = OwnTextPane(self._services, self)
        self.right = QStackedWidget(self)
        self.right.addWidget(make_card(self.pane))
        self.right.addWidget(self.files)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(theme.em(self, 0.5))
        self.splitter.addWidget(side)
        self.splitter.addWidget(self.right)
        self.splitter.setStretchFactor(1, 1)
        sizes = self._settings.get("knowledge.splitter", [])
        is_known = isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(s, int) and s > 0 for s in sizes)
        self.splitter.setSizes(sizes if is_known else [theme.characters(self, 46), 1000])
        self.stack = QStackedWidget(self)
        self.stack.addWidget(self.splitter)
        self.stack.addWidget(self.own_text)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.9)
        layout.setContentsMargins(pad, pad, pad, theme.em(self, 0.6))
        layout.setSpacing(theme.em(self, 0.4))
        layout.addWidget(self.models)
        layout.addWidget(self.modes)
        layout.addWidget(self.stack, 1)

    def _connect(self) -> None:
        self.modes.currentChanged.connect(self._on_mode)
        self.splitter.splitterMoved.connect(lambda: self._settings.set("knowledge.splitter", self.splitter.sizes()))
        self.models.step_requested.connect(self.step_requested)
        self.models.reader_changed.connect(self._on_reader)
        self.models.writer_changed.connect(lambda _: self._on_writer())
        self.shelf.chosen.connect(self._on_chosen)
        self.shelf.make_requested.connect(self.library.make)
        self.shelf.rename_requested.connect(self._on_rename)
        self.shelf.delete_requested.connect(self._on_delete)
        self.contents.add_requested.connect(self._add)
        self.contents.remove_requested.connect(lambda paths: self._with_folder(self.library.remove, paths))
        self.contents.update_requested.connect(lambda: self._with_folder(self.library.update))
        self.contents.rebuild_requested.connect(lambda: self._with_folder(self.library.rebuild))
        self.contents.encoder_requested.connect(self.starter_requested)
        self.strip.stop_requested.connect(lambda: self.library.stop(self.library.folder))
        self.library.listed.connect(self._on_listed)
        self.library.looked.connect(self._on_looked)
        self.library.changed.connect(self._on_changed)
        self.library.building_changed.connect(self._show_building)
        self.library.built.connect(self._on_built)
        self.library.refused.connect(self._on_refused)
        self.pane.ask_requested.connect(self._on_ask)
        self.pane.stop_requested.connect(self._on_stop)
        self.pane.copy_requested.connect(self._on_copy)
        self.pane.export_requested.connect(self._on_export)
        self.asker.events.connect(self.pane.show_events)
        self.asker.succeeded.connect(self.pane.show_result)
        self.asker.failed.connect(self.pane.show_problem)
        self.asker.stopped.connect(self.pane.show_stopped)
        self.asker.ended.connect(self.pane.end)
        self.files.set_options(lambda: self.pane.form.config("options"))

    # --- knowledge bases

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.library.refresh()
        if not self._samples and self._studying is None:
            self._studying = handle = self._services.query_runner.start(read_question_samples, None, quiet=True)
            handle.succeeded.connect(self._on_samples)

    def _on_samples(self, samples: dict[str, list[Sample]]) -> None:
        self._studying = None
        self._samples = samples
        self.own_text.set_samples(samples["question_answering"])
        self._show_base()

    def _on_listed(self, entries: list[ShelfEntry]) -> None:
        self.shelf.set_entries(entries)
        if self.shelf.entry is None:
            wanted = Path(str(self._settings.get("knowledge.base", "")))
            if not self.shelf.choose(wanted):
                self.shelf.choose(handbook_folder())
        self._entry = self.shelf.entry
        self._show_base()

    def _on_chosen(self, entry: ShelfEntry) -> None:
        if self._entry is None or entry.folder != self._entry.folder:
            self._drop()
            self._entry = entry
            self._settings.set("knowledge.base", str(entry.folder))
            self.library.choose(entry.folder)
            self._set_file_mode()
        self._show_base()
        self._show_building()

    def _on_looked(self, contents: Contents) -> None:
        entry = self.shelf.entry
        if entry is not None and entry.folder == contents.folder:
            before = self.contents.contents
            self.contents.show_contents(self._name(entry), contents, can_change=not entry.is_handbook)
            self._show_base()
            if before is None or (before.folder, before.digest) != (contents.folder, contents.digest):
                self._set_file_mode()

    def _name(self, entry: ShelfEntry) -> str:
        return self.tr("Handbook of language models") if entry.is_handbook else entry.name

    def _show_base(self) -> None:
        """What can be asked, and what to say before anything is asked."""
        entry = self._entry
        if entry is None:
            return
        contents = self.contents.contents
        lacks = contents is not None and contents.folder == entry.folder and contents.lacks_encoder
        is_ready = entry.error is None and not lacks and (entry.is_handbook or not entry.is_empty)
        if entry.is_handbook:
            text = self.tr("Ask the handbook how language models work. The last example is not in it, on purpose.")
        elif entry.is_empty:
            text = self.tr("There is nothing in “{name}” yet. Add files on the left, then ask.").format(name=entry.name)
        else:
            text = self.tr("Ask anything that the files of “{name}” may say.").format(name=entry.name)
        samples = self._samples.get("knowledge_base", []) if entry.is_handbook else []
        self.pane.show_base(entry.folder, text, samples, is_ready=is_ready)

    def _with_folder(self, act: Any, *arguments: Any) -> None:
        if self.library.folder is not None:
            act(self.library.folder, *arguments)

    def _add(self, paths: list[Path]) -> None:
        """Into the chosen one; for the handbook, which stays as it is, a new one is made first."""
        entry = self.shelf.entry
        if entry is None or entry.is_handbook:
            self._dropped = paths
            self.shelf.ask_for_name(self.tr("Give the knowledge base of these files a name."))
            return
        self.library.add(entry.folder, paths)

    def _on_changed(self, folder: Path | None) -> None:
        self.shelf.accept_name()
        self._entry = None
        self.library.folder = folder or handbook_folder()
        self._settings.set("knowledge.base", str(self.library.folder))
        self.shelf.forget_choice()
        if folder is not None and self._dropped:
            self.library.add(folder, self._dropped)
        self._dropped = []

    def _on_rename(self, name: str, new: str) -> None:
        self._drop()
        self.library.rename(name, new)

    def _on_delete(self, entry: ShelfEntry) -> None:
        self.question_dialog = dialogs.ask(
            self,
            title=self.tr("Delete a knowledge base"),
            question=self.tr("Move the knowledge base “{name}” to the trash?").format(name=entry.name),
            explanation=self.tr("Your files stay where they are. The trash can give the knowledge base back."),
            yes=self.tr("Move to the trash"),
            no=self.tr("Keep it"),
            on_yes=lambda: self._delete(entry.name),
        )

    def _delete(self, name: str) -> None:
        self._drop()
        self.library.trash(name)

    def _on_refused(self, error: UserError, wanted: Any) -> None:
        if isinstance(wanted, ShelfChange):
            self.shelf.show_problem(error)
            return
        if self._waiting is not None and wanted.folder == handbook_folder():
            self._drop()
            self.pane.show_problem(error)
            return
        dialogs.show_error(self, error)

    def _show_building(self) -> None:
        handle = self.library.handle_of(self.library.folder)
        self.strip.follow(handle)
        self.shelf.set_building(self.library.building)
        self.contents.set_building(handle is not None)
        if handle is None and self._waiting is not None and self.library.folder == handbook_folder():
            self._waiting = None  # it was stopped
            self.pane.show_stopped()

    # --- models

    def _on_reader(self, reader: LoadedModel | None) -> None:
        self.own_text.set_reader(reader)
        self.files.set_model(reader)

    def _on_writer(self) -> None:
        self.holder.close()
        self._set_file_mode()

    def _set_file_mode(self) -> None:
        """A file of questions goes to the chosen knowledge base and to the chosen models."""
        if self._entry is not None:
            folder = self._entry.folder
            place = "handbook" if self._entry.is_handbook else folder
            contents = self.contents.contents
            if contents is None or contents.folder != folder:
                return  # it is looked at now, and a run that began before would end when it is known
            subject = f"{folder} {contents.digest} {self.models.writer}"
            self.files.set_prediction(knowledge_prediction(place, chat=self.models.writer), subject, needs_model=False)

    # --- asking

    def _on_mode(self, index: int) -> None:
        self._settings.set("knowledge.mode", _MODES[index])
        self.stack.setCurrentIndex(int(index == 1))
        self.right.setCurrentIndex(int(index == 2))

    def _on_ask(self, question: str, options: AskOptions) -> None:
        entry = self._entry
        if entry is None:
            return
        contents = self.contents.contents
        is_unfinished = entry.is_empty or (
            contents is not None and contents.folder == entry.folder and contents.waiting
        )
        if entry.is_handbook and is_unfinished:  # it is built when it is first asked
            self._waiting = (question, options)
            self.pane.wait_for(self.tr("Building the handbook’s knowledge base first…"))
            self.library.update(entry.folder)
            return
        self._start(entry.folder, question, options)

    def _start(self, folder: Path, question: str, options: AskOptions) -> None:
        reader = self.models.reader
        writer = self.models.writer
        request = KnowledgeQuestion(self.library.desk, folder, question, options, self.holder, reader, writer)
        self.pane.begin(
            self.models.title(READER) if reader is not None else "", self.models.title(WRITER) if writer else ""
        )
        self.asker.ask(ask_knowledge_base, request, title=self.tr("Looking for the answer"))

    def _on_built(self, folder: Path) -> None:
        if self._waiting is not None and folder == handbook_folder():
            (question, options), self._waiting = self._waiting, None
            self._start(folder, question, options)

    def _on_stop(self) -> None:
        self.pane.bar.set_stopping()
        if self._waiting is not None:
            self._waiting = None
            self.library.stop(handbook_folder())
            self.pane.show_stopped()
        self.asker.stop()

    def _drop(self) -> None:
        """Forget the question that runs."""
        self._waiting = None
        if self.asker.busy:
            self.asker.drop()
        self.pane.end()

    def _on_copy(self) -> None:
        if self.pane.both is not None:
            QApplication.clipboard().setText(plain_text(self.pane.both))

    def _on_export(self) -> None:
        both: BothAnswers | None = self.pane.both
        if both is not None:
            texts = {".md": markdown_text([both]), ".jsonl": rows_text([both])}
            export_text(self, self._settings, self._services.model_runner, self.tr("answer"), texts)

    # --- dropping files

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if self.modes.currentIndex() == 0 and _local_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self._add(_local_paths(event))


def _local_paths(event: QDragEnterEvent | QDropEvent) -> list[Path]:
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
