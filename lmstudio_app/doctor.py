"""What a bug report needs: versions, devices, display, paths, models and whether the network is allowed.

The report is made from this machine alone: nothing is fetched, sent or changed. It holds no secrets: of the
environment only the variables named here are read, and home folder and user name are masked in every text.
A part that fails says so in its place, because a report is wanted most when something is broken.
"""

from __future__ import annotations

import getpass
import json
import locale
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lmstudio_app import __version__, display, settings, system_libraries
from lmstudio_app.assets import resource_root
from lmstudio_app.files import format_bytes
from lmstudio_app.jobs import JobContext

Section = dict[str, Any]
Report = dict[str, Section]

PACKAGES = (
    "PySide6-Essentials",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "datasets",
    "pyarrow",
    "huggingface_hub",
    "numpy",
    "pyqtgraph",
    "pip",
)
VARIABLES = (
    "LMSTUDIO_APP_HOME",
    "HF_HUB_OFFLINE",
    "HF_HOME",
    "QT_QPA_PLATFORM",
    "QT_SCALE_FACTOR",
    "QT_STYLE_OVERRIDE",
    "XDG_CURRENT_DESKTOP",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
)
PROBE_SECONDS = 30


@dataclass(frozen=True)
class DoctorRequest:
    devices: bool = True  # imports torch, which takes a few seconds
    display: bool = True  # starts a second process that asks Qt


def examine(request: DoctorRequest, ctx: JobContext) -> Report:
    """The job: the report, section by section. Keys that end in ``_bytes`` are sizes in bytes."""
    ctx.status("Looking at this computer")
    probe = _start_probe() if request.display else None  # runs while torch is imported
    try:
        report: Report = {}
        parts: dict[str, Callable[[], Section]] = {
            "app": _app,
            "system": _system,
            "packages": _packages,
            "paths": _paths,
            "models": _models,
            "network": _network,
            "environment": _environment,
        }
        if request.devices:
            parts["devices"] = _devices
        if request.display:
            parts["display"] = lambda: _display(probe)
        for name, make in parts.items():
            ctx.check()
            try:
                report[name] = make()
            except Exception as error:  # noqa: BLE001 - what is broken belongs into the report
                report[name] = {"error": f"{type(error).__name__}: {error}"}
    finally:
        if probe and probe.poll() is None:
            probe.kill()
            probe.communicate()
    masked: Report = mask(report, Path.home(), _user())
    return masked


def to_text(report: Report) -> str:
    """The report for people: a heading a section, a line a fact."""
    lines = []
    for name, section in report.items():
        lines.append(name)
        width = max((len(_label(key)) for key in section), default=0)
        for key, value in section.items():
            values = value if isinstance(value, list) else [value]
            for number, item in enumerate(values or ["none"]):
                label = _label(key) if number == 0 else ""
                lines.append(f"  {label:<{width}}  {_words(key, item)}".rstrip())
        if not section:
            lines.append("  none")
    return "\n".join(lines) + "\n"


def _label(key: str) -> str:
    return key.removesuffix("_bytes").replace("_", " ")


def _words(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "unknown"
    if key.endswith("_bytes"):
        return format_bytes(value)
    if isinstance(value, Mapping):
        return ", ".join(_label(name) if item is True else _words(name, item) for name, item in value.items() if item)
    return str(value)


def mask(value: Any, home: Path, user: str) -> Any:
    """``value`` with the home folder as ``~`` and the user's name, where it is a part of a path, as ``USER``."""
    if isinstance(value, dict):
        return {mask(key, home, user): mask(item, home, user) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, home, user) for item in value]
    if not isinstance(value, str):
        return value
    for folder in sorted({str(home), str(home.resolve())}, key=len, reverse=True):
        if len(folder) > 1:
            value = re.sub(rf"{re.escape(folder)}(?=$|[\\/\s'\":;,.)])", "~", value)
    return re.sub(rf"(?<=[\\/]){re.escape(user)}(?=$|[\\/])", "USER", value) if user else value


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run as a user that has no name
        return ""


def _app() -> Section:
    resources = resource_root()
    package = Path(__file__).resolve().parent
    if getattr(sys, "frozen", False):
        kind = "frozen build"
    else:
        kind = "checkout" if resources.parent == package.parent else "installed package"
    return {"version": __version__, "installation": kind, "folder": str(package.parent)}


def _system() -> Section:
    import psutil

    memory = psutil.virtual_memory()
    return {
        "system": _system_name(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory.total,
        "memory_free_bytes": memory.available,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "environment": sys.prefix,
        "locale": f"{locale.setlocale(locale.LC_CTYPE) or 'C'}, {sys.getfilesystemencoding()}",
    }


def _system_name() -> str:
    if platform.system() == "Linux":
        try:
            return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}"
        except (OSError, KeyError):
            return f"Linux {platform.release()}"
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return platform.platform()


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", information.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found.group(1)
    return platform.processor()


def _packages() -> Section:
    """Installed versions, read from the metadata: nothing is imported."""
    versions: Section = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _devices() -> Section:
    import torch

    from lmstudio_app import devices

    found = devices.available_devices()
    chosen = devices.resolve_device("auto")
    return {
        "available": [
            {
                "name": device.name,
                "title": device.title,
                "memory_bytes": device.memory,
                "fast_bf16": devices.has_fast_bf16(torch.device(device.name)),
            }
            for device in found
        ],
        "automatic_device": chosen.type,
        "automatic_precision": str(devices.resolve_precision("auto", chosen)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cuda_of_torch": torch.version.cuda or "none",
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _paths() -> Section:
    home = settings.home()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    return {
        "home": str(home),
        "models": str(settings.models_folder()),
        "runs": str(settings.runs_folder()),
        "run_count": len(list(settings.runs_folder().glob("*/recipe.yaml"))),
        "settings": f"{settings.settings_file()} ({_read_settings()[0]})",
        "writable": os.access(existing, os.W_OK),
        "disk_free_bytes": shutil.disk_usage(existing).free,
    }


def _read_settings() -> tuple[str, dict[str, Any]]:
    """State of the settings file, and its values. Unlike :class:`Settings`, this never moves a bad file aside."""
    path = settings.settings_file()
    if not path.is_file():
        return "not written yet", {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version, values = int(data.get("version", 0)), dict(data.get("values", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"unreadable: {type(error).__name__}", {}
    return ("of a newer version" if version > settings.VERSION else f"version {version}"), values


def _models() -> Section:
    """The models on disk. Those of the catalogue by their name, others by their folder's."""
    from lmstudio_app.models.catalog import load_catalog
    from lmstudio_app.models.names import install_folder

    names = {install_folder(name): name for name in load_catalog()}
    found: Section = {}
    for configuration in sorted(settings.models_folder().glob("*/config.json")):
        folder = configuration.parent
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found[names.get(folder, folder.name)] = format_bytes(size)
    return found


def _network() -> Section:
    if settings.offline_by_environment():
        return {"allowed": False, "because": "HF_HUB_OFFLINE is set"}
    if not _read_settings()[1].get("network.allowed", True):
        return {"allowed": False, "because": "the settings forbid it"}
    return {"allowed": True, "because": "nothing forbids it; it is used only for what you ask for"}


def _environment() -> Section:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def _start_probe() -> subprocess.Popen[str] | None:
    """Ask Qt in a process of its own; None where that cannot work."""
    if getattr(sys, "frozen", False) or display.display_problem():
        return None
    return subprocess.Popen(
        [sys.executable, "-m", "lmstudio_app.gui.probe"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=resource_root().parent if resource_root().parent.joinpath("pyproject.toml").is_file() else None,
    )


def _display(probe: subprocess.Popen[str] | None) -> Section:
    """The session, Qt's own words about it, and the system libraries that are missing."""
    session = display.session_type()
    section: Section = {"session": session, "problem": display.display_problem() or "none"}
    if sys.platform.startswith("linux"):
        missing = system_libraries.missing({"base", session if session != "none" else "x11"})
        section["missing_libraries"] = [need.library for need in missing]
    if probe is None:
        if sys.platform.startswith("linux"):
            section["chinese_font"] = system_libraries.has_fonts("zh-cn")
        return section
    try:
        output, complaints = probe.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return {**section, "error": f"Qt did not answer within {PROBE_SECONDS} seconds"}
    try:
        section.update(json.loads(output))
    except ValueError:
        section["error"] = f"Qt could not start (exit code {probe.returncode})"
    if complaints.strip():
        section["qt_says"] = complaints.strip().splitlines()[-6:]
    return section
