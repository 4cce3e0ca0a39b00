"""Drive the real window through the main job and save a picture of every step.

    .venv/bin/python packaging/screenshots.py packaging/screenshots
    .venv/bin/python packaging/screenshots.py /tmp/pictures --size 1920x1080 --theme dark
    .venv/bin/python packaging/screenshots.py packaging/screenshots --only playgrounds

Works on any display, and without one (then Qt draws in memory). Settings and runs live in a folder of its own that is
removed afterwards; the starter encoder is taken from your models when it is there, and is fetched otherwise. Look at
the pictures before you commit them.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playground_scenes import play_playgrounds  # noqa: E402 - a module beside this one

from lmstudio_app import display, settings  # noqa: E402 - the checkout that this file is in

MODEL = "starter:encoder"
DATA = "uci-sentiment"
SENTENCE = "The plot is thin, but I loved every minute of it."
REVIEWS = (
    "Warm, funny and beautifully acted.",
    "Two hours I will never get back.",
    "The battery lasts for days.",
    "It stopped working after a week.",
    "A story told a hundred times, and never as well.",
    "The sound is thin and the manual useless.",
    "I would buy it again tomorrow.",
    "Neither the jokes nor the songs are any good.",
)
STRATEGIES = ("frozen_backbone", "lora")  # beside the first training, for a comparison
NEW_MODEL = {"layers": 4, "heads": 4, "hidden_size": 128}
PRETRAINING = {"epochs": 30.0, "batch_size": 32, "learning_rate": 1e-3, "max_length": 64, "evaluate_every": 115}
TRAINING = {"epochs": 3.0, "batch_size": 32, "learning_rate": 1e-4, "max_length": 64, "seed": 42}
LARGEST = 200_000  # bytes of one picture
PATIENCE = 900.0  # seconds for one step


class Stage:
    """The window, a folder for the pictures, and ways to wait without stopping the event loop."""

    def __init__(self, app: Any, window: Any, folder: Path) -> None:
        self.app = app
        self.window = window
        self.folder = folder

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.01)

    def wait_for(self, what: str, condition: Callable[[], Any]) -> None:
        """Raises ``SystemExit`` when ``condition`` stays false, or when the window shows an error."""
        end = time.monotonic() + PATIENCE
        while not condition():
            self.wait(0.05)
            self.fail_on_error(what)
            if time.monotonic() > end:
                self.save("failed")
                raise SystemExit(f"Waited {PATIENCE:.0f} s for: {what}. See {self.folder / 'failed.png'}")
        self.fail_on_error(what)

    def fail_on_error(self, what: str) -> None:
        from lmstudio_app.gui.dialogs import ErrorDialog

        for dialog in self.window.findChildren(ErrorDialog):
            if dialog.isVisible():
                raise SystemExit(f"{what}: {dialog.error.message} {dialog.error.remedy}")

    def wait_until_idle(self) -> None:
        """Nothing runs any more, and what the last job found is drawn."""
        runners = self.window.services.runners()
        self.wait(0.3)
        self.wait_for("the last job", lambda: not any(runner.busy for runner in runners))
        self.wait(0.7)

    def save(self, name: str) -> None:
        self.window.statusBar().clearMessage()
        self.app.processEvents()
        path = self.folder / f"{name}.png"
        path.write_bytes(small_png(self.window.grab().toImage()))
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB", flush=True)


def small_png(image: Any) -> bytes:
    """The picture as PNG below :data:`LARGEST`: as it is if that is small enough, else with a palette."""
    from PIL import Image
    from PySide6.QtGui import QImage

    image = image.convertToFormat(QImage.Format.Format_RGB888)
    size, stride = (image.width(), image.height()), image.bytesPerLine()
    picture = Image.frombytes("RGB", size, bytes(image.constBits()), "raw", "RGB", stride)
    for colours in (None, 256, 128, 64):
        reduced = picture if colours is None else picture.quantize(colours, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        reduced.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    return buffer.getvalue()


def lend_models(models: Path) -> None:
    """Let the folder of this run see the models that are on the computer already."""
    here = settings.models_folder()
    if models != here and models.is_dir():
        here.mkdir(parents=True, exist_ok=True)
        for folder in models.iterdir():
            if (folder / "config.json").is_file():
                (here / folder.name).symlink_to(folder, target_is_directory=True)


def play(stage: Stage) -> None:
    """The main job, as a person would click it, then a model from nothing, then what the history has of both."""
    play_main_job(stage)
    play_pretraining(stage)
    play_history(stage)


SCENES = {"trainings": play, "playgrounds": play_playgrounds}


def play_main_job(stage: Stage) -> None:
    window = stage.window
    stage.wait(1.0)

    window.open_model(MODEL)
    stage.wait_for("the model", lambda: window.model is not None)
    stage.wait_until_idle()
    stage.save("1-model")

    window.open_data(DATA)
    stage.wait_for("the data", lambda: window.data is not None)
    stage.wait_until_idle()
    stage.save("2-data")

    tab = window.show_tab("train")
    stage.wait_until_idle()
    values = tab.panel.values()
    values["training"] |= TRAINING
    values["probe"] |= {"text": SENTENCE}
    tab.panel.restore(values, advanced_open=False)
    result = train(stage, tab, picture="3-training")
    for page, name in enumerate(("4-trained", "5-results")):
        turn_run_view(tab, page)
        stage.wait(0.7)
        stage.save(name)

    tab.try_requested.emit(str(result.model_folder), "sentiment")
    stage.wait_for("the Sentiment page", lambda: window.current_tab == "sentiment")
    sentiment = window.tab("sentiment")
    stage.wait_for("the trained model", lambda: sentiment.one.model is not None)
    for text in ("I hate this movie.", "An excellent phone, I am very happy with it.", SENTENCE):
        sentiment.one.set_text(text)
        stage.wait_until_idle()
    reviews = Path(os.environ[settings.HOME_VARIABLE]) / "reviews.csv"
    rows = [f'{number},"{text}"\n' for number, text in enumerate(REVIEWS, 1)]
    reviews.write_text("number,review\n" + "".join(rows), encoding="utf-8")
    sentiment.open_file(reviews)
    stage.wait_until_idle()
    sentiment.many.classify()
    stage.wait_for("the labels", lambda: sentiment.many.predictions is not None)
    stage.wait_until_idle()
    stage.save("6-sentiment-file")
    sentiment.show_view("one")
    sentiment.one.set_text(SENTENCE)
    stage.wait_for("the words", lambda: sentiment.one.pane.words.saliency is not None)
    stage.wait_until_idle()
    stage.save("6-sentiment")

    sentiment.inspect_requested.emit(SENTENCE)
    attention = window.tab("attention")
    stage.wait_for("the attention", lambda: attention.studio.reading is not None and attention.inside.panel is not None)
    attention.studio.choose_head(5, 3)
    attention.inside.panel.show_view("map")
    stage.wait_until_idle()
    stage.save("7-attention")
    attention.inside.panel.show_view("lines")
    attention.studio.choose_head(2, 0)
    stage.wait_until_idle()
    stage.save("19-attention-lines")
    attention.inside.panel.show_view("formula")
    stage.wait_until_idle()
    stage.save("20-attention-formula")
    attention.inside.panel.show_view("reasons")
    stage.wait(8)
    stage.save("21-attention-reasons")
    attention.compare_run(result.run_folder)
    stage.wait_for("the comparison", lambda: attention.compare is not None and attention.compare.view.isVisible())
    stage.wait(2)
    stage.save("22-attention-difference")
    attention.show_run(result.run_folder)
    stage.wait_for("the replay", lambda: attention.replay is not None and attention.replay.view.isVisible())
    stage.wait(2)
    stage.save("23-attention-replay")


def play_pretraining(stage: Stage) -> None:
    """A new BERT with a vocabulary of its own, and what it fills into the gaps of a sentence."""
    from PySide6.QtWidgets import QScrollArea

    window = stage.window
    data = window.show_tab("data")
    data.set_task("bert_pretraining")
    stage.wait_until_idle()
    stage.wait_for("the text", lambda: window.data is not None and window.data.task == "bert_pretraining")
    tab = window.show_tab("train")
    panel = tab.panel
    values = panel.values()
    values["training"] |= PRETRAINING
    panel.restore(values | {"start": "new", "architecture": NEW_MODEL}, advanced_open=False)
    stage.wait_until_idle()
    panel.new_model.trial.button.click()
    stage.wait_until_idle()
    stage.save("8-new-model")
    panel.findChild(QScrollArea).ensureWidgetVisible(panel.plan, 0, 40)
    stage.wait(0.3)
    stage.save("9-layer-plan")
    result = train(stage, tab, picture="10-pretraining")
    before = window.model
    tab.try_requested.emit(str(result.model_folder), "fill_mask")
    stage.wait_for("the new model", lambda: window.model is not before and window.current_tab == "try")
    stage.wait_until_idle()
    window.tab("try").question.samples[0].click()
    stage.wait_until_idle()
    stage.save("11-fill-masks")


def play_history(stage: Stage) -> None:
    """Trainings that differ in their strategy, in the table and over each other."""
    window = stage.window
    window.open_model(MODEL)
    stage.wait_until_idle()
    window.show_tab("data").set_task("sentiment")
    stage.wait_until_idle()
    window.open_data(DATA)
    stage.wait_until_idle()
    tab = window.show_tab("train")
    for name in STRATEGIES:
        values = tab.panel.values()
        values["strategy"]["name"] = name
        tab.panel.restore(values, advanced_open=False)
        stage.wait_until_idle()
        train(stage, tab)
    history = window.show_tab("runs").history
    stage.wait_for("the runs", lambda: len(history.runs) == 2 + len(STRATEGIES))
    runs = [run.folder for run in history.runs if run.task == "sentiment"]
    history.select(runs[:1])
    stage.wait_until_idle()
    stage.save("12-history")
    history.select(runs)
    stage.wait_until_idle()
    stage.save("13-overlay")


def train(stage: Stage, tab: Any, *, picture: str = "") -> Any:
    """Start what the form says and wait for its end; a ``picture`` is taken half-way. Returns the result."""
    results: list[Any] = []
    tab.run_finished.connect(results.append)
    handle = tab.start()
    if picture:
        reached: list[float] = []
        handle.event.connect(lambda events: reached.extend(share_done(event) for event in events))
        stage.wait_for("half of the training", lambda: max(reached, default=0.0) > 0.5)
        stage.wait(4.0)  # every chart has been drawn since
        stage.save(picture)
    stage.wait_for("the training", lambda: results)
    stage.wait_until_idle()
    tab.run_finished.disconnect(results.append)
    return results[0]


def share_done(event: Any) -> float:
    total = getattr(event, "total_steps", 0)
    return event.step / total if total else 0.0


def turn_run_view(tab: Any, page: int) -> None:
    """Curves (0), or confusion matrix and worst examples (1)."""
    from PySide6.QtWidgets import QTabBar

    (bar,) = tab.view.findChildren(QTabBar)
    bar.setCurrentIndex(page)


def read_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError("write the size as 1280x800")
    return int(width), int(height)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="OUT_DIR")
    parser.add_argument("--size", type=read_size, default=(1280, 800), metavar="WIDTHxHEIGHT")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--language", choices=("en",), default="en", help="numbers and dates, too")
    parser.add_argument("--only", choices=tuple(SCENES), help="only these pictures")
    options = parser.parse_args()
    if display.display_problem():
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    models = settings.models_folder()

    from PySide6.QtCore import QLocale, qInstallMessageHandler
    from PySide6.QtWidgets import QApplication

    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lmstudio-app-", ignore_cleanup_errors=True) as home:
        os.environ[settings.HOME_VARIABLE] = home
        lend_models(models)
        QLocale.setDefault(QLocale(options.language))
        # Qt's drawing in memory does not do what a window manager asks, and says so at every dialog
        qInstallMessageHandler(lambda kind, context, text: None if "propagateSizeHints" in text else print(text))
        app = QApplication(["lmstudio-app"])
        app.setApplicationName("lmstudio-app")
        chosen = settings.Settings()
        chosen.set("window.theme", options.theme)

        from lmstudio_app.gui.main_window import MainWindow

        window = MainWindow()
        window.resize(*options.size)
        window.show()
        stage = Stage(app, window, options.folder)
        try:
            for name, scene in SCENES.items():
                if options.only in (None, name):
                    scene(stage)
        finally:
            for runner in window.services.runners():
                runner.cancel_all()
            stage.wait(0.2)
            window.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
