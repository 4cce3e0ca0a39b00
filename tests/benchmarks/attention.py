"""From Enter to pixels in the Attention page, beside BertViz: how long, how much memory, how large the files.

    pip install bertviz==1.4.1 ipython        # beside the app; the app itself never needs them
    xvfb-run -a python tests/benchmarks/attention.py [--lengths 32 128 500] [--repeats 5] [--json]

With no display, set ``QT_QPA_PLATFORM=offscreen``: the widgets are drawn by the same code. Each part runs in a process
of its own, one after another, in this one run:

- the app: the real page with the starter encoder (MiniLM-L6), typed into and sent off with Enter, until all thumbnails
  and the map of the chosen head have been painted and nothing is painted any more; then another head; then its page as
  HTML, and the pictures
- BertViz: ``model_view`` of the same texts and weights, as a string of HTML, without the browser that has to show it
- a head of 4,096 × 4,096 weights, moved and zoomed for two seconds, a painted frame at a time
- 4,096 tokens in the 135M chat model: the weights of its last layer, for which all layers before it have to run

Memory is the highest resident size during the work, less the size before it, with the model in memory both times. The
exit code is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

ENCODER, DECODER = "starter:encoder", "starter:chat"
LONG = 4096
TICK = 2  # milliseconds after which the waiting looks again
QUIET = 0.15  # seconds without a painted frame after which the page has come to rest
# (limit, sense); {tokens} as in --lengths
TARGETS = {
    "Enter to pixels, 500 tokens, s": (0.5, "<="),
    "memory, 500 tokens, MB": (100.0, "<="),
    "Enter to pixels, 128 tokens, s": (0.15, "<="),
    "another head, ms": (16.0, "<="),
    "move, 4096 tokens, frames/s": (30.0, ">="),
    "zoom, 4096 tokens, frames/s": (30.0, ">="),
    "decoder layer, 4096 tokens, s": (10.0, "<="),
    "decoder layer, 4096 tokens, MB": (400.0, "<="),
    "page of 500 tokens, MB": (100.0, "<="),
}


class Memory:
    """The highest resident size since it was made, less the size then, as the kernel counts it.

    On a system that does not, the size at the end counts.
    """

    def __init__(self) -> None:
        import gc

        gc.collect()
        self._can_reset = False
        try:
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
            self._can_reset = True
        except OSError:
            print("no peak of memory on this system: sizes at the end are given", file=sys.stderr)
        self._before = self._now("VmRSS")

    @staticmethod
    def _now(name: str) -> float:
        import psutil

        if name == "VmRSS" or not Path("/proc/self/status").exists():
            return psutil.Process().memory_info().rss / 1e6
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")) / 1e6

    def megabytes(self) -> float:
        return self._now("VmHWM" if self._can_reset else "VmRSS") - self._before


def load(reference: str) -> Any:
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.loading import LoadRequest, load_model

    return load_model(LoadRequest(reference, device="cpu", precision="float32"), JobContext())


def text_of(tokenizer: Any, tokens: int) -> str:
    """Real English of exactly so many tokens, special ones included."""
    files = sorted((ROOT / "resources" / "handbook" / "en").glob("*.md"))
    words = " ".join(file.read_text("utf-8") for file in files).split()[:tokens]
    few, many = 1, len(words)
    while few < many:
        middle = (few + many + 1) // 2
        if len(tokenizer(" ".join(words[:middle]))["input_ids"]) <= tokens:
            few = middle
        else:
            many = middle - 1
    text = " ".join(words[:few])
    while len(tokenizer(text)["input_ids"]) < tokens:
        text += " a"
    return text


# --- the app


class Page:
    """The real page in a window of its own, and when it was painted."""

    def __init__(self, loaded: Any) -> None:
        from PySide6.QtCore import QEvent, QObject, QTimer
        from PySide6.QtWidgets import QApplication, QLineEdit, QSpinBox

        from lmstudio_app.gui.services import make_services
        from lmstudio_app.gui.tabs.attention import AttentionTab
        from lmstudio_app.settings import Settings

        self.application = QApplication.instance() or QApplication([])
        self._tick = QTimer(interval=TICK)  # so that there is always something to wait for
        self._tick.start()
        self.services = make_services(Settings())
        self.tab = AttentionTab(self.services)
        self.tab.resize(1280, 800)
        self.tab.show()
        self.tab.set_model(loaded)
        page = self

        class Watch(QObject):
            def eventFilter(self, watched: QObject, event: QEvent) -> bool:
                if event.type() == QEvent.Type.Paint and watched in page.watched:
                    page.painted.add(watched)
                return False

        self.watched: list[Any] = []
        self.painted: set[Any] = set()
        self._watch = Watch()
        self.wait(lambda: self.tab.isVisible() and not self.is_busy())
        fields = [field for field in self.tab.findChildren(QLineEdit) if field.isVisible() and field.isEnabled()]
        self.field = next(field for field in fields if not isinstance(field.parent(), QSpinBox))

    def is_busy(self) -> bool:
        return any(runner.busy for runner in self.services.runners())

    def process(self) -> None:
        """As the window's own loop does: asleep until something happens, so that the model has the machine."""
        from PySide6.QtCore import QEventLoop

        self.application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.perf_counter() + seconds
        while not condition():
            self.process()
            if time.perf_counter() > end:
                raise TimeoutError("the page did not come to rest")

    def until_painted(self, act: Callable[[], None], *names: str) -> float:
        """Seconds from ``act`` to the last painting of all these widgets, after which nothing more is painted."""
        for widget in self.watched:
            widget.removeEventFilter(self._watch)
        self.watched = [self.widget(name) for name in names if self.has(name)]
        for widget in self.watched:
            widget.installEventFilter(self._watch)
        came: set[Any] = set()
        begun = last = time.perf_counter()
        act()
        while True:
            self.painted.clear()
            self.process()
            now = time.perf_counter()
            if self.painted:
                came |= self.painted
                last = now
            if not self.watched and all(self.has(name) for name in names):
                self.watched = [self.widget(name) for name in names]
                for widget in self.watched:
                    widget.installEventFilter(self._watch)
                    widget.update()
            rests = not self.is_busy() and now - last > QUIET
            if rests and self.watched and came >= set(self.watched):
                return last - begun
            if now - begun > 60:
                raise TimeoutError(f"painted only {[type(widget).__name__ for widget in came]}")

    def has(self, name: str) -> bool:
        return self._found(name) is not None

    def _found(self, name: str) -> Any:
        from lmstudio_app.gui.attention.heatmap import Heatmap
        from lmstudio_app.gui.attention.thumbnail_grid import ThumbnailGrid

        kind = {"grid": ThumbnailGrid, "map": Heatmap}[name]
        found = next((widget for widget in self.tab.findChildren(kind) if widget.isVisible()), None)
        return found.view.viewport() if found is not None and name == "map" else found

    def widget(self, name: str) -> Any:
        found = self._found(name)
        assert found is not None, f"the page has no {name}"
        return found

    def close(self) -> None:
        self.tab.shutdown()
        self.tab.close()
        for runner in self.services.runners():
            runner.shutdown(5.0)


def measure_app(options: argparse.Namespace) -> dict[str, float]:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    from lmstudio_app.gui.attention.studio import AttentionStudio

    loaded = load(ENCODER)
    page = Page(loaded)
    results: dict[str, float] = {}

    def send(text: str) -> float:
        page.field.setText(text)
        return page.until_painted(lambda: QTest.keyClick(page.field, Qt.Key.Key_Return), "grid", "map")

    send(text_of(loaded.tokenizer, 16))  # whatever is imported and built at the first time
    studio = page.tab.findChild(AttentionStudio)
    for tokens in options.lengths:
        text = text_of(loaded.tokenizer, tokens)
        times, sizes = [], []
        for _ in range(options.repeats):
            send(text_of(loaded.tokenizer, 16))  # so that each time the texts before are as short
            memory = Memory()
            times.append(send(text))
            sizes.append(memory.megabytes())
        assert len(studio.reading.queries) == tokens, len(studio.reading.queries)
        results[f"Enter to pixels, {tokens} tokens, s"] = statistics.median(times)
        results[f"memory, {tokens} tokens, MB"] = statistics.median(sizes)
        results[f"memory, {tokens} tokens, the most, MB"] = max(sizes)  # with what is made once, at the first long text
        results |= measure_page(studio.reading, tokens)
    heads = [(layer, head) for layer in studio.reading.layers for head in (1, 5)]
    times = [page.until_painted(lambda chosen=chosen: studio.choose_head(*chosen), "map") for chosen in heads]
    results["another head, ms"] = 1000 * statistics.median(times)
    results["another head, slowest, ms"] = 1000 * max(times)
    page.close()
    return results


def measure_page(reading: Any, tokens: int) -> dict[str, float]:
    from lmstudio_app.inspection.arrangement import Arrangement
    from lmstudio_app.inspection.drawing import PictureStyle
    from lmstudio_app.inspection.export import SaveJob, run_save_job
    from lmstudio_app.jobs import JobContext

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for form in ("html", "png", "svg", "pdf"):
            output = Path(folder) / f"a.{form}"
            job = SaveJob(reading, "grid", 0, 0, output, PictureStyle(), Arrangement())
            run_save_job(job, JobContext())  # the imports
            begun = time.perf_counter()
            run_save_job(job, JobContext())
            what = "page" if form == "html" else form.upper()
            results[f"{what} of {tokens} tokens, s"] = time.perf_counter() - begun
            results[f"{what} of {tokens} tokens, MB"] = output.stat().st_size / 1e6
    return results


# --- BertViz


def measure_bertviz(options: argparse.Namespace) -> dict[str, float]:
    import torch
    from bertviz import model_view

    loaded = load(ENCODER)
    loaded.model.set_attn_implementation("eager")
    results: dict[str, float] = {}

    def view(text: str) -> int:
        inputs = loaded.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            attentions = loaded.model(**inputs, output_attentions=True).attentions
        tokens = loaded.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
        return len(model_view(attentions, tokens, html_action="return").data)

    view("a first time")
    for tokens in options.lengths:
        text = text_of(loaded.tokenizer, tokens)
        memory = Memory()
        begun = time.perf_counter()
        size = view(text)
        results[f"BertViz, {tokens} tokens, s"] = time.perf_counter() - begun
        results[f"BertViz, memory, {tokens} tokens, MB"] = memory.megabytes()
        results[f"BertViz, HTML, {tokens} tokens, MB"] = size / 1e6
    return results


# --- a large head


def measure_large_head(options: argparse.Namespace) -> dict[str, float]:
    import numpy as np
    from PySide6.QtCore import QPoint, QPointF, Qt
    from PySide6.QtGui import QWheelEvent
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    from lmstudio_app.gui.attention.heatmap import Heatmap
    from lmstudio_app.inspection.colormaps import colormap

    application = QApplication.instance() or QApplication([])
    weights = np.random.default_rng(0).random((LONG, LONG), dtype=np.float32)
    heatmap = Heatmap()
    heatmap.resize(800, 760)
    names = [f"token{index}" for index in range(LONG)]
    heatmap.set_tokens(names, names)
    heatmap.set_weights(weights, colormap("ink"))
    heatmap.show()
    QTest.qWaitForWindowExposed(heatmap)
    viewport = heatmap.view.viewport()
    middle = QPointF(viewport.rect().center())

    def frames(act: Callable[[int], None]) -> float:
        """Painted frames a second; everything is painted after every step."""
        begun = time.perf_counter()
        number = 0
        while time.perf_counter() - begun < 2.0:
            act(number)
            heatmap.repaint()
            viewport.repaint()
            application.processEvents()
            number += 1
        return number / (time.perf_counter() - begun)

    def zoom(number: int) -> None:
        turn = 120 if number % 60 < 30 else -120
        none, button, modifier = QPoint(), Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
        place = viewport.mapToGlobal(middle.toPoint())
        wheel = QWheelEvent(
            middle, QPointF(place), none, QPoint(0, turn), button, modifier, Qt.ScrollPhase.NoScrollPhase, False
        )
        application.sendEvent(viewport, wheel)

    def move(number: int) -> None:
        where = middle.toPoint() + QPoint(round(60 * np.sin(number / 9)), round(60 * np.cos(number / 9)))
        QTest.mouseMove(viewport, where)

    results = {"zoom, 4096 tokens, frames/s": frames(zoom)}
    heatmap.show_all()
    for _ in range(6):  # a stretch of the map, so that there is something to move
        zoom(0)
    before = heatmap.visible_range()
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle.toPoint())
    results["move, 4096 tokens, frames/s"] = frames(move)
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle.toPoint())
    moved = heatmap.visible_range() != before
    heatmap.shutdown()
    heatmap.close()
    if not moved:
        raise RuntimeError("dragging moved nothing, so its frames mean nothing")
    return results


# --- a long text


def measure_decoder(options: argparse.Namespace) -> dict[str, float]:
    from lmstudio_app.inspection.attention import AttentionRequest, read_attention
    from lmstudio_app.jobs import JobContext

    loaded = load(DECODER)
    last = int(loaded.model.config.num_hidden_layers) - 1
    text = text_of(loaded.tokenizer, LONG)
    read_attention(loaded, AttentionRequest("a first time"), JobContext())
    memory = Memory()
    begun = time.perf_counter()
    maps = read_attention(loaded, AttentionRequest(text, layers=(last,)), JobContext())
    seconds = time.perf_counter() - begun
    megabytes = memory.megabytes()
    assert len(maps.queries) == LONG
    return {
        "decoder layer, 4096 tokens, s": seconds,
        "decoder layer, 4096 tokens, MB": megabytes,
        "of these the weights themselves, MB": sum(item.weights.nbytes for item in maps.maps) / 1e6,
    }


PARTS = {
    "app": measure_app,
    "bertviz": measure_bertviz,
    "large head": measure_large_head,
    "decoder": measure_decoder,
}


def run_part(name: str, options: argparse.Namespace) -> dict[str, float]:
    """In a process of its own, with a home of its own that borrows the models."""
    with tempfile.TemporaryDirectory() as folder:
        home, models = Path(folder), options.models
        (home / "models").symlink_to(models, target_is_directory=True)
        command = [sys.executable, __file__, "--part", name, "--repeats", str(options.repeats)]
        output = subprocess.run(
            [*command, "--lengths", *map(str, options.lengths)],
            env={**os.environ, "LMSTUDIO_APP_HOME": str(home)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    found: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return found


def report(results: dict[str, float], lengths: list[int]) -> bool:
    """Print everything, the ratios to BertViz, and what is missed. True when nothing is."""
    missed = []
    for name, value in results.items():
        limit, sense = TARGETS.get(name, (None, ""))
        verdict = ""
        if limit is not None:
            holds = value <= limit if sense == "<=" else value >= limit
            verdict = f"   {sense} {limit:g}: {'yes' if holds else 'MISSED'}"
            missed += [] if holds else [name]
        print(f"{name:44}{value:12.3f}{verdict}")
    for tokens in lengths:
        theirs = results.get(f"BertViz, {tokens} tokens, s")
        if theirs is None or f"Enter to pixels, {tokens} tokens, s" not in results:
            continue
        time_ratio = theirs / results[f"Enter to pixels, {tokens} tokens, s"]
        size_ratio = results[f"BertViz, HTML, {tokens} tokens, MB"] / results[f"page of {tokens} tokens, MB"]
        print(f"{tokens} tokens: {time_ratio:.0f} times as fast as BertViz, a page of 1/{size_ratio:.0f} of the size")
    print("missed: " + ", ".join(missed) if missed else "every target is met")
    return not missed


def main() -> int:
    from lmstudio_app import settings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128, 500], help="tokens of the texts")
    parser.add_argument("--repeats", type=int, default=5, help="of Enter to pixels; the median counts")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="not all of it")
    parser.add_argument("--models", type=Path, default=settings.models_folder(), help="folder of the starter models")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON, too")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options)))
        return 0
    parts = [name for name in PARTS if name in options.only]
    if "bertviz" in parts:
        try:
            print(f"BertViz {importlib.metadata.version('bertviz')}")
        except importlib.metadata.PackageNotFoundError:
            print("BertViz is not installed: nothing to compare with (pip install bertviz ipython)")
            parts.remove("bertviz")
    results: dict[str, float] = {}
    for name in parts:
        begun = time.perf_counter()
        results |= run_part(name, options)
        print(f"{name}: done in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    good = report(results, options.lengths)
    if options.json:
        print(json.dumps(results))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
