"""Each test starts a Python of its own: what is imported once cannot be imported again."""

import subprocess
import sys

LIGHT = """
import sys
import lmstudio_app.models.catalog, lmstudio_app.models.references, lmstudio_app.models.card
import lmstudio_app.models.loading, lmstudio_app.models.sources, lmstudio_app.models.saving
heavy = {"torch", "transformers", "huggingface_hub", "numpy", "PySide6", "httpx2"} & set(sys.modules)
assert not heavy, heavy
"""

PAUSES = """
import gc, threading, time
from lmstudio_app.models.preloading import preload_libraries

pauses, stop = [], threading.Event()

def watch():
    last = time.perf_counter()
    while not stop.is_set():
        time.sleep(0.001)
        now = time.perf_counter()
        pauses.append(now - last)
        last = now

thread = threading.Thread(target=watch)
thread.start()
preload_libraries()
stop.set()
thread.join()
import sys
assert "torch" in sys.modules and "transformers.modeling_utils" in sys.modules
assert gc.isenabled() and gc.get_freeze_count() > 100_000
start = time.perf_counter()
preload_libraries()
assert time.perf_counter() - start < 0.001
print(max(pauses))
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_model_room_imports_nothing_heavy() -> None:
    assert run(LIGHT) == ""


def test_importing_torch_does_not_hold_up_another_thread() -> None:
    # measured alone: 30 ms, against 180 ms of plain imports; the bound leaves room for a busy machine
    assert float(run(PAUSES)) < 0.15
