from __future__ import annotations

import itertools
import json
import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lmstudio_app.data.splits import DataConfig, prepare_data
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Evaluated, Event, Status
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks.answer_search import ASK
from lmstudio_app.tasks.question_answering import QUESTION_ANSWERING, QuestionOptions, encode
from lmstudio_app.tasks.spans import WindowSize, best_spans, collate, read_windows, require_fast
from lmstudio_app.tasks.squad_metrics import answer_tokens, exact_match, normalise, token_f1
from lmstudio_app.tasks.task import Setup
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from tests.conftest import build_tiny_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
PLACES = ("paris", "rome", "oslo", "lima", "cairo", "delhi")
NAMES = ("ann", "bob", "eve", "kim", "leo", "max")


def byte_tokenizer() -> Any:
    """Every byte a token; a pair is framed as RoBERTa does it: <s> a </s></s> b </s>."""
    specials = ["<s>", "<pad>", "</s>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: index for index, token in enumerate([*specials, *alphabet])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens(specials)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return t.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
    )


def build(family: str, folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = build_tiny_tokenizer() if family != "roberta" else byte_tokenizer()
    size = len(tokenizer)
    if family == "bert":
        model: Any = t.BertModel(t.BertConfig(vocab_size=size, max_position_embeddings=128, **SIZES))
    elif family == "roberta":
        config = t.RobertaConfig(vocab_size=size, max_position_embeddings=130, type_vocab_size=1, **SIZES)
        model = t.RobertaForMaskedLM(config)
    else:
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
        model = t.DistilBertModel(t.DistilBertConfig(vocab_size=size, max_position_embeddings=128, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_rows(count: int = 6) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        name, place = NAMES[number % 6], PLACES[number % 6]
        context = f"{name} was in {place.title()}, and {NAMES[(number + 1) % 6]} not."
        answers = {"text": [place.title()], "answer_start": [context.index(place.title())]}
        rows.append({"question": f"where was {name}?", "context": context, "answers": answers})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def learn(
    model: Path, rows: list[dict[str, Any]], folder: Path, options: dict[str, Any] | None = None, **training: Any
) -> tuple[Any, list[Event]]:
    folder.mkdir(exist_ok=True)
    data = str(write(folder / "rows.jsonl", rows))
    values = {"epochs": 40, "batch_size": 8, "learning_rate": 5e-3, "evaluate_every": 1000, "device": "cpu"}
    recipe = Recipe.from_dict(
        {
            "task": "question_answering",
            "model": str(model),
            "data": {"train": data, "eval": data, "deduplicate": False},
            "options": options or {},
            "training": values | training,
        }
    )
    events: list[Event] = []
    return train(TrainRequest(recipe, folder / "run"), JobContext(events.append)), events


def ask(folder: Path, rows: list[dict[str, Any]], **options: Any) -> list[Any]:
    loaded = load_model(LoadRequest(str(folder), device="cpu"), JobContext())
    return list(ASK.predict(loaded, rows, JobContext(), ASK.options(**options)))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Event]]:
    """A tiny BERT that has learned six rows by heart."""
    folder = tmp_path_factory.mktemp("reader")
    return learn(build("bert", folder / "model"), make_rows(), folder / "training")


# --- metrics


def reference_scores(answer: str, gold: list[str]) -> tuple[float, float]:
    """The evaluation of SQuAD 1.1, after the official script."""

    def plain(text: str) -> str:
        text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    def f1(right: str) -> float:
        found, wanted = plain(answer).split(), plain(right).split()
        same = sum((Counter(found) & Counter(wanted)).values())
        if same == 0:
            return 0.0
        precision, recall = same / len(found), same / len(wanted)
        return 2 * precision * recall / (precision + recall)

    return float(max(plain(answer) == plain(right) for right in gold)), max(map(f1, gold))


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("the Eiffel Tower", ["Eiffel tower."]),
        ("in  Paris", ["Paris", "in Paris, France"]),
        ("A cat; an owl", ["cat owl"]),
        ("nothing", ["something", "else"]),
        ("1,000 m", ["1000 m"]),
        ("an apple a day", ["day apple apple"]),
    ],
)
def test_scores_are_those_of_the_official_script(answer: str, gold: list[str]) -> None:
    assert (exact_match(answer, gold), token_f1(answer, gold)) == pytest.approx(reference_scores(answer, gold))


def test_normalisation() -> None:
    assert normalise("  The theatre,  “An”  A-B ") == "theatre ab"
    assert answer_tokens("在1990年,東京") == ["在", "1990", "年", "東", "京"]
    assert token_f1("東京都", ["東京"]) == pytest.approx(0.8)
    assert exact_match("東京。", ["東京"]) == 1
    assert (exact_match("", []), token_f1("", []), exact_match("x", []), token_f1("x", [])) == (1, 1, 0, 0)
    assert token_f1("the", ["cat"]) == 0


# --- windows and spans


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_windows_cover_the_context_and_mark_the_answer(family: str) -> None:
    tokenizer = build_tiny_tokenizer() if family == "bert" else byte_tokenizer()
    context = " ".join(f"story {number}" for number in range(60))
    (start, end) = context.index("30"), context.index("30") + 2
    windows = list(read_windows(tokenizer, ["where?"], [context], WindowSize(64, 16, 10)))
    assert len(windows) > 2
    assert [window.number for window in windows] == list(range(len(windows)))
    covered: set[int] = set()
    marked = 0
    for window in windows:
        assert len(window.input_ids) <= 64
        covered |= {place for begin, behind in window.offsets.tolist() for place in range(begin, behind)}
        first, last = window.positions(start, end)
        if first != window.nowhere:
            marked += 1
            assert tokenizer.decode(window.input_ids[first : last + 1]).replace(" ", "").replace("##", "") == "30"
        else:
            assert last == 0
    assert marked >= 1
    assert covered >= {place for place, letter in enumerate(context) if letter != " "}
    for before, after in itertools.pairwise(windows):
        assert before.offsets[-16, 0] == after.offsets[0, 0]  # sixteen tokens are in both


def test_best_spans_are_those_of_trying_all() -> None:
    torch.manual_seed(1)
    start, end = torch.randn(2, 12), torch.randn(2, 12)
    batch = {"first": torch.tensor([4, 2]), "size": torch.tensor([7, 0]), "nowhere": torch.tensor([0, 1])}
    spans = best_spans(start, end, batch, 3, 30)
    scores = {
        (begin, last): float(start[0, 4 + begin] + end[0, 4 + last])
        for begin in range(7)
        for last in range(begin, min(begin + 3, 7))
    }
    expected = sorted(scores, key=lambda span: -scores[span])
    found = list(zip(spans.starts[0].tolist(), spans.ends[0].tolist(), strict=True))[: len(expected)]
    assert found == expected
    assert np.isneginf(spans.scores[0, len(expected) :]).all()
    assert spans.mass[0] == pytest.approx(float(torch.tensor(list(scores.values())).logsumexp(0)), abs=1e-5)
    assert np.isneginf(spans.scores[1]).all()  # a context of no tokens
    assert spans.nowhere.tolist() == pytest.approx([float(start[0, 0] + end[0, 0]), float(start[1, 1] + end[1, 1])])


def test_the_loss_is_the_models_own(tmp_path: Path) -> None:
    loaded = load_model(
        LoadRequest(str(build("bert", tmp_path)), head="question-answering", device="cpu"), JobContext()
    )
    setup = Setup(loaded.tokenizer, (), 64, QuestionOptions(), loaded.model.config)
    rows = make_rows()
    encoded = encode({name: [row[name] for row in rows] for name in rows[0]}, setup)
    features = [{name: values[row] for name, values in encoded.items() if name != "row"} for row in range(len(rows))]
    batch = collate(features, setup)
    questions, contexts = [row["question"] for row in rows], [row["context"] for row in rows]
    plain = loaded.tokenizer(questions, contexts, padding=True, return_tensors="pt")
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert torch.equal(batch[name], plain[name])
    places = {
        "start_positions": torch.tensor(
            [plain.char_to_token(i, r["answers"]["answer_start"][0], 1) for i, r in enumerate(rows)]
        ),
        "end_positions": torch.tensor(
            [
                plain.char_to_token(i, r["answers"]["answer_start"][0] + len(r["answers"]["text"][0]) - 1, 1)
                for i, r in enumerate(rows)
            ]
        ),
    }
    expected = loaded.model(**plain, **places).loss
    assert QUESTION_ANSWERING.loss(loaded.model, batch).item() == pytest.approx(expected.item(), abs=1e-6)


def test_no_text_is_trained_on_and_evaluated(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for name, place in itertools.product(NAMES, PLACES):
        answers = {"text": [place], "answer_start": [len(name) + 8]}
        rows.append({"question": f"where was {name}?", "context": f"{name} was in {place}.", "answers": answers})
    rows += [{**row, "question": f"{row['question']} and why?"} for row in rows]
    config = DataConfig(train=str(write(tmp_path / "rows.jsonl", rows)), eval_fraction=0.25)
    splits = prepare_data(config, QUESTION_ANSWERING.columns, JobContext())
    assert len(splits.eval) == 18
    assert not set(splits.train["context"]) & set(splits.eval["context"])
    same = [{**row, "context": rows[0]["context"], "answers": rows[0]["answers"]} for row in rows]
    config = DataConfig(train=str(write(tmp_path / "same.jsonl", same)), eval_fraction=0.25, deduplicate=False)
    splits = prepare_data(config, QUESTION_ANSWERING.columns, JobContext())
    assert 12 <= len(splits.eval) <= 24  # one text for all: then by questions


# --- training and asking


def test_rows_learned_by_heart_are_answered_exactly(reader: tuple[Any, list[Event]]) -> None:
    result, events = reader
    assert result.metrics["f1"] == result.metrics["exact_match"] == 1
    answers = ask(result.model_folder, make_rows(), batch_size=4)
    for answer, row in zip(answers, make_rows(), strict=True):
        assert answer.answer == row["answers"]["text"][0]
        assert row["context"][answer.start : answer.end] == answer.answer
        assert 0.5 < answer.score <= 1
    samples = [event for event in events if isinstance(event, Evaluated)][-1].details["samples"]
    assert len(samples) == 6
    assert samples[0]["input"].startswith("where was ann?\nann was in Paris")
    assert samples[0]["reference"] == samples[0]["output"] == "Paris"


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_families_without_token_types(family: str, tmp_path: Path) -> None:
    rows = make_rows(2)
    result, _ = learn(build(family, tmp_path / "model"), rows, tmp_path / "training", epochs=60)
    assert [answer.answer for answer in ask(result.model_folder, rows)] == ["Paris", "Rome"]


def test_an_answer_in_a_later_window(tmp_path: Path) -> None:
    filler = "the film was good and the story was not so good. " * 6
    rows = make_rows(3)
    for number, row in enumerate(rows):
        row["context"] = filler[: 49 * (2 * number)] + row["context"]
        row["answers"]["answer_start"] = [row["context"].index(row["answers"]["text"][0])]
    result, events = learn(
        build("bert", tmp_path / "model"), rows, tmp_path / "training", {"stride": 16}, max_length=48, epochs=60
    )
    assert result.metrics["exact_match"] == 1
    answers = ask(result.model_folder, rows, max_length=48, stride=16, batch_size=2)
    assert [answer.answer for answer in answers] == ["Paris", "Rome", "Oslo"]
    assert answers[2].start == rows[2]["answers"]["answer_start"][0] > 48
    samples = [event for event in events if isinstance(event, Evaluated)][-1].details["samples"]
    assert "Oslo" in samples[2]["input"]  # the shortened context shows the answer


def test_questions_without_an_answer(tmp_path: Path) -> None:
    rows = make_rows(4)
    for row in rows[2:]:
        row["answers"] = {"text": [], "answer_start": []}
    model = build("bert", tmp_path / "model")
    result, _ = learn(model, rows, tmp_path / "with", {"no_answer": True})
    assert result.metrics["exact_match"] == 1
    answers = ask(result.model_folder, rows, no_answer=True)
    assert [answer.answer for answer in answers] == ["Paris", "Rome", "", ""]
    assert answers[3].score > 0.5
    assert all(answer.answer for answer in ask(result.model_folder, rows))
    _, events = learn(model, rows, tmp_path / "without", epochs=1)
    warnings = [event for event in events if isinstance(event, Status) and event.warning]
    assert [w.parameters["count"] for w in warnings if "without an answer" in w.template] == [2, 2]


def test_a_context_of_ten_thousand_tokens(reader: tuple[Any, list[Event]]) -> None:
    context = "good " * 10_000 + "ann was in Paris, and bob not."
    (answer,) = ask(reader[0].model_folder, [{"question": "where was ann?", "context": context}])
    assert context[answer.start : answer.end] == answer.answer != ""
    assert 0 < answer.score <= 1


def test_together_and_alone_give_the_same(reader: tuple[Any, list[Event]]) -> None:
    rows = make_rows()
    for number, row in enumerate(rows):
        row["context"] += " good film" * (number * 17)
    together = ask(reader[0].model_folder, rows, batch_size=3)
    loaded = load_model(LoadRequest(str(reader[0].model_folder), device="cpu"), JobContext())
    for row, answer in zip(rows, together, strict=True):
        (alone,) = ASK.predict(loaded, [row], JobContext(), ASK.options(batch_size=1))
        assert (alone.start, alone.end) == (answer.start, answer.end)
        assert alone.score == pytest.approx(answer.score, abs=1e-5)


def test_odd_questions(reader: tuple[Any, list[Event]]) -> None:
    context = "ann was in Paris."
    rows = [
        {"question": "", "context": context},
        {"question": "where?", "context": "  "},
        {"question": "where " * 500, "context": context},
        {"question": "where was \ud83d ann?", "context": "\ud83d " + context},
    ]
    blank, nothing, long, half = ask(reader[0].model_folder, rows)
    assert (blank.answer, blank.score) == (nothing.answer, nothing.score) == ("", 0.0)
    assert context[long.start : long.end] == long.answer != ""
    assert rows[3]["context"][half.start : half.end] == half.answer != ""


def test_what_cannot_be_asked_is_told(reader: tuple[Any, list[Event]], tiny_encoder: Path) -> None:
    with pytest.raises(UserError, match="not trained to find answers"):
        ask(tiny_encoder, make_rows())
    with pytest.raises(UserError, match="no question or no context"):
        ask(reader[0].model_folder, [{"question": "where?"}])
    with pytest.raises(UserError, match="not enough for a question"):
        list(read_windows(build_tiny_tokenizer(), ["where?"], ["here"], WindowSize(12)))


class SlowTokenizer(t.PythonBackend):
    """A tokenizer in Python, which keeps no offsets."""

    vocab_size = 3

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0, "b": 1, "c": 2}


def test_slow_tokenizers_are_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="cannot tell where in a text"):
        require_fast(SlowTokenizer(), "a model")


def test_asking_stops_in_the_middle(reader: tuple[Any, list[Event]]) -> None:
    loaded = load_model(LoadRequest(str(reader[0].model_folder), device="cpu"), JobContext())
    control = Control()
    answers = ASK.predict(
        loaded, (make_rows()[0] for _ in iter(int, 1)), JobContext(None, control), ASK.options(batch_size=2)
    )
    next(answers)
    control.cancel()
    with pytest.raises(Cancelled):
        list(answers)
