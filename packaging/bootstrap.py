"""Set everything up, then open the window or run the tests.

    python3 packaging/bootstrap.py start            open lmstudio-app
    python3 packaging/bootstrap.py test [ARGS …]    run every check and the tests; ARGS go to pytest
    python3 packaging/bootstrap.py setup            set up only, with the tools of the tests

Needs Python 3.11 or newer and nothing else. The environment is the folder .venv of the checkout, with the
exact versions of packaging/constraints.txt; pip's own settings (index, proxy, cache, wheels on disk) are
respected. A set-up that is up to date is recognised at once; one that was interrupted is made anew.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "packaging"), str(ROOT)]

from environment import SetupError, say, set_up, shown, venv_program  # noqa: E402 - beside this file

from lmstudio_app import system_libraries  # noqa: E402 - standard library only, as is the next
from lmstudio_app.display import display_problem, session_type  # noqa: E402

APT_LISTS = Path("/var/lib/apt/lists")


def newer_python() -> str:
    """The path of a Python that is new enough, where one has its usual name; else an empty string."""
    for minor in range(14, OLDEST_PYTHON[1] - 1, -1):
        path = shutil.which(f"python3.{minor}")
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    return ""


def go_on_in_a_newer_python() -> int:
    """This Python is too old. Raises :class:`SetupError` when there is no newer one."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = newer_python()
    if not found:
        raise SetupError(
            f"Python 3.11 or newer is needed, and this is Python {version}.",
            "Install a newer one and run this with it, for example: python3.12 packaging/bootstrap.py start",
        )
    say(f"This is Python {version}, which is too old; going on with {found}.")
    return subprocess.call([found, *sys.argv])


def missing_venv_packages(system: str) -> list[str]:
    """Debian and Ubuntu keep ``ensurepip`` in a package of its own; its name, when it is not installed.

    Raises :class:`SetupError` on other systems, where its name is not known.
    """
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return []
    if system != "debian":
        raise SetupError(
            "This Python cannot make virtual environments: its module ensurepip is missing.",
            "Install the part of it that has ensurepip (its name often ends in -venv or -pip).",
        )
    return [f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"]


def install_packages(names: list[str], system: str, why: str) -> None:
    """Install packages of the distribution when root on Debian or Ubuntu; otherwise say how it is done.

    Raises :class:`SetupError` when they are not installed at the end.
    """
    listed = " ".join(names)
    command = system_libraries.install_command(names, system)
    if system == "debian" and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"{why}; installing: {listed}")
        trouble = apt_install(names)
        if trouble:
            raise SetupError(f"apt-get could not install {listed}:\n{trouble}", f"Run: {command}")
        return
    raise SetupError(
        f"{why}: {listed}",
        f"Run this, and then the same command again: {command}" if command else "Install them first.",
    )


def apt_install(names: list[str]) -> str:
    """Install with apt-get, as root. Returns ``""``, or the last lines of what apt-get said when it failed.

    The package lists are fetched when there are none, and again when the first try fails: old lists name
    files that the mirrors no longer have.
    """
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names]
    update = ["apt-get", "update", "-q"]
    steps = [install, update, install] if any(APT_LISTS.glob("*_Packages*")) else [update, install]
    said = ""
    for step in steps:
        say(f"  {' '.join(step[:2])} …")
        answer = subprocess.run(
            [step[0], "-o", "DPkg::Lock::Timeout=120", *step[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=system_libraries.plain_environment(),
        )
        said = "\n".join(answer.stdout.strip().splitlines()[-8:])
        if answer.returncode == 0 and step is install:
            return ""
    return said or "apt-get failed without a word."


def library_groups(command: str) -> tuple[list[str], list[str]]:
    """The groups of :data:`system_libraries.NEEDS` that ``command`` cannot do without, and those it can.

    A window looks worse without fonts. Tests use Qt's offscreen platform; only a few need an X server.
    """
    if not sys.platform.startswith("linux"):
        return [], []
    if command == "test":
        return ["base"], ["fonts", "x11", "tests"]
    if command == "start" and display_problem():
        return [], []  # no window will open, and nothing else needs Qt
    return ["base", session_type()], ["fonts"]


def see_to_system_packages(command: str, system: str) -> None:
    """Have what ``command`` needs from the system: Python's venv module, Qt's libraries, fonts.

    Raises :class:`SetupError` when something necessary is missing and cannot be installed.
    """
    required_groups, optional_groups = library_groups(command)
    required, optional = system_libraries.missing(required_groups), system_libraries.missing(optional_groups)
    names = missing_venv_packages(system) + system_libraries.packages(required, system)
    wishes = system_libraries.packages(optional, system)
    if names:
        install_packages(names + wishes, system, "Packages of the system that are needed are missing")
    elif wishes:
        try:
            install_packages(wishes, system, "Fonts or libraries of the display are missing")
        except SetupError as problem:
            say(f"note:  {problem}")
    importlib.invalidate_caches()
    still = [need.library for need in system_libraries.missing(required_groups)] + missing_venv_packages(system)
    if still:
        raise SetupError(
            f"Still missing after the installation: {' '.join(still)}",
            "Libraries must be where the loader looks (ldconfig); ensurepip where this Python looks.",
        )


def start(arguments: list[str]) -> int:
    """Open the window; without a display, say so in one line and name the headless twin."""
    problem = display_problem()
    if problem:
        say(f"{problem} The same work runs without a window: {shown(venv_program('lmstudio-app'))} --help")
        return 1
    command = [str(venv_program("python")), "-m", "lmstudio_app", *arguments]
    if os.name == "nt":
        return subprocess.call(command)
    os.execv(command[0], command)


def test(arguments: list[str]) -> int:
    """Run every check, and pytest last. The exit code is 0 only when all passed."""
    environment = {**os.environ, "VIRTUAL_ENV": str(venv_program("python").parent.parent)}
    environment["PATH"] = f"{venv_program('python').parent}{os.pathsep}{os.environ['PATH']}"
    environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    checks = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
        "import layers": ["lint-imports"],
    }
    failed = []
    for name, (program, *options) in checks.items():
        began = time.monotonic()
        result = subprocess.run(
            [str(venv_program(program)), *options],
            cwd=ROOT,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if result.returncode != 0:
            failed.append(name)
            say(result.stdout.rstrip())
        say(f"{name}: {'FAILED' if result.returncode else 'passed'} ({time.monotonic() - began:.1f} s)")
    if failed:
        say(f"Failed, see above: {', '.join(failed)}. The tests run all the same.")
    code = subprocess.call([str(venv_program("pytest")), *arguments], cwd=ROOT, env=environment)
    return code or (1 if failed else 0)


def run(command: str, arguments: list[str]) -> int:
    if sys.version_info < OLDEST_PYTHON:
        return go_on_in_a_newer_python()
    system = system_libraries.family() if sys.platform == "linux" else ""
    see_to_system_packages(command, system)
    set_up([] if command == "start" else ["dev"])
    if command == "start":
        return start(arguments)
    return test(arguments) if command == "test" else 0


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bootstrap.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("start", "test", "setup"))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="go to pytest")
    options = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows "?" and goes on
    try:
        return run(options.command, options.arguments)
    except SetupError as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; run the same command again to go on\n")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
