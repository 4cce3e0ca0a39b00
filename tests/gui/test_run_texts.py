"""What runs, models and data are called, wherever they are shown."""

from __future__ import annotations

import time
from pathlib import Path

from lmstudio_app.gui.run_texts import data_name, dated_title, matching_runs, model_name, run_title, value_text
from lmstudio_app.training.runs import RunSummary


def make_run(**changes: object) -> RunSummary:
    values = {
        "name": "20260101-120000-sentiment-starter-encoder",
        "folder": Path("runs/20260101-120000-sentiment-starter-encoder"),
        "task": "sentiment",
        "model": "starter:encoder",
        "data": "uci-sentiment",
        "state": "finished",
        "started": time.time(),
    }
    return RunSummary(**{**values, **changes})  # type: ignore[arg-type]


def test_a_run_is_called_by_its_title_or_by_what_it_made() -> None:
    run = make_run()
    assert run_title(run) == "MiniLM-L6 encoder · Sentiment"
    assert dated_title(run).startswith("MiniLM-L6 encoder · Sentiment, today ")
    assert run_title(make_run(title="the good one")) == dated_title(make_run(title="the good one")) == "the good one"
    new = make_run(task="bert_pretraining", model="New BERT, 4 layers")
    assert run_title(new) == "New BERT, 4 layers · BERT pretraining"


def test_models_and_data_have_the_names_of_their_pages() -> None:
    assert data_name(make_run()) == "Sentiment sentences"
    assert data_name(make_run(data="/home/a/de.txt, /home/a/en.txt")) == "de.txt, en.txt"
    assert model_name(make_run(model="/runs/my-first-run/final")) == "my-first-run"
    assert model_name(make_run(model="/models/tiny")) == "tiny"


def test_runs_are_found_by_what_is_shown_and_by_what_is_not() -> None:
    first, second = make_run(), make_run(task="chat", model="tiny", data="handbook-chat", notes="slower")
    runs = [first, second]
    assert matching_runs(runs, "MINILM sentences") == [first]
    assert matching_runs(runs, "starter:encoder") == [first]
    assert matching_runs(runs, "chat slower") == [second]
    assert matching_runs(runs, "minilm slower") == []


def test_choices_are_called_as_in_the_form() -> None:
    assert value_text("layer_by_layer", "strategy.name") == "Layer by layer"
    assert value_text("all", "options.train_on") == "Everything"
    assert value_text("layer_by_layer") == "layer_by_layer"
    assert value_text(1e-4, "training.learning_rate") == "1e-4"
