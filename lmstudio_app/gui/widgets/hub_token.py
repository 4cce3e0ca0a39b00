"""The access token for gated and private models: given here, checked by the hub, kept by the system's keyring."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.models.credentials import TokenState, log_in, log_out, read_token_state


class TokenDialog(QDialog):
    """The token itself is shown nowhere, not even as it is typed. ``changed``: another one is kept now, or none."""

    changed = Signal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Access token of the hub"))
        self._services = services
        self._handle: JobHandle | None = None
        self._state: TokenState | None = None
        about = QLabel(
            self.tr(
                "Most models need none. For gated and private ones, make a token with read access on the hub "
                "(Settings, Access Tokens) and give it here."
            ),
            self,
        )
        about.setWordWrap(True)
        self.state = QLabel(self.tr("Looking into the keyring…"), self)
        self.state.setWordWrap(True)
        self.notice = Notice(self)
        self.edit = QLineEdit(self)
        self.edit.setEchoMode(QLineEdit.EchoMode.Password)
        self.edit.setPlaceholderText("hf_…")
        self.edit.setAccessibleName(self.tr("Access token"))
        self.edit.setToolTip(self.tr("It is not shown, and kept in the system's keyring only"))
        self.hint = Hint(
            self.tr("The hub is asked whose it is; then the system's keyring keeps it. No file and no log gets it."),
            self,
        )
        self.box = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        self.save_button = make_button(
            self.tr("Check and keep"), self.tr("Ask the hub whose token it is, and put it into the keyring"), self
        )
        self.forget_button = make_button(self.tr("Forget"), self.tr("Take the token out of the keyring"), self)
        for button in (self.save_button, self.forget_button):
            button.setAutoDefault(False)  # Enter in the field is not for them both
        self.box.addButton(self.save_button, QDialogButtonBox.ButtonRole.ActionRole)
        self.box.addButton(self.forget_button, QDialogButtonBox.ButtonRole.ActionRole)
        self.box.rejected.connect(self.reject)
        self.save_button.clicked.connect(self._on_save)
        self.forget_button.clicked.connect(self._on_forget)
        self.edit.textChanged.connect(self._update)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.em(self, 0.6))
        for widget in (about, self.state, self.edit, self.hint, self.notice, self.box):
            layout.addWidget(widget)
        self.setMinimumWidth(theme.characters(self, 80))
        self.finished.connect(self._on_closed)
        self._ask_state()
        self._update()

    @property
    def busy(self) -> bool:
        return self._handle is not None

    def _ask_state(self) -> None:
        """The keyring may be locked and ask the user first: not in the window's thread."""
        self._run(read_token_state, None).succeeded.connect(self._on_state)

    def _run(self, job: object, config: object) -> JobHandle:
        self._handle = handle = self._services.hub_runner.start(job, config, quiet=True)
        handle.failed.connect(self._on_failed)
        handle.finished.connect(lambda: self._on_finished(handle))
        self._update()
        return handle

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None
            self._update()

    def _on_state(self, state: TokenState) -> None:
        self._state = state
        if not state.keyring:
            self.notice.set_text(
                self.tr(
                    "This system has no keyring in which a token could be kept. Install one (on Linux GNOME Keyring or "
                    "KWallet), or set the variable HF_TOKEN before you start the application."
                )
            )
        texts = {
            "environment": self.tr("The variable HF_TOKEN is set: its token is sent to {host}, before any other."),
            "keyring": self.tr("A token for {host} is in the keyring ({keyring})."),
            "file": self.tr("The token that `hf auth login` has kept is sent to {host}."),
        }
        text = texts.get(state.source) or self.tr("There is no token for {host}.")
        self.state.setText(text.format(host=state.host, keyring=state.keyring))
        self.adjustSize()

    def _update(self) -> None:
        has_keyring = self._state is not None and bool(self._state.keyring)
        self.edit.setEnabled(has_keyring and not self.busy)
        self.save_button.setEnabled(has_keyring and not self.busy and bool(self.edit.text().strip()))
        is_kept = self._state is not None and self._state.source == "keyring"
        self.forget_button.setEnabled(is_kept and not self.busy)

    def _on_save(self) -> None:
        self.notice.set_text("")
        self.state.setText(self.tr("Asking the hub whose it is…"))
        token = self.edit.text()
        self._run(log_in, token).succeeded.connect(self._on_saved)

    def _on_saved(self, name: str) -> None:
        self.edit.clear()
        said = (
            self.tr("It is kept. The hub knows you as {name}.").format(name=name)
            if name
            else self.tr("It is kept, unchecked, since the network is switched off.")
        )
        self.hint.setText(said)
        self.changed.emit()
        self._ask_state()

    def _on_forget(self) -> None:
        self.notice.set_text("")
        self._run(log_out, None).succeeded.connect(self._on_forgotten)

    def _on_forgotten(self, _: bool) -> None:
        self.hint.setText(self.tr("It is out of the keyring."))
        self.changed.emit()
        self._ask_state()

    def _on_failed(self, error: UserError) -> None:
        """What is kept is as before."""
        if self._state is not None:
            self._on_state(self._state)
        self.notice.set_text(" ".join(text for text in error_texts(error) if text))
        self.adjustSize()

    def _on_closed(self) -> None:
        self.edit.clear()
        if self._handle is not None:
            self._handle.cancel()
        self.deleteLater()
