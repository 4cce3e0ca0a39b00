"""What Qt finds on this system, as one line of JSON: ``python -m lmstudio_app.gui.probe``.

Run in a process of its own, because Qt ends the process when it finds no display.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from PySide6.QtCore import qVersion
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QApplication


def probe(app: QApplication) -> dict[str, Any]:
    font = app.font()
    return {
        "qt": qVersion(),
        "platform_plugin": app.platformName(),
        "style": app.style().name(),
        "color_scheme": app.styleHints().colorScheme().name.lower(),
        "font": f"{font.family()} {font.pointSizeF():g} pt",
        "chinese_fonts": sorted(QFontDatabase.families(QFontDatabase.WritingSystem.SimplifiedChinese))[:4],
        "screens": [
            f"{screen.size().width()}x{screen.size().height()} at {screen.devicePixelRatio():g}x, "
            f"{screen.refreshRate():.0f} Hz"
            for screen in app.screens()
        ],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(QApplication(["lmstudio-app"]))) + "\n")
