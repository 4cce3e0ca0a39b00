import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

from lmstudio_app.cli import main
from lmstudio_app.errors import UserError, as_user_error
from lmstudio_app.models.credentials import check_token, delete_token, find_token, save_token, token_state
from tests.hub_server import HubServer
from tests.models.conftest import Recorder

TOKEN = "hf_aVerySecretTokenOfTheTests"


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A keyring that ends with the test; ``is_locked`` makes it refuse as a locked one does."""

    priority = 1  # type: ignore[assignment]
    name = "Memory"

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def _open(self) -> dict[tuple[str, str], str]:
        if self.is_locked:
            raise keyring.errors.KeyringLocked("locked")
        return self.kept

    def get_password(self, service: str, username: str) -> str | None:
        return self._open().get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._open()[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self._open()[service, username]


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
def no_vault() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    yield
    keyring.set_keyring(before)


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_token_lies_in_the_keyring_and_nowhere_else(
    hub: HubServer, vault: MemoryKeyring, app_home: Path, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    hub.token = TOKEN
    with caplog.at_level(logging.DEBUG):
        save_token(f"{TOKEN}\n")
        assert find_token() == TOKEN
        assert check_token(None, recorder.ctx) == "someone"
    host = hub.url.removeprefix("http://")
    assert vault.kept == {("lmstudio-app", host): TOKEN}
    assert (token_state().source, token_state().keyring, token_state().host) == ("keyring", "Memory", host)
    assert TOKEN not in repr(token_state()) + caplog.text + repr(recorder.events)
    assert TOKEN.encode() not in everything_written(app_home)
    assert delete_token()
    assert not delete_token()
    assert find_token() is None


@pytest.mark.usefixtures("vault")
def test_a_mirror_is_not_given_the_token_of_another_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    save_token(TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert find_token() is None


def test_the_variable_comes_first(hub: HubServer, vault: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    save_token("hf_kept")
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN} ")
    assert find_token() == TOKEN
    assert token_state().source == "environment"


@pytest.mark.usefixtures("hub", "no_vault")
def test_without_a_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="This system has no keyring") as caught:
        save_token(TOKEN)
    assert "HF_TOKEN" in caught.value.remedy
    assert TOKEN not in as_user_error(caught.value).details
    assert find_token() is None
    assert token_state().keyring == ""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert find_token() == TOKEN


@pytest.mark.usefixtures("hub")
def test_a_locked_keyring(vault: MemoryKeyring, caplog: pytest.LogCaptureFixture) -> None:
    save_token(TOKEN)
    vault.is_locked = True
    assert find_token() is None
    assert "cannot be read: KeyringLocked" in caplog.text
    for act in (lambda: save_token(TOKEN), delete_token):
        with pytest.raises(UserError, match=r"keyring of this system refuses \(KeyringLocked\)") as caught:
            act()
        assert "Unlock it" in caught.value.remedy
        assert TOKEN not in as_user_error(caught.value).details


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("text", ["", "  ", "hf_a b", "hf_ü", "hf_a\nhf_b"])
def test_what_is_no_token(vault: MemoryKeyring, text: str) -> None:
    with pytest.raises(UserError, match="This is no access token"):
        save_token(text)
    assert vault.kept == {}


@pytest.mark.usefixtures("vault")
def test_a_token_that_the_hub_refuses(hub: HubServer, recorder: Recorder) -> None:
    with pytest.raises(UserError, match="There is no access token for 127"):
        check_token(None, recorder.ctx)
    save_token("hf_wrong")
    hub.token = TOKEN
    with pytest.raises(UserError, match="does not accept the access token") as caught:
        check_token(None, recorder.ctx)
    assert "hf_wrong" not in as_user_error(caught.value).details + caught.value.one_line()


# --- the command


def test_login_reads_the_token_from_stdin(
    hub: HubServer, vault: MemoryKeyring, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.token = TOKEN
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{TOKEN}\n"))
    assert main(["models", "login"]) == 0
    assert list(vault.kept.values()) == [TOKEN]
    out, err = capfd.readouterr()
    assert "someone" in out
    assert TOKEN not in out + err
    assert main(["models", "logout"]) == 0
    assert vault.kept == {}
    assert main(["models", "logout"]) == 0
    assert "no access token" in capfd.readouterr().out


def test_a_refused_token_is_not_kept(
    hub: HubServer, vault: MemoryKeyring, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.token = TOKEN
    monkeypatch.setattr(sys, "stdin", io.StringIO("hf_wrong\n"))
    assert main(["models", "login"]) == 2
    assert vault.kept == {}
    assert "does not accept" in capfd.readouterr().err


def test_a_token_is_no_argument(capfd: pytest.CaptureFixture[str]) -> None:
    """What is an argument stands in `ps` and in the shell's history."""
    with pytest.raises(SystemExit):
        main(["models", "login", TOKEN])
    with pytest.raises(SystemExit):
        main(["models", "login", "--token", TOKEN])


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal of Linux")
def test_a_terminal_shows_no_token(hub: HubServer, tmp_path: Path) -> None:
    import pty

    hub.token = TOKEN
    (tmp_path / "vault.py").write_text(
        "import json, pathlib, keyring.backend\n"
        "class Keyring(keyring.backend.KeyringBackend):\n"
        "    priority = 1\n"
        "    path = pathlib.Path(__file__).with_name('kept.json')\n"
        "    def get_password(self, *key): return None\n"
        "    def set_password(self, *values): self.path.write_text(json.dumps(values))\n"
        "    def delete_password(self, *key): self.path.unlink()\n"
    )
    parent, child = pty.openpty()
    environment = {**os.environ, "PYTHON_KEYRING_BACKEND": "vault.Keyring", "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lmstudio_app", "models", "login"],
        stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    shown = b""
    while b"token" not in shown.lower():
        shown += os.read(parent, 1024)
    os.write(parent, f"{TOKEN}\n".encode())
    while True:
        try:
            piece = os.read(parent, 1024)
        except OSError:  # the terminal ends with the program
            break
        if not piece:
            break
        shown += piece
    os.close(parent)
    assert process.wait(30) == 0, shown
    assert TOKEN.encode() not in shown
    assert TOKEN in (tmp_path / "kept.json").read_text()
