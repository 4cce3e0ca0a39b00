"""The Chat page: conversations with a model, two models side by side, and whole files of questions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QKeyEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QApplication, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.chat_library import ChatLibrary
from lmstudio_app.gui.chat_presets import ChatPresets
from lmstudio_app.gui.chat_queries import ChatStore, Exporting, chat_texts
from lmstudio_app.gui.chat_session import ChatSession
from lmstudio_app.gui.exporting import export_text
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.playground_page import PlaygroundPage
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.try_queries import Study, study_model
from lmstudio_app.gui.widgets.card import make_card
from lmstudio_app.gui.widgets.chat_body import CodeColours
from lmstudio_app.gui.widgets.chat_compare import ComparePane
from lmstudio_app.gui.widgets.chat_list import ConversationsPanel, Listed
from lmstudio_app.gui.widgets.chat_pane import ConversationPane
from lmstudio_app.gui.widgets.chat_settings import ChatSettings
from lmstudio_app.gui.widgets.file_batch import FileBatch
from lmstudio_app.gui.widgets.mode_bar import ModeBar

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_PANES = ("chat", "compare", "file")
_LONGEST_DRAFT = 20_000  # characters that the settings keep
_LONGEST_NAME = 60  # characters of a file's name
_SAFE_LINKS = ("http", "https", "mailto")


class ChatTab(QWidget):
    step_requested = Signal(str)  # name of the page to go to
    starter_requested = Signal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._studying: JobHandle | None = None
        self._again: Callable[[], object] | None = None
        self._undo: Callable[[], object] | None = None
        self._begun = False
        self._build()
        self._connect()
        self._restore()

    # --- what others use

    def set_model(self, loaded: LoadedModel | None) -> None:
        """The model of the Model page; taken when it can chat."""
        self.page.set_model(loaded)

    def use_model(self, reference: str) -> None:
        self.page.use_model(reference)

    def shutdown(self) -> None:
        self._settings.set("chat.draft", self.pane.input.text[:_LONGEST_DRAFT])
        self._studying = None
        self.panel.shutdown()
        self.settings_panel.shutdown()
        self.library.shutdown()
        self.session.shutdown()
        self.compare.shutdown()
        self.files.shutdown()
        self.page.shutdown()

    # --- building

    def _build(self) -> None:
        self.page = PlaygroundPage(self._services, "chat", self)
        colours = CodeColours(self._services.query_runner)
        body = QWidget(self)
        self.settings_panel = ChatSettings(body)
        self.presets = ChatPresets(self._services, self.settings_panel, self)
        self.store = ChatStore()
        self.session = ChatSession(
            self._services, self.store, self.settings_panel.options, lambda: self.presets.current, self
        )
        self.library = ChatLibrary(self._services, self.store, self)
        self.panel = ConversationsPanel(body)
        self.pane = ConversationPane(colours, body)
        self.compare = ComparePane(self._services, self.settings_panel.options, colours, body)
        self.files = FileBatch(self._services, "chat", body)
        self.files.set_options(self.settings_panel.options)
        self.modes = ModeBar(
            self.tr("Ways to chat"),
            (
                (self.tr("Conversation"), self.tr("Talk with the model")),
                (self.tr("Compare two models"), self.tr("Ask two models the same, side by side")),
                (self.tr("Whole file"), self.tr("Have every question of a file answered")),
            ),
            body,
        )
        self.stack = QStackedWidget(body)
        for pane in (self.pane, self.compare, self.files):
            self.stack.addWidget(pane)
        self._left = make_card(self.panel)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, body)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(theme.em(self, 0.5))
        for index, widget in enumerate((self._left, self.stack, make_card(self.settings_panel))):
            self.splitter.addWidget(widget)
            self.splitter.setStretchFactor(index, int(index == 1))
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.em(self, 0.3))
        column.addWidget(self.modes)
        column.addWidget(self.splitter, 1)
        self.page.set_body(body)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.9)
        layout.setContentsMargins(pad, pad, pad, theme.em(self, 0.6))
        layout.addWidget(self.page)

    def _connect(self) -> None:
        self.page.step_requested.connect(self.step_requested)
        self.page.starter_requested.connect(self.starter_requested)
        self.page.model_changed.connect(self._on_model)
        self.modes.currentChanged.connect(self._on_mode)
        self.splitter.splitterMoved.connect(lambda: self._settings.set("chat.splitter", self.splitter.sizes()))
        new = QShortcut(QKeySequence("Ctrl+L"), self)
        new.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        new.activated.connect(self._on_new)
        session, pane = self.session, self.pane
        session.turns_changed.connect(lambda turns, follow: pane.show_turns(turns, follow=follow))
        session.turn_changed.connect(pane.transcript.update_turn)
        session.opened.connect(self._on_opened)
        session.kept.connect(self.library.refresh)
        session.busy_changed.connect(lambda _: pane.input.set_busy(session.busy))
        session.stopping.connect(lambda: pane.input.set_busy(True, stopping=True))
        session.counter.counted.connect(
            lambda counts: pane.input.context.set_counts(counts.said, counts.draft, counts.limit)
        )
        session.failed.connect(self._on_problem)
        session.mended.connect(self._on_mended)
        session.noticed.connect(self._on_noticed)
        session.wrote.connect(self._on_written)
        session.message_deleted.connect(
            lambda: self._offer_undo(self.tr("The message was deleted."), session.restore_message)
        )
        session.reached.connect(pane.transcript.show_message)
        pane.input.submitted.connect(self._on_send)
        pane.input.stop_requested.connect(session.stop)
        pane.input.recall_requested.connect(self._on_recall)
        pane.input.changed.connect(lambda: session.counter.set_draft(pane.input.text))
        pane.sample_chosen.connect(self._on_send)
        pane.retry_requested.connect(self._on_retry)
        pane.copy_requested.connect(self._on_copy)
        pane.export_requested.connect(self._on_export)
        pane.undo.undo_requested.connect(self._on_undo)
        pane.undo.closed.connect(session.forget_deleted)
        pane.sure_changed.connect(self._on_sure)
        self.compare.sure_changed.connect(pane.sure_box.setChecked)
        self.compare.step_requested.connect(self.step_requested)
        transcript = pane.transcript
        transcript.action.connect(self._on_action)
        transcript.edited.connect(session.edit)
        transcript.branch_chosen.connect(session.choose_branch)
        transcript.token_chosen.connect(
            lambda key, number, candidate: session.take_token(key, number, candidate.token, candidate.probability)
        )
        for shown in (transcript, *(column.transcript for column in self.compare.columns)):
            shown.link_clicked.connect(self._on_link)
        self.library.listed.connect(self._on_listed)
        self.library.deleted.connect(self._on_chat_deleted)
        self.library.restored.connect(session.open)
        self.library.failed.connect(self._on_problem)
        self.panel.search_changed.connect(self.library.search)
        self.panel.new_requested.connect(self._on_new)
        self.panel.list.chosen.connect(self._on_chosen)
        self.panel.list.renamed.connect(self.library.rename)
        self.panel.list.delete_requested.connect(self.library.delete)
        self.settings_panel.changed.connect(session.keep_settings)
        self.presets.changed.connect(session.keep_settings)
        self.presets.failed.connect(self._on_problem)

    def _restore(self) -> None:
        sizes = self._settings.get("chat.splitter", [])
        known = (
            isinstance(sizes, list) and len(sizes) == 3 and all(isinstance(size, int) and size > 0 for size in sizes)
        )
        self.splitter.setSizes(sizes if known else [210, 640, 290])
        self.pane.input.set_text(str(self._settings.get("chat.draft", "")))
        self.pane.sure_box.setChecked(bool(self._settings.get("chat.sure", False)))
        mode = self._settings.get("chat.mode", "chat")
        self.modes.setCurrentIndex(_PANES.index(mode) if mode in _PANES else 0)
        self.pane.set_title("")

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._begun:
            self._begun = True
            self.library.refresh()
            self.presets.refresh()
            if (chat := self._settings.get("chat.current")) is not None:
                self.session.open(chat)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            (self.compare if self.mode == "compare" else self.session).stop()
            return
        super().keyPressEvent(event)

    # --- models and modes

    @property
    def mode(self) -> str:
        """``chat``, ``compare`` or ``file``."""
        return _PANES[self.modes.currentIndex()]

    def _on_mode(self, index: int) -> None:
        self.stack.setCurrentIndex(index)
        self._left.setVisible(_PANES[index] == "chat")
        self._settings.set("chat.mode", _PANES[index])
        if _PANES[index] == "compare":
            self.compare.refresh()

    def _on_model(self, loaded: LoadedModel | None) -> None:
        self.session.set_model(loaded)
        self.compare.set_model(loaded)
        self.files.set_model(loaded)
        self.pane.input.set_ready(loaded is not None)
        if loaded is not None:
            self._studying = handle = self._services.query_runner.start(study_model, loaded, quiet=True)
            handle.succeeded.connect(lambda study: self._on_studied(handle, study))

    def _on_studied(self, handle: JobHandle, study: Study) -> None:
        if handle is self._studying:
            self.pane.set_samples(study.samples.get("chat", []))

    # --- talking

    def _on_send(self, text: str) -> None:
        if self.session.send(text):
            self.pane.show_problem("")
            self.pane.transcript.follow()
            self.pane.input.set_text("")

    def _on_recall(self) -> None:
        """Up in an empty draft: the last question once more."""
        last = next((said for said in reversed(self.session.path) if said.role == "user"), None)
        if last is None or self.session.busy:
            return
        view = self.pane.transcript.view_of(last.key) or self.pane.transcript.show_message(last.key)
        if view is not None:
            view.start_editing()

    def _on_action(self, key: Any, name: str) -> None:
        session = self.session
        if name == "copy":
            said = next((said for said in session.path if said.key == key), None)
            QApplication.clipboard().setText(said.text if said is not None else "")
        elif name == "edit":
            view = self.pane.transcript.view_of(key)
            if view is not None:
                view.start_editing()
        else:
            self.pane.show_problem("")
            {
                "again": session.again,
                "continue": session.go_on,
                "delete": session.delete_message,
                "retry": session.retry,
            }[name](key)

    def _on_written(self, pieces: list[Any]) -> None:
        """Let the settings show what they do at the place where the model was least sure."""
        drawn = [piece for piece in pieces if piece.candidates and piece.text.strip() and piece.token_id >= 0]
        unsure = min(drawn, key=lambda piece: piece.probability, default=None)
        self.settings_panel.show_candidates(unsure)

    def _on_sure(self, sure: bool) -> None:
        self._settings.set("chat.sure", sure)
        self.session.show_pieces(sure)
        self.compare.set_sure(sure)

    # --- conversations

    def _on_new(self) -> None:
        self.modes.setCurrentIndex(0)
        self.session.new()
        self.pane.show_problem("")
        self.pane.input.draft.setFocus()

    def _on_chosen(self, key: Any, message: Any) -> None:
        if message is not None or self.session.chat is None or self.session.chat.key != key:
            self.session.open(key, message)

    def _on_opened(self, opened: Any) -> None:
        self._settings.set("chat.current", opened.key if opened is not None else None)
        self.pane.set_title(opened.title if opened is not None else "")
        self.panel.list.set_current(opened.key if opened is not None else None)
        self.settings_panel.show_candidates(None)
        if opened is not None:
            self.presets.show(opened.system, opened.preset)

    def _on_listed(self, entries: list[Listed]) -> None:
        chat = self.session.chat
        self.panel.show_entries(entries, chat.key if chat is not None else None, date.today())
        title = next((entry.title for entry in entries if chat is not None and entry.key == chat.key), "")
        if title:
            self.pane.set_title(title)

    def _on_chat_deleted(self, entry: Listed) -> None:
        if self.session.chat is not None and self.session.chat.key == entry.key:
            self.session.new()
        self._offer_undo(self.tr("“{title}” was deleted.").format(title=entry.title), self.library.undo)

    def _offer_undo(self, text: str, undo: Callable[[], object]) -> None:
        self._undo = undo
        self.pane.undo.offer(text)

    def _on_undo(self) -> None:
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    # --- problems

    def _on_noticed(self, text: str) -> None:
        if text:
            self.pane.show_problem(text)

    def _on_problem(self, error: UserError, again: Callable[[], object] | None) -> None:
        self._again = again
        self.pane.show_problem(" ".join(text for text in error_texts(error) if text), can_retry=again is not None)

    def _on_mended(self) -> None:
        if self._again is not None:
            self._again = None
            self.pane.show_problem("")

    def _on_retry(self) -> None:
        again, self._again = self._again, None
        self.pane.show_problem("")
        if again is not None:
            again()

    # --- out of here

    def _with_texts(self, use: Callable[[dict[str, str]], object]) -> None:
        if self.session.chat is not None:
            request = Exporting(self.store, self.session.chat.key)
            handle = self._services.query_runner.start(chat_texts, request, quiet=True)
            handle.succeeded.connect(use)
            handle.failed.connect(lambda error: self._on_problem(error, None))

    def _on_copy(self) -> None:
        self._with_texts(lambda texts: QApplication.clipboard().setText(texts[".md"]))

    def _on_export(self) -> None:
        name = file_name(self.pane.title.text())
        self._with_texts(lambda texts: export_text(self, self._settings, self._services.model_runner, name, texts))

    def _on_link(self, link: str) -> None:
        """A model may have made the address up, and opening it tells somebody: so it is asked first."""
        url = QUrl(link)
        if url.scheme().lower() not in _SAFE_LINKS:
            self.pane.show_problem(
                self.tr("This link is not opened, since it leads to no web page: {link}").format(link=link)
            )
            return
        self.link_question = dialogs.ask(
            self,
            title=self.tr("Open a link"),
            question=self.tr("Open this address in your browser?"),
            explanation=self.tr("{link}\n\nA model wrote it; it may lead anywhere, or nowhere.").format(link=link),
            yes=self.tr("Open it"),
            no=self.tr("Stay here"),
            on_yes=lambda: _open_in_browser(url),
        )


def _open_in_browser(url: QUrl) -> None:
    QDesktopServices.openUrl(url)


def file_name(title: str) -> str:
    """A title as the name of a file, on any system."""
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f]+', " ", title)
    return " ".join(name.split())[:_LONGEST_NAME].strip(" .") or "conversation"
