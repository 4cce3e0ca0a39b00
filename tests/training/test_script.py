"""The script of a training trains as the app does: the same losses, the same weights."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Evaluated, StepLogged
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.tasks import TASKS
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.script import ScriptRequest, export_script, script_text
from lmstudio_app.training.script_values import TASKS_WITH_SCRIPTS
from tests.conftest import build_tiny_bert
from tests.tasks.pretraining import write_documents
from tests.tasks.test_chat import CHATML, TALK
from tests.tasks.test_chat import build as build_chat_model
from tests.tasks.test_question_answering import build as build_reader
from tests.tasks.test_question_answering import make_rows
from tests.tiny_seq2seq import CHINESE, PAIRS, build_m2m100, build_marian, build_t5, write_pairs
from tests.training.conftest import write_reviews
from tests.training.test_families import build

ROOT = Path(__file__).resolve().parents[2]
TRAINING = {"epochs": 2, "batch_size": 8, "learning_rate": 2e-3, "log_every": 1, "device": "cpu", "keep_best": False}
SHAPE = {"layers": 2, "heads": 2, "hidden_size": 32, "max_length": 64, "tokenizer": {"vocabulary": 150}}


@dataclass
class Case:
    """One recipe: with a ``family`` from scratch, else from the model in the folder ``model``."""

    task: str
    data: str
    model: str = ""
    family: str = ""
    strategy: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def recipe(self, folder: Path) -> Recipe:
        values: dict[str, Any] = {"model": str(folder / self.model)}
        if self.family:
            values = {"architecture": {**SHAPE, "family": self.family}}
        data = {"train": str(folder / self.data), "eval_fraction": 0.2}
        training = {**TRAINING, "precision": "float32", **self.training}
        sections = {"data": data, "strategy": self.strategy, "options": self.options, "training": training}
        return Recipe.from_dict({"task": self.task, **values, **sections})


FROZEN, LAYERS, LORA = {"name": "frozen_backbone"}, {"name": "layer_by_layer", "unfreeze_every": 2}, {"name": "lora"}
CASES = {
    "sentiment": Case("sentiment", "reviews.jsonl", "bert"),
    "sentiment-bf16": Case("sentiment", "reviews.jsonl", "bert", training={"precision": "bf16"}),
    "sentiment-frozen": Case("sentiment", "reviews.jsonl", "bert", strategy=FROZEN),
    "sentiment-layers": Case("sentiment", "reviews.jsonl", "bert", strategy=LAYERS),
    "sentiment-lora": Case("sentiment", "reviews.jsonl", "bert", strategy=LORA),
    "sentiment-gpt2-layers": Case("sentiment", "reviews.jsonl", "gpt2", strategy=LAYERS),
    "sentiment-scratch": Case("sentiment", "reviews.jsonl", family="bert", training={"schedule": "cosine"}),
    "pairs": Case(
        "classification", "entailment.jsonl", "bert",
        training={"gradient_accumulation": 2, "group_by_length": False, "max_grad_norm": 0, "warmup_ratio": 0},
    ),
    "other-labels": Case("classification", "topics.jsonl", "classifier", training={"evaluate_every": 2}),
    "translation": Case("translation", "pairs.jsonl", "marian", training={"schedule": "constant"}),
    "translation-lora": Case("translation", "pairs.jsonl", "marian", strategy={**LORA, "merge": False}),
    "translation-languages": Case(
        "translation", "pairs.jsonl", "m2m100", options={"source_language": "en", "target_language": "de"}
    ),
    "from-adapters": Case("translation", "pairs.jsonl", "runs/translation-lora/final"),
    "translation-scratch": Case(
        "translation", "pairs.jsonl", family="marian", options={"target_language": "zh", "label_smoothing": 0.1},
        training={"batch_tokens": 120},
    ),
    "summarization-layers": Case("summarization", "summaries.jsonl", "t5", strategy=LAYERS),
    "questions": Case("question_answering", "questions.jsonl", "reader", options={"stride": 4},
                      training={"max_length": 48}),
    "questions-frozen": Case("question_answering", "questions.jsonl", "reader", strategy=FROZEN),
    "questions-roberta": Case("question_answering", "questions.jsonl", "roberta", training={"max_length": 56},
                              options={"stride": 8}),
    "questions-encoded": Case("question_answering", "questions.jsonl", "reader", training={"max_length": 24}),
    "chat-scratch": Case(
        "chat", "chats.jsonl", family="llama", training={"gradient_accumulation": 2, "batch_size": 4}
    ),
    "chat-lora": Case("chat", "chats.jsonl", "llama", strategy=LORA, options={"system": "You are Ann."}),
    "chat-plain": Case("chat", "chats.jsonl", "writer"),
    "chat-all": Case("chat", "chats.jsonl", "llama", strategy=LAYERS, options={"train_on": "all"}),
    "masked": Case("masked_lm", "documents.txt", family="bert", training={"gradient_accumulation": 2}),
    "masked-words": Case("masked_lm", "documents.txt", "mlm", strategy=FROZEN, options={"whole_words": True}),
    "pretraining": Case("bert_pretraining", "documents.txt", family="bert", options={"duplicates": 2}),
    "causal": Case("causal_lm", "documents.txt", family="gpt2", strategy=LAYERS),
    "causal-llama": Case("causal_lm", "documents.txt", family="llama"),
}  # fmt: skip
ENCODED = {"questions-encoded"}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make_subjects(folder: Path) -> None:
    """Every model and every file that the cases name."""
    from transformers import BertConfig, BertForMaskedLM

    from tests.conftest import build_tiny_tokenizer
    from tests.tiny_seq2seq import save

    build_tiny_bert(folder / "bert")
    build_tiny_bert(folder / "classifier", labels=("negative", "positive"))
    build("gpt2", folder / "gpt2")
    build_marian(folder / "marian")
    build_t5(folder / "t5")
    build_m2m100(folder / "m2m100")
    build_reader("roberta", folder / "roberta")
    build_reader("bert", folder / "reader")
    build_chat_model("llama", folder / "llama", CHATML)
    build_chat_model("gpt2", folder / "writer")
    tokenizer = build_tiny_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    save(folder / "mlm", BertForMaskedLM, BertConfig(vocab_size=len(tokenizer), **sizes), tokenizer)
    write_reviews(folder / "reviews.jsonl", 64, 1)
    texts = [f"the film was {word} and the plot {'very ' * (number % 5)}{word}" for number in range(10)
             for word in ("good", "bad", "boring")]  # fmt: skip
    write_rows(folder / "topics.jsonl", [{"text": f"{t} {i}", "label": "abc"[i % 3]} for i, t in enumerate(texts)])
    pairs = [{"text": f"{t} {i}", "pair": texts[i % 7], "label": "yn"[i % 2]} for i, t in enumerate(texts)]
    write_rows(folder / "entailment.jsonl", pairs)
    write_pairs(folder / "pairs.jsonl", (*PAIRS, *CHINESE) * 4)
    write_pairs(folder / "summaries.jsonl", PAIRS * 5, ("document", "summary"))
    write_rows(folder / "questions.jsonl", make_rows(30))
    write_rows(folder / "chats.jsonl", [{"messages": [{**m, "content": m["content"] * (1 + n % 3)} for m in TALK]}
                                        for n in range(20)])  # fmt: skip
    write_documents(folder / "documents.txt", 40)


@dataclass
class Outcome:
    losses: list[float]
    evaluation: float
    script: Path
    run: Path
    printed: list[float] = field(default_factory=list)
    printed_evaluation: float = 0.0


RUN_ALL = """
import contextlib, io, json, runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        runpy.run_path(script, run_name="__main__")
    print(json.dumps([script, output.getvalue().splitlines(), sorted(m for m in sys.modules if "lmstudio" in m)]))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every case by the app and by its script; all scripts in one process, each in a module of its own."""
    folder = tmp_path_factory.mktemp("scripts")
    made: dict[str, Outcome] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMSTUDIO_APP_HOME", str(folder / "home"))
        make_subjects(folder)
        for name, case in CASES.items():
            recipe, events = case.recipe(folder), []
            run = train(TrainRequest(recipe, folder / "runs" / name), JobContext(events.append)).run_folder
            losses = [event.loss for event in events if isinstance(event, StepLogged)]
            evaluation = [event.metrics["loss"] for event in events if isinstance(event, Evaluated)][-1]
            script = export_script(ScriptRequest(recipe, folder / "scripts" / name), JobContext())
            made[name] = Outcome(losses, evaluation, script, run)
    torch.set_num_threads(threads)
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN_ALL, *(str(outcome.script) for outcome in made.values())],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for outcome, line in zip(made.values(), done.stdout.splitlines(), strict=True):
        _, lines, ours = json.loads(line)
        assert ours == []
        outcome.printed = [float(text.split()[-1]) for text in lines if text.startswith("step")]
        outcome.printed_evaluation = [float(text.split()[-1]) for text in lines if text.startswith("evaluation")][-1]
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_script_trains_as_the_app_does(outcomes: dict[str, Outcome], name: str) -> None:
    found = outcomes[name]
    assert len(found.losses) >= 4
    assert found.printed == pytest.approx(found.losses, rel=1e-6, abs=6e-7)  # they are printed with six digits
    assert found.printed_evaluation == pytest.approx(found.evaluation, rel=2e-3 if name == "pretraining" else 1e-5)
    saved = "adapter_model.safetensors" if name == "translation-lora" else "model.safetensors"
    ours, theirs = load_file(found.run / "final" / saved), load_file(found.script.parent / "model" / saved)
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        # a gradient that is nothing but rounding (as that of a key's bias) still moves a weight, by AdamW's scale
        assert (tensor - theirs[key]).abs().max() < (1e-5 if "bias" not in key else 1e-2), key


def test_most_scripts_give_the_very_same_digits(outcomes: dict[str, Outcome]) -> None:
    """All but those of encoder-decoders, whose loss the app computes in less memory, rounded elsewhere."""
    names = [name for name, case in CASES.items() if case.task not in ("translation", "summarization")]
    for name in names:
        assert [f"{loss:.6f}" for loss in outcomes[name].losses] == [f"{loss:.6f}" for loss in outcomes[name].printed]


def test_rows_are_words_where_a_few_lines_encode_them(outcomes: dict[str, Outcome]) -> None:
    for name, found in outcomes.items():
        row = json.loads((found.script.parent / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
        assert ("input_ids" in row) == (name in ENCODED), name
        assert ("as token ids" in (found.script.parent / "README.md").read_text("utf-8")) == (name in ENCODED)
        assert (found.script.parent / "tokenizer").is_dir() == bool(CASES[name].family)


def test_scripts_are_tidy(outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    """Laid out as ruff does it, with nothing that is not used; short; and without a word of this app."""
    for name, found in outcomes.items():
        text = found.script.read_text(encoding="utf-8")
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(text, encoding="utf-8")
        assert "import lmstudio_app" not in text
        assert "#: " not in text
        assert [line for line in text.splitlines() if line.startswith("# ---")] == [
            "# --- the recipe", "# --- data", "# --- model", "# --- training",
        ]  # fmt: skip
        lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
        assert len(lines) < (215 if name == "pretraining" else 175), name
        tree = ast.parse(text)
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        names += [node.targets[0].id for node in tree.body
                  if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]  # fmt: skip
        read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert set(names) <= read, name
    for command in (["check", "--ignore", "T20"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run([*ruff, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_script_holds_only_what_its_recipe_needs(outcomes: dict[str, Outcome]) -> None:
    texts = {name: found.script.read_text(encoding="utf-8") for name, found in outcomes.items()}
    having = {
        "def mask(": {"masked", "masked-words", "pretraining"},
        "begins_word": {"masked-words"},
        "draw_pair": {"pretraining"},
        "import peft": {"sentiment-lora", "translation-lora", "chat-lora", "from-adapters"},
        "def train_only": {name for name, case in CASES.items() if case.strategy in (FROZEN, LAYERS)},
        "autocast": {"sentiment-bf16"},
        "GRADIENT_ACCUMULATION": {"pairs", "chat-scratch", "masked"},
        "warmup": set(CASES) - {"pairs"},
        "clip_grad_norm_": set(CASES) - {"pairs"},
        "math.cos": {"sentiment-scratch"},
        "label_smoothing": {"translation-scratch"},
        "LABELS": {name for name in CASES if name.startswith(("sentiment", "pairs", "other"))},
        "ignore_mismatched_sizes": {"other-labels"},
        "SOURCE_PREFIX": {"translation-scratch", "summarization-layers"},
        "src_lang": {"translation-languages"},
        "CHAT_TEMPLATE": {"chat-plain"},
        "PAD_TOKEN": {"sentiment-gpt2-layers"},
    }
    for text, names in having.items():
        assert {name for name, script in texts.items() if text in script} == names, text


def test_the_parts_fit_together() -> None:
    """What a part takes from the script is a constant, or defined by another part."""
    defined: set[str] = {"AutoModel"}
    wanted: dict[str, set[str]] = {}
    for path in sorted((ROOT / "resources" / "scripts").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "script":
                wanted[path.name] = {alias.name for alias in node.names if not alias.name.isupper()}
        stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        defined |= stored | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {name: missing for name, names in wanted.items() if (missing := names - defined)} == {}


@pytest.mark.parametrize("name", [name for name in CASES if name not in ENCODED])
def test_a_preview_is_the_script(outcomes: dict[str, Outcome], name: str) -> None:
    """Without the data: only what it says (labels, and the size of a vocabulary learned from it) is another."""
    found = outcomes[name]
    preview = script_text(found.run)
    script = found.script.read_text(encoding="utf-8")
    if CASES[name].family or name in ("pairs", "other-labels"):
        assert [n.name for n in ast.parse(preview).body if isinstance(n, ast.FunctionDef)] == [
            n.name for n in ast.parse(script).body if isinstance(n, ast.FunctionDef)
        ]
    else:
        assert preview == script


def test_a_run_gives_the_script_of_its_recipe(outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    """With the very tokenizer that its model has, also where the cache forgot it."""
    from lmstudio_app.cli import main

    found = outcomes["causal"]
    assert main(["script", str(found.run), "--output", str(tmp_path / "script")]) == 0
    for path in found.script.parent.rglob("*"):
        if path.is_file() and "model" not in path.relative_to(found.script.parent).parts:
            assert (tmp_path / "script" / path.relative_to(found.script.parent)).read_bytes() == path.read_bytes()


def test_nothing_is_overwritten_and_nothing_half_is_left(outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    found = outcomes["sentiment"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export_script(ScriptRequest(found.run, tmp_path / "mine"), JobContext())
    with pytest.raises(UserError, match="holds no run"):
        export_script(ScriptRequest(tmp_path, tmp_path / "new"), JobContext())
    control = Control()
    ctx = JobContext(lambda event: control.cancel() if "Writing" in getattr(event, "template", "") else None, control)
    with pytest.raises(Cancelled):
        export_script(ScriptRequest(found.run, tmp_path / "new"), ctx)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_every_task_and_the_bundled_recipes_have_scripts() -> None:
    """The recipes for models that are made here; the others need the starter encoder."""
    shown = 0
    assert {task.name for task in TASKS} == TASKS_WITH_SCRIPTS
    for path in sorted((ROOT / "resources" / "recipes").glob("*.yaml")):
        recipe = Recipe.load(path)
        if recipe.architecture is not None:
            ast.parse(script_text(recipe))
            shown += 1
    assert shown >= 3
