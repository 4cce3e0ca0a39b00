"""The set-up from nothing, the lock, the wheel, the desktop entry. The real set-up is what ``.ci/run`` does."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lmstudio_app import __version__, system_libraries

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about Linux distributions")


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    import bootstrap

    return bootstrap


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    import environment

    return environment


def constraints() -> dict[str, str]:
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def direct_requirements() -> list[Requirement]:
    lines = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        lines += extra
    return [Requirement(line) for line in lines]


# --- the lock


def test_every_direct_dependency_is_pinned_and_the_lock_agrees() -> None:
    locked = {canonicalize_name(name): version for name, version in constraints().items()}
    for requirement in direct_requirements():
        assert str(requirement.specifier).startswith("=="), f"{requirement} is not pinned"
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_lock_names_only_public_versions() -> None:
    names = [canonicalize_name(name) for name in constraints()]
    assert names == sorted(set(names))
    for name, version in constraints().items():
        assert Version(version).local is None, f"{name}=={version} exists on one machine only"
        assert "/" not in name
        assert ":" not in name


def test_lock_is_what_a_set_up_environment_holds() -> None:
    """In another environment than the one that packaging/bootstrap.py makes, this says which package differs."""
    checked = subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "lock.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_versions_agree() -> None:
    assert PROJECT["project"]["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- system libraries


@ON_LINUX
def test_library_that_is_missing_is_found_out_by_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = system_libraries.Need("base", ("libmade-up1",), "made-up", "made-up", "libmade-up.so.1")
    there = system_libraries.Need("base", ("libc6",), "glibc", "glibc", "libc.so.6")
    monkeypatch.setattr(system_libraries, "NEEDS", (made_up, there))
    assert system_libraries.missing(["base"]) == [made_up]
    assert system_libraries.missing(["x11"]) == []


@ON_LINUX
def test_table_names_every_library_that_qt_takes_from_the_system() -> None:
    """Read from Qt's own files: what they ask of the loader and do not bring along."""
    import PySide6
    import shiboken6

    package, shiboken = Path(PySide6.__file__).parent, Path(shiboken6.__file__).parent
    modules = ("Core", "Gui", "Widgets", "Svg", "SvgWidgets", "OpenGL", "OpenGLWidgets")
    files = [package / f"Qt{name}.abi3.so" for name in modules]
    files += [package / "Qt" / "lib" / f"libQt6{name}.so.6" for name in (*modules, "DBus", "XcbQpa", "WaylandClient")]
    files += [package / "Qt" / "plugins" / "platforms" / f"libq{name}.so" for name in ("xcb", "offscreen", "wayland")]
    asked: set[str] = set()
    for path in files:
        names = re.findall(rb"\0(lib[\w.+-]+\.so\.[\d.]+)(?=\0)", path.read_bytes())
        asked |= {name.decode() for name in names}
    bundled = {path.name for folder in (package, package / "Qt" / "lib", shiboken) for path in folder.iterdir()}
    # Every Debian has these: its own tools need them, or they come with one that is in the table.
    always = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libzstd.so.1"}
    always |= {"libglib-2.0.so.0", "libxcb.so.1"}
    assert "libxcb-cursor.so.0" in asked  # the one that is missing most often: the reading works
    assert asked - bundled - always - {need.library for need in system_libraries.NEEDS} == set()


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n', "debian"),
        ('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "debian"),
        ('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n', "debian"),
        ('NAME="Fedora Linux"\nID=fedora\n', "fedora"),
        ('NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"),
        ("NAME=EndeavourOS\nID=endeavouros\nID_LIKE=arch\n", "arch"),
        ('NAME="openSUSE Tumbleweed"\nID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', ""),
    ],
)
def test_distribution_is_recognised(os_release: str, expected: str) -> None:
    assert system_libraries.family(os_release) == expected


def test_packages_have_the_names_of_the_distribution() -> None:
    glib = next(need for need in system_libraries.NEEDS if need.library.startswith("libgthread"))
    cursor = next(need for need in system_libraries.NEEDS if need.library.startswith("libxcb-cursor"))
    needs = [glib, cursor, cursor]
    old = system_libraries.packages(needs, "debian", knows=lambda name: False)
    new = system_libraries.packages(needs, "debian", knows=lambda name: name.endswith("t64"))
    assert old == ["libglib2.0-0", "libxcb-cursor0"]
    assert new == ["libglib2.0-0t64", "libxcb-cursor0"]
    assert system_libraries.install_command(new, "debian").endswith(" libglib2.0-0t64 libxcb-cursor0")
    assert system_libraries.packages(needs, "fedora") == ["glib2", "xcb-util-cursor"]
    assert system_libraries.install_command(["glib2"], "fedora") == "sudo dnf install glib2"
    assert system_libraries.packages(needs, "") == ["libgthread-2.0.so.0", "libxcb-cursor.so.0"]
    assert system_libraries.install_command(["x"], "") == ""


# --- the set-up, in a small checkout of its own


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the set-up reads of a checkout, in a folder that anyone may enter."""
    root = tmp_path / "check out"  # a space in the path is part of the test
    (root / "lmstudio_app").mkdir(parents=True)
    for name in ("__init__.py", "display.py", "system_libraries.py"):
        shutil.copy(ROOT / "lmstudio_app" / name, root / "lmstudio_app" / name)
    shutil.copytree(ROOT / "packaging", root / "packaging", ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    return root


def run_bootstrap(root: Path, code: str, *, user: str | None = None, **variables: str):
    """Run ``code`` after ``import bootstrap`` in a new process."""
    base = getattr(sys, "_base_executable", sys.executable)
    start = f"import sys; sys.path.insert(0, {str(root / 'packaging')!r}); import bootstrap\n"
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [base, "-B", "-c", start + code],
        env=environment | variables,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        user=user,
    )


@ON_LINUX
@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="about Debian's package names")
def test_without_root_the_missing_packages_and_the_command_are_named(checkout: Path) -> None:
    code = (
        "from lmstudio_app import system_libraries as s\n"
        "s.NEEDS += (s.Need('base', ('libmade-up1',), 'made-up', 'made-up', 'libmade-up.so.1'),)\n"
        "bootstrap.os.geteuid = lambda: 1000\n"
        "sys.exit(bootstrap.main(['test']))\n"
    )
    done = run_bootstrap(checkout, code)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    sentence, remedy = done.stderr.strip().splitlines()
    assert sentence.startswith("error: Packages of the system that are needed are missing: ")
    assert "libmade-up1" in sentence
    assert "sudo apt-get install" in remedy
    assert "libmade-up1" in remedy
    assert not (checkout / ".venv").exists()


def test_interrupted_set_up_is_made_anew(checkout: Path) -> None:
    """Without a package index the set-up fails in the middle; the next one starts over."""
    code = (
        "from environment import set_up, SetupError\n"
        "try:\n    set_up([])\n"
        "except SetupError as problem:\n    sys.exit(str(problem))\n"
    )
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    first = run_bootstrap(checkout, code, **offline)
    assert first.returncode == 1
    assert "pip could not reach its package index (it looked for pip==" in first.stderr
    assert "run this again" in first.stderr
    left = checkout / ".venv" / "left-by-the-first"
    left.touch()
    second = run_bootstrap(checkout, code, **offline)
    assert "An earlier set-up did not come to its end; making .venv anew." in second.stdout
    assert not left.exists()


def test_up_to_date_environment_is_recognised(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "VENV", tmp_path)
    key = environment.setup_key()
    assert not environment.is_up_to_date(key, [])
    program = environment.venv_program("python")
    program.parent.mkdir(parents=True)
    program.touch()
    (tmp_path / environment.STAMP).write_text(f'{{"key": "{key}", "extras": ["dev"]}}', encoding="utf-8")
    assert environment.is_up_to_date(key, [])
    assert environment.is_up_to_date(key, ["dev"])
    assert not environment.is_up_to_date(key, ["other"])
    assert not environment.is_up_to_date("another key", [])
    (tmp_path / environment.STAMP).write_text("{", encoding="utf-8")
    assert not environment.is_up_to_date(key, [])


def test_second_set_up_waits_for_the_first(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    order: list[str] = []

    def wait_for_it() -> None:
        with environment.one_at_a_time():
            order.append("second")

    with environment.one_at_a_time():
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert capsys.readouterr().out.count("waiting for it") == 1


# What pip 26.3 says, word for word.
PIP_UNREACHABLE = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
'NewConnectionError("HTTPSConnection: Failed to establish a new connection: [Errno -3] Temporary failure in name \
resolution")': /simple/accelerate/
ERROR: Could not find a version that satisfies the requirement accelerate==1.15.0 (from lmstudio-app) (from \
versions: none)
ERROR: No matching distribution found for accelerate==1.15.0"""
PIP_NO_VERSION = """\
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: 2.14.0, 2.14.1)
ERROR: No matching distribution found for torch==2.13.0; platform_system == "Linux\""""
PIP_LOCKED_BUT_ABSENT = """\
The conflict is caused by:
    The user requested hatchling==1.33.0
    The user requested (constraint) hatchling==1.33.0

Additionally, some packages in these conflicts have no matching distributions available for your environment:
    hatchling
"""
PIP_NO_SPACE = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("said", "sentence", "remedy"),
    [
        (PIP_UNREACHABLE, "pip could not reach its package index (it looked for accelerate==1.15.0).", "network"),
        (PIP_NO_VERSION, "pip found no torch==2.13.0 for Python", "another Python"),
        (PIP_LOCKED_BUT_ABSENT, "pip found no hatchling for Python", "another Python"),
        (PIP_NO_SPACE, "The disk is full.", "Free some space"),
        ("ERROR: something new", "pip failed:\nERROR: something new", "report these lines"),
    ],
)
def test_problem_of_pip_is_a_sentence_and_a_remedy(
    environment: ModuleType, said: str, sentence: str, remedy: str
) -> None:
    told = environment.pip_problem(said)
    assert told[0].startswith(sentence)
    assert remedy in told[1]


def test_only_long_steps_of_pip_are_worth_a_line_in_a_log(environment: ModuleType) -> None:
    assert environment.is_worth_a_line("  Downloading torch-2.13.0.whl (526.6 MB)")
    assert environment.is_worth_a_line("Installing collected packages: mpmath, torch")
    assert not environment.is_worth_a_line("  Downloading six-1.17.0.whl (11 kB)")
    assert not environment.is_worth_a_line("  Downloading regex-2026.whl (1.2 MB)")


@ON_LINUX
def test_start_without_a_display_says_so_in_one_line(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert bootstrap.start([]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("There is no display here")
    assert "lmstudio-app --help" in line


@ON_LINUX
@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10"])
def test_older_python_goes_on_in_a_newer_one(version: str) -> None:
    """Where such an old Python is installed: the script is at least understood by it."""
    for path in (shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")):
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip(f"no Python {version} here")
    script = [str(path), str(ROOT / "packaging" / "bootstrap.py"), "setup"]
    alone = subprocess.run(script, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert alone.returncode == 1
    assert alone.stderr.startswith(f"error: Python 3.11 or newer is needed, and this is Python {version}.")


# --- what is built and shipped


def test_wheel_carries_the_resources_and_finds_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    shipped = {
        f"lmstudio_app/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "resources").rglob("*")
        if path.is_file()
    }
    assert shipped <= names
    assert not [name for name in names if name.startswith(("tests/", "packaging/", "resources/"))]
    found = subprocess.run(
        [sys.executable, "-P", "-c", "from lmstudio_app.assets import resource; print(resource('catalog.yaml'))"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == tmp_path / "installed" / "lmstudio_app" / "resources" / "catalog.yaml"


def test_desktop_entry_names_what_exists() -> None:
    lines = (ROOT / "packaging" / "lmstudio-app.desktop").read_text(encoding="utf-8").splitlines()
    entry = dict(line.split("=", 1) for line in lines if "=" in line)
    assert lines[0] == "[Desktop Entry]"
    assert entry["Exec"] in PROJECT["project"]["scripts"]
    icon = ROOT / "resources" / "icons" / f"{entry['Icon']}.svg"
    assert ElementTree.parse(icon).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    if shutil.which("desktop-file-validate"):
        subprocess.run(["desktop-file-validate", str(ROOT / "packaging" / "lmstudio-app.desktop")], check=True)


def test_ci_runs_the_second_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert "python3 packaging/bootstrap.py test" in script.read_text(encoding="utf-8")
    if os.name == "posix":
        assert script.stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_commands_of_the_pages_lead_somewhere(page: str, bootstrap: ModuleType) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text):
        assert target.startswith(("https://", "http://")) or (ROOT / target).exists(), f"{page}: {target}"
    for path in re.findall(r"`((?:lmstudio_app|packaging|tests|resources)/[\w./-]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), f"{page}: {path}"
    commands = set(re.findall(r"bootstrap\.py (\w+)", text))
    assert commands <= {"start", "test", "setup"}
    if page == "README.md":
        assert {"start", "test"} <= commands
