"""The house keeps its walls: layers, a core without Qt, one file with threads, and a window that opens quickly."""

from __future__ import annotations

import ast
import json
import os
import pkgutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import lmstudio_app

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lmstudio_app"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
ROOMS = {module.name for module in pkgutil.iter_modules(lmstudio_app.__path__)}
# What the first window must not wait for.
SLOW = (
    "torch", "transformers", "datasets", "huggingface_hub", "pyarrow", "pyqtgraph", "accelerate", "pandas", "captum",
    "matplotlib", "scipy",
)  # fmt: skip

NO_QT = """
import sys

class NoQt:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("PySide6", "shiboken6", "pyqtgraph"):
            raise ImportError(f"the core imported {name}")

sys.meta_path.insert(0, NoQt())
"""


def run_python(code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def contract(name: str) -> dict[str, list[str]]:
    return next(entry for entry in CONTRACTS if entry["name"] == name)


def test_import_contracts_hold() -> None:
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_contracts_speak_of_every_room() -> None:
    """A new module of the package has its place in the layers, and is forbidden Qt unless it is ``gui``."""
    layers = contract("Arrows point one way")["layers"]
    named = {room.strip().removeprefix("lmstudio_app.") for layer in layers for room in layer.split("|")}
    assert named == ROOMS
    forbidden = contract("Nothing outside gui imports Qt or pyqtgraph")["source_modules"]
    assert {room.removeprefix("lmstudio_app.") for room in forbidden} == ROOMS - {"gui", "__main__"}


def test_contracts_speak_of_every_tab() -> None:
    tabs = contract("Tabs do not know each other")["modules"]
    found = {f"lmstudio_app.gui.tabs.{module.name}" for module in pkgutil.iter_modules([str(PACKAGE / "gui" / "tabs")])}
    assert set(tabs) <= found
    for path in (PACKAGE / "gui" / "tabs").glob("*.py"):
        if path.stem != "__init__" and any(
            isinstance(node, ast.ClassDef) and node.name.endswith("Tab") for node in ast.parse(path.read_text()).body
        ):
            assert f"lmstudio_app.gui.tabs.{path.stem}" in tabs


def test_one_file_names_qthread() -> None:
    naming = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.id] if isinstance(node, ast.Name) else []
            names += [node.attr] if isinstance(node, ast.Attribute) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            if {"QThread", "QThreadPool", "QRunnable", "QtConcurrent"} & set(names):
                naming.add(path.relative_to(PACKAGE).as_posix())
    assert naming == {"gui/job_runner.py"}


def test_core_imports_without_qt() -> None:
    done = run_python(
        NO_QT
        + textwrap.dedent("""
        import importlib, pkgutil, lmstudio_app
        names = [m.name for m in pkgutil.walk_packages(lmstudio_app.__path__, "lmstudio_app.")]
        names = [n for n in names if not n.startswith("lmstudio_app.gui") and n != "lmstudio_app.__main__"]
        for name in names:
            importlib.import_module(name)
        print(len(names))
        """)
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_main_job_runs_without_qt(tiny_encoder: Path, tmp_path: Path, app_home: Path) -> None:
    """The headless twin, from data to attention, in one process in which importing Qt fails."""
    recipe = tmp_path / "recipe.yaml"
    rows = [{"text": f"a {word} movie", "label": label} for label, word in enumerate(("bad", "great"))] * 8
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe.write_text(
        json.dumps(
            {
                "task": "sentiment",
                "model": str(tiny_encoder),
                "data": {"train": str(tmp_path / "rows.jsonl"), "eval_fraction": 0.25},
                "strategy": {"name": "full"},
                "training": {"epochs": 1, "batch_size": 4, "precision": "float32", "seed": 1},
            }
        ),
        encoding="utf-8",
    )
    run, model = str(tmp_path / "run"), str(tmp_path / "run" / "final")
    commands = [
        ["train", str(recipe), "--run-dir", run, "--json"],
        ["predict", "sentiment", "--model", model, "--input", "rows.jsonl", "--output", "out.jsonl"],
        ["attention", "--model", model, "--text", "a great movie", "--output", "maps.npz"],
        ["datasets", "list"],
        ["models", "info", model],
        ["doctor"],
    ]
    code = f"{NO_QT}\nimport json, os\nfrom lmstudio_app.cli import main\nos.chdir(sys.argv[1])\n"
    code += "for command in json.loads(sys.argv[2]):\n    code = main(command)\n    assert code == 0, (command, code)\n"
    done = run_python(code, str(tmp_path), json.dumps(commands), PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert '"event": "finished"' in done.stdout
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == len(rows)
    assert (tmp_path / "maps.npz").is_file()


LOADED = f"import sys\nprint(sorted(name for name in {SLOW!r} if name in sys.modules))\n"


@pytest.mark.parametrize(
    "code",
    [
        "import lmstudio_app.gui.app",
        "import lmstudio_app.gui.main_window",
        # the window itself, painted
        """
        from PySide6.QtWidgets import QApplication
        from lmstudio_app.gui.main_window import MainWindow
        app = QApplication([])
        window = MainWindow()
        window.show()
        app.processEvents()
        assert window.isVisible()
        """,
    ],
    ids=["front door", "window module", "window shown"],
)
def test_way_to_the_first_window_imports_nothing_slow(code: str, app_home: Path) -> None:
    done = run_python(f"{textwrap.dedent(code)}\n{LOADED}import os; sys.stdout.flush(); os._exit(0)")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_command_line_answers_without_loading_the_libraries() -> None:
    """``--help`` and bad usage must not cost seconds."""
    done = run_python(f"from lmstudio_app.cli import build_parser\nbuild_parser()\n{LOADED}")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
