"""The access token in the window: checked by the hub, kept by a keyring that ends with the test, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backends.fail
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLineEdit
from pytestqt.qtbot import QtBot

from lmstudio_app.gui.widgets.hub_token import TokenDialog
from lmstudio_app.models.credentials import find_token, save_token
from tests.hub_server import HubServer
from tests.models.test_credentials import MemoryKeyring

TOKEN = "hf_aVerySecretTokenOfTheTests"


@pytest.fixture(autouse=True)
def _no_other_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))


@pytest.fixture
def vault() -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    made = MemoryKeyring()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.fixture
def open_dialog(qtbot: QtBot, services: Any, hub: HubServer) -> Iterator[Any]:
    hub.token = TOKEN

    def _open() -> TokenDialog:
        dialog = TokenDialog(services)
        qtbot.addWidget(dialog)
        dialog.show()
        qtbot.waitUntil(lambda: not dialog.busy)
        return dialog

    return _open


def give(qtbot: QtBot, dialog: TokenDialog, token: str) -> None:
    dialog.edit.setText(token)
    qtbot.mouseClick(dialog.save_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dialog.busy)


def test_a_token_is_checked_kept_and_forgotten(
    qtbot: QtBot, open_dialog: Any, vault: MemoryKeyring, app_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dialog = open_dialog()
    assert "There is no token for 127.0.0.1" in dialog.state.text()
    assert not dialog.save_button.isEnabled()
    assert not dialog.forget_button.isEnabled()
    assert dialog.edit.echoMode() == QLineEdit.EchoMode.Password
    with caplog.at_level(logging.DEBUG), qtbot.waitSignal(dialog.changed):
        give(qtbot, dialog, TOKEN)
    qtbot.waitUntil(lambda: "is in the keyring (Memory)" in dialog.state.text())
    assert dialog.hint.text() == "It is kept. The hub knows you as someone."
    assert dialog.edit.text() == ""
    assert list(vault.kept.values()) == [TOKEN]
    assert TOKEN not in caplog.text
    assert not any(TOKEN.encode() in path.read_bytes() for path in app_home.rglob("*") if path.is_file())
    qtbot.mouseClick(dialog.forget_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "There is no token" in dialog.state.text())
    assert vault.kept == {}


def test_a_refused_token_is_not_kept(qtbot: QtBot, open_dialog: Any, vault: MemoryKeyring) -> None:
    dialog = open_dialog()
    give(qtbot, dialog, "hf_wrong")
    assert "does not accept the access token" in dialog.notice.text()
    assert "hf_wrong" not in dialog.notice.text()
    assert vault.kept == {}
    give(qtbot, dialog, "not a token")
    assert dialog.notice.isVisible()
    assert vault.kept == {}


@pytest.mark.usefixtures("vault")
def test_without_a_network_it_is_kept_unchecked(
    qtbot: QtBot, open_dialog: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    dialog = open_dialog()
    give(qtbot, dialog, TOKEN)
    assert "unchecked, since the network is switched off" in dialog.hint.text()
    assert find_token() == TOKEN
    assert hub.requests == []


def test_a_locked_keyring_says_so(qtbot: QtBot, open_dialog: Any, vault: MemoryKeyring) -> None:
    dialog = open_dialog()
    vault.is_locked = True
    give(qtbot, dialog, TOKEN)
    assert "The keyring of this system refuses" in dialog.notice.text()
    assert "Unlock it" in dialog.notice.text()


def test_a_machine_without_a_keyring_is_told_of_the_variable(open_dialog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    try:
        dialog = open_dialog()
        assert "no keyring" in dialog.notice.text()
        assert "HF_TOKEN" in dialog.notice.text()
        assert not dialog.edit.isEnabled()
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        again = open_dialog()
        assert "HF_TOKEN is set" in again.state.text()
    finally:
        keyring.set_keyring(before)


@pytest.mark.usefixtures("vault")
def test_it_shows_the_token_nowhere(qtbot: QtBot, open_dialog: Any) -> None:
    save_token(TOKEN)
    dialog = open_dialog()
    dialog.edit.setText(TOKEN)
    assert TOKEN not in dialog.edit.displayText()
    dialog.edit.selectAll()
    dialog.edit.copy()
    assert QApplication.clipboard().text() != TOKEN
    for widget in dialog.findChildren(QLineEdit):
        assert TOKEN not in widget.toolTip() + widget.accessibleName() + widget.accessibleDescription()
