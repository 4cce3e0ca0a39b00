"""Is there a display for a window? Asked before Qt is, because Qt ends the whole process when there is none.

Standard library only: ``packaging/bootstrap.py`` asks, too, before anything is installed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

from lmstudio_app import system_libraries


def session_type(environment: Mapping[str, str] = os.environ) -> str:
    """``wayland``, ``x11``, ``windows``, ``macos``, or ``none`` where a Linux session has no display."""
    if sys.platform == "win32":
        return "windows"
    if sys.platform == "darwin":
        return "macos"
    if environment.get("WAYLAND_DISPLAY"):
        return "wayland"
    return "x11" if environment.get("DISPLAY") else "none"


def display_problem(environment: Mapping[str, str] = os.environ) -> str:
    """Why no window can open, as one sentence; empty when one can.

    A platform chosen by ``QT_QPA_PLATFORM`` (``offscreen``, ``vnc``) needs no display of the session.
    """
    chosen = environment.get("QT_QPA_PLATFORM", "").split(";")[0].split(":")[0]
    if chosen not in ("", "xcb", "wayland"):
        return ""
    session = session_type(environment)
    if session == "none":
        return "There is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)."
    if session == "x11" and not x_server_answers(environment["DISPLAY"]):
        return f"The display {environment['DISPLAY']} does not answer."
    return ""


def missing_library_problem(environment: Mapping[str, str] = os.environ) -> str:
    """Which of Qt's system libraries are missing, and the command that installs them; empty when none is.

    Qt itself ends the process then, with a message that names no package.
    """
    if not sys.platform.startswith("linux"):
        return ""
    groups = ["base"]
    if not environment.get("QT_QPA_PLATFORM"):
        groups.append(session_type(environment))
    needs = system_libraries.missing(groups)
    if not needs:
        return ""
    system = system_libraries.family()
    names = system_libraries.packages(needs, system)
    command = system_libraries.install_command(names, system)
    return f"Qt's system libraries are missing; install them: {command or ' '.join(names)}"


def x_server_answers(display: str) -> bool:
    """Connect to the X server with libxcb, as Qt will (with the session's own authority file).

    True as well when libxcb is missing: that is another problem, which Qt names better.
    """
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return True
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(display.encode(), None))
    try:
        return not xcb.xcb_connection_has_error(connection)
    finally:
        xcb.xcb_disconnect(connection)
