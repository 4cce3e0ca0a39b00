"""Qt's system libraries on Linux: which of them are missing, and which package of the distribution has them.

Qt's wheels bring Qt itself; the libraries of the display, the fonts and the desktop come from the system.
Whether one is there is asked of the same loader that Qt will use, so the answer holds on every distribution.
Standard library only: ``packaging/bootstrap.py`` asks, too, before anything is installed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Need:
    """One thing Qt needs from the system, and the package it is in.

    ``debian`` lists the names in order of preference: newer releases renamed a few. ``group`` is ``base``
    (any Qt program), ``x11`` or ``wayland`` (a window on such a display), ``fonts`` (text looks right) or
    ``tests`` (a private X server). ``library`` is the name the loader knows; what is no library is asked for
    with ``present``.
    """

    group: str
    debian: tuple[str, ...]
    fedora: str
    arch: str
    library: str = ""
    present: Callable[[], bool] | None = None

    def is_present(self) -> bool:
        return self.present() if self.present else can_load(self.library)


def can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_fonts(language: str = "") -> bool:
    """Does fontconfig know a font (that covers ``language``, for example ``zh``)?"""
    try:
        fontconfig = ctypes.CDLL("libfontconfig.so.1")
    except OSError:
        return False
    for function in ("FcNameParse", "FcObjectSetCreate", "FcFontList"):
        getattr(fontconfig, function).restype = ctypes.c_void_p
    if not fontconfig.FcInit():
        return False
    pattern = ctypes.c_void_p(fontconfig.FcNameParse(f":lang={language}".encode() if language else b""))
    objects = ctypes.c_void_p(fontconfig.FcObjectSetCreate())
    fonts = ctypes.c_void_p(fontconfig.FcFontList(None, pattern, objects))
    try:
        return bool(fonts) and ctypes.cast(fonts, ctypes.POINTER(ctypes.c_int))[0] > 0  # FcFontSet.nfont
    finally:
        fontconfig.FcFontSetDestroy(fonts)
        fontconfig.FcObjectSetDestroy(objects)
        fontconfig.FcPatternDestroy(pattern)


def _has_any_font() -> bool:
    return has_fonts()


def _has_chinese_font() -> bool:
    return has_fonts("zh-cn")


def _has_xvfb() -> bool:
    return shutil.which("Xvfb") is not None


NEEDS = (
    Need("base", ("libgl1",), "libglvnd-glx", "libglvnd", "libGL.so.1"),
    Need("base", ("libegl1",), "libglvnd-egl", "libglvnd", "libEGL.so.1"),
    Need("base", ("libxkbcommon0",), "libxkbcommon", "libxkbcommon", "libxkbcommon.so.0"),
    Need("base", ("libdbus-1-3",), "dbus-libs", "dbus", "libdbus-1.so.3"),
    Need("base", ("libfontconfig1",), "fontconfig", "fontconfig", "libfontconfig.so.1"),
    Need("base", ("libfreetype6",), "freetype", "freetype2", "libfreetype.so.6"),
    Need("base", ("libglib2.0-0t64", "libglib2.0-0"), "glib2", "glib2", "libgthread-2.0.so.0"),
    Need("x11", ("libx11-6",), "libX11", "libx11", "libX11.so.6"),
    Need("x11", ("libx11-xcb1",), "libX11-xcb", "libx11", "libX11-xcb.so.1"),
    Need("x11", ("libxkbcommon-x11-0",), "libxkbcommon-x11", "libxkbcommon-x11", "libxkbcommon-x11.so.0"),
    Need("x11", ("libxcb-cursor0",), "xcb-util-cursor", "xcb-util-cursor", "libxcb-cursor.so.0"),
    Need("x11", ("libxcb-glx0",), "libxcb", "libxcb", "libxcb-glx.so.0"),
    Need("x11", ("libxcb-icccm4",), "xcb-util-wm", "xcb-util-wm", "libxcb-icccm.so.4"),
    Need("x11", ("libxcb-image0",), "xcb-util-image", "xcb-util-image", "libxcb-image.so.0"),
    Need("x11", ("libxcb-keysyms1",), "xcb-util-keysyms", "xcb-util-keysyms", "libxcb-keysyms.so.1"),
    Need("x11", ("libxcb-randr0",), "libxcb", "libxcb", "libxcb-randr.so.0"),
    Need("x11", ("libxcb-render0",), "libxcb", "libxcb", "libxcb-render.so.0"),
    Need(
        "x11",
        ("libxcb-render-util0",),
        "xcb-util-renderutil",
        "xcb-util-renderutil",
        "libxcb-render-util.so.0",
    ),
    Need("x11", ("libxcb-shape0",), "libxcb", "libxcb", "libxcb-shape.so.0"),
    Need("x11", ("libxcb-shm0",), "libxcb", "libxcb", "libxcb-shm.so.0"),
    Need("x11", ("libxcb-sync1",), "libxcb", "libxcb", "libxcb-sync.so.1"),
    Need("x11", ("libxcb-util1",), "xcb-util", "xcb-util", "libxcb-util.so.1"),
    Need("x11", ("libxcb-xfixes0",), "libxcb", "libxcb", "libxcb-xfixes.so.0"),
    Need("x11", ("libxcb-xkb1",), "libxcb", "libxcb", "libxcb-xkb.so.1"),
    Need("wayland", ("libwayland-client0",), "libwayland-client", "wayland", "libwayland-client.so.0"),
    Need("wayland", ("libwayland-cursor0",), "libwayland-cursor", "wayland", "libwayland-cursor.so.0"),
    Need("fonts", ("fonts-dejavu-core",), "dejavu-sans-fonts", "ttf-dejavu", present=_has_any_font),
    Need(
        "fonts",
        ("fonts-noto-cjk",),
        "google-noto-sans-cjk-fonts",
        "noto-fonts-cjk",
        present=_has_chinese_font,
    ),
    Need("tests", ("xvfb",), "xorg-x11-server-Xvfb", "xorg-server-xvfb", present=_has_xvfb),
)


def missing(groups: Iterable[str]) -> list[Need]:
    wanted = set(groups)
    return [need for need in NEEDS if need.group in wanted and not need.is_present()]


def family(os_release: str | None = None) -> str:
    """``debian``, ``fedora``, ``arch`` or ``""``, from the text of ``/etc/os-release``."""
    if os_release is None:
        path = Path("/etc/os-release")
        os_release = path.read_text(encoding="utf-8") if path.is_file() else ""
    words: set[str] = set()
    for line in os_release.splitlines():
        key, _, value = line.partition("=")
        if key in ("ID", "ID_LIKE"):
            words |= set(value.strip().strip("\"'").split())
    for name, relatives in (
        ("debian", {"debian", "ubuntu"}),
        ("fedora", {"fedora", "rhel", "centos"}),
        ("arch", {"arch", "archlinux"}),
    ):
        if words & relatives:
            return name
    return ""


def apt_knows(package: str) -> bool:
    """Is ``package`` in the package lists of this machine?"""
    answer = subprocess.run(
        ["apt-cache", "show", "--quiet", package],
        capture_output=True,
        text=True,
        check=False,
        env=plain_environment(),
    )
    return answer.returncode == 0 and f"Package: {package}" in answer.stdout


def packages(needs: Iterable[Need], system: str, knows: Callable[[str], bool] = apt_knows) -> list[str]:
    """The names of the packages that have ``needs``, sorted, each once."""
    if system == "debian":
        names = {
            next((name for name in need.debian if len(need.debian) > 1 and knows(name)), need.debian[-1])
            for need in needs
        }
    else:
        names = {getattr(need, system) if system else need.library or need.debian[0] for need in needs}
    return sorted(names)


def install_command(names: Sequence[str], system: str) -> str:
    """What a person types to install ``names``; empty where the package manager is not known."""
    start = {
        "debian": "sudo apt-get update && sudo apt-get install --no-install-recommends",
        "fedora": "sudo dnf install",
        "arch": "sudo pacman -S --needed",
    }.get(system, "")
    return f"{start} {' '.join(names)}" if start else ""


def plain_environment() -> dict[str, str]:
    """For programs whose words are read or that must not ask."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
