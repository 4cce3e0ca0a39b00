"""The checkout's virtual environment ``.venv``: made, filled with pins, recognised when up to date.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
STAMP = "lmstudio-app-setup.json"  # in .venv: what was set up; there only when it was set up to the end
UNFINISHED = "lmstudio-app-setup.unfinished"  # in .venv: a set-up is under way, or was interrupted
NEEDED_SPACE = {"linux": 8_000_000_000}.get(sys.platform, 2_500_000_000)  # bytes; on Linux torch may bring CUDA
SPACE_TO_UPDATE = 1_000_000_000  # bytes


class SetupError(Exception):
    """One sentence about what is wrong, and the remedy."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(f"{sentence}\n       {remedy}")


def say(text: str) -> None:
    print(text, flush=True)


def venv_program(name: str) -> Path:
    return VENV / "Scripts" / f"{name}.exe" if os.name == "nt" else VENV / "bin" / name


def shown(path: Path) -> str:
    """A path as a person would type it from where they are."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def setup_key() -> str:
    """A fingerprint of everything that decides what an up-to-date environment holds."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [
        project["build-system"],
        project["project"],
        project["tool"]["hatch"],
        CONSTRAINTS.read_text(encoding="utf-8"),
        sys.version,
        sys.base_prefix,
        str(VENV),  # an environment does not survive being moved
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_stamp() -> dict[str, object]:
    """What the last complete set-up wrote; empty when there was none."""
    try:
        stamp = json.loads((VENV / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_up_to_date(key: str, extras: list[str]) -> bool:
    stamp = read_stamp()
    return stamp.get("key") == key and set(extras) <= set(stamp["extras"]) and venv_program("python").exists()


@contextlib.contextmanager
def one_at_a_time():
    """Two set-ups of one checkout at the same time would spoil each other: the second waits for the first."""
    with (ROOT / ".venv.lock").open("a+") as file:
        told = False
        while not _try_lock(file.fileno()):
            if not told:
                say("Another set-up of this checkout is running; waiting for it …")
                told = True
            time.sleep(0.5)
        yield  # closing the file gives the lock back, also when the process dies


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def require_space(needed: int) -> None:
    free = shutil.disk_usage(ROOT).free
    if free < needed:
        raise SetupError(
            f"Setting up may need {needed / 1e9:.0f} GB in {ROOT}, and {free / 1e9:.1f} GB are free.",
            "Free some space, or move the checkout to a larger disk, and run the same command again.",
        )


def set_up(extras: list[str]) -> None:
    """Make ``.venv`` hold the pinned dependencies and the program itself.

    Nothing is done when it does already. An environment whose set-up was interrupted, or whose Python is
    gone, is made anew. Raises :class:`SetupError`.
    """
    key = setup_key()
    if is_up_to_date(key, extras):
        return
    with one_at_a_time():
        if is_up_to_date(key, extras):  # whoever held the lock did the work
            return
        started = time.monotonic()
        unfinished = VENV / UNFINISHED
        extras = sorted({*extras, *read_stamp().get("extras", ())})
        if unfinished.exists() or (VENV.exists() and not can_run(venv_program("python"))):
            say(f"An earlier set-up did not come to its end; making {shown(VENV)} anew.")
            shutil.rmtree(VENV)
        require_space(SPACE_TO_UPDATE if VENV.exists() else NEEDED_SPACE)
        VENV.mkdir(exist_ok=True)
        unfinished.touch()
        (VENV / STAMP).unlink(missing_ok=True)
        if not venv_program("python").exists():
            say(f"Creating a virtual environment in {shown(VENV)} (Python {sys.version.split()[0]}) …")
            create_environment()
        say("Installing the pinned dependencies; the first time this takes some minutes …")
        locked = ("--constraint", str(CONSTRAINTS))
        target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
        pip("install", f"pip=={pinned('pip')}")  # an older pip tells the reader less, and knows fewer wheels
        pip("install", *locked, f"hatchling=={pinned('hatchling')}")
        pip("install", *locked, "--no-build-isolation", "--editable", target)
        (VENV / STAMP).write_text(json.dumps({"key": key, "extras": extras}), encoding="utf-8")
        unfinished.unlink()
        say(f"Set up in {time.monotonic() - started:.0f} s.")


def create_environment() -> None:
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        said = (made.stderr.strip() or made.stdout.strip() or "no reason was given").splitlines()[-1]
        raise SetupError(
            f"The virtual environment could not be made: {said}", "Mend that and run the same command again."
        )


def can_run(python: Path) -> bool:
    try:
        return subprocess.run([str(python), "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def pinned(name: str) -> str:
    """The version of ``name`` in ``packaging/constraints.txt``."""
    text = CONSTRAINTS.read_text(encoding="utf-8")
    found = re.search(f"^{re.escape(name)}==(\\S+)$", text, re.MULTILINE)
    if not found:
        raise SetupError(f"packaging/constraints.txt has no version of {name}.", "Run packaging/lock.py.")
    return found.group(1)


def pip(*arguments: str) -> None:
    """Run the environment's pip. On a terminal its steps are shown on one line that is rewritten.

    Raises :class:`SetupError` with what most likely went wrong.
    """
    command = [str(venv_program("python")), "-m", "pip", *arguments]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"):  # would lead elsewhere
        environment.pop(name, None)
    said: list[str] = []
    live = sys.stdout.isatty()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        cwd=ROOT,
    ) as process:
        for line in process.stdout or ():
            said.append(line.rstrip())
            if live and line.strip():
                sys.stdout.write(f"\r\x1b[K  {line.strip()[: shutil.get_terminal_size().columns - 4]}")
                sys.stdout.flush()
            elif is_worth_a_line(line):
                say(f"  {line.strip()[:100]}")
    if live:
        sys.stdout.write("\r\x1b[K")
    if process.returncode != 0:
        raise SetupError(*pip_problem("\n".join(said)))


def is_worth_a_line(line: str) -> bool:
    """In a log: the big downloads (10 MB or more) and the long last step."""
    return bool(re.match(r"\s*Downloading .*\((\d{2,}\.\d|\d{2,}) [MG]B\)|Installing collected packages", line))


def pip_problem(said: str) -> tuple[str, str]:
    """The sentence and the remedy for what pip said before it failed."""
    if re.search(r"No space left on device|Errno 28", said):
        return "The disk is full.", "Free some space and run the same command again."
    missing = re.search(r"No matching distribution found for ([^\s;]+)", said) or re.search(
        r"no matching distributions available for your environment:\s+(\S+)", said
    )
    unreachable = re.search(
        r"NewConnectionError|Max retries exceeded|name resolution|ConnectTimeout|ReadTimeout|SSLError"
        r"|ProxyError|Failed to establish|connection broken|Network is unreachable",
        said,
        re.IGNORECASE,
    )
    if unreachable or (missing and "(from versions: none)" in said):
        asked = f" (it looked for {missing.group(1)})" if missing else ""
        return (
            f"pip could not reach its package index{asked}.",
            "Check the network and pip's settings (python3 -m pip config list); then run this again.",
        )
    if missing:
        return (
            f"pip found no {missing.group(1)} for Python {sys.version.split()[0]} on this system.",
            "Check pip's settings (python3 -m pip config list), or use another Python (3.11 to 3.14), "
            "for example: python3.12 packaging/bootstrap.py start",
        )
    last = "\n".join(said.splitlines()[-12:])
    return f"pip failed:\n{last}", "Run the same command again; if it fails again, report these lines."
