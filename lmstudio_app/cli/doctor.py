"""``lmstudio-app doctor``."""

from __future__ import annotations

import argparse
import json
import sys


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="print what a bug report needs",
        description="Print what a bug report needs: versions, devices, display, paths, free disk, models, network. "
        "Nothing is sent anywhere; your home folder and user name are masked.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lmstudio_app.doctor import DoctorRequest, examine, to_text
    from lmstudio_app.jobs import JobContext

    report = examine(DoctorRequest(), JobContext())
    text = json.dumps(report, ensure_ascii=False, indent=2) + "\n" if args.json else to_text(report)
    sys.stdout.write(text)
    return 0
