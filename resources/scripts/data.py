"""Reads the files beside the script."""

import argparse
import json
from pathlib import Path

# --- script
HERE = Path(__file__).resolve().parent
parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, help="stop after so many optimizer steps")
arguments = parser.parse_args()


def read(name):
    """The rows of a file, one JSON object a line."""
    with open(HERE / name, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
