"""The front door: ``lmstudio-app`` opens the window, ``lmstudio-app COMMAND`` runs without one."""

from __future__ import annotations

import sys


def main() -> int:
    if len(sys.argv) > 1:
        try:
            from lmstudio_app.cli import main as run_command

            return run_command(sys.argv[1:])
        except KeyboardInterrupt:  # Ctrl+C while the command is still being imported
            sys.stderr.write("interrupted\n")
            return 130
    from lmstudio_app.gui.app import main as open_window

    return open_window()


if __name__ == "__main__":
    sys.exit(main())
