"""Summarisation, end to end on a tiny T5 and a tiny Marian, and its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.cli import main
from lmstudio_app.events import Evaluated
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks.seq2seq import Seq2SeqOptions
from lmstudio_app.tasks.summarization import encode, summarize
from lmstudio_app.tasks.summary_writers import SummaryOptions
from lmstudio_app.tasks.task import Setup
from lmstudio_app.tasks.text_metrics import bleu_tokenizer, summary_scores, translation_scores, units
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from tests.tiny_seq2seq import CHINESE, build_bart, build_marian, build_t5, write_pairs

DOCUMENTS = (
    ("the cat sits on the mat we drink tea", "the cat sits"),
    ("a dog runs in the park it is cold today", "a dog runs"),
    ("the bird sings good morning we drink tea", "the bird sings"),
    ("it is cold today we drink tea", "it is cold"),
)


def recipe_for(model: Path, data: Path, **training: Any) -> Recipe:
    settings = {"epochs": 120, "batch_size": 8, "learning_rate": 5e-3, "evaluate_every": 9999, "device": "cpu"}
    return Recipe.from_dict(
        {
            "task": "summarization",
            "model": str(model),
            "data": {"train": str(data), "eval": str(data)},
            "options": {"max_target_length": 16},
            "training": {**settings, "checkpoint_every": 9999, "precision": "float32", **training},
        }
    )


def test_summaries_learned_by_heart_come_out_of_the_command_line(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data.jsonl", DOCUMENTS, ("dialogue", "highlights"))
    events: list[Any] = []
    recipe = recipe_for(build_bart(tmp_path / "bart"), data)
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext(events.append))
    assert result.metrics["rouge_1"] == result.metrics["rouge_2"] == result.metrics["rouge_l"] == pytest.approx(1)
    (evaluated,) = (event for event in events if isinstance(event, Evaluated))
    assert [sample["output"] for sample in evaluated.details["samples"]] == [summary for _, summary in DOCUMENTS]
    rows = [DOCUMENTS[2][0], "", DOCUMENTS[0][0]]
    inputs, outputs = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    inputs.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    command = ["predict", "summarization", "--model", str(result.model_folder), "--device", "cpu", "--beams", "2"]
    assert main([*command, "--input", str(inputs), "--output", str(outputs), "--max-new-tokens", "12"]) == 0
    written = [json.loads(line)["text"] for line in outputs.read_text().splitlines()]
    assert written == [DOCUMENTS[2][1], "", DOCUMENTS[0][1]]


def test_a_chinese_summary(tmp_path: Path) -> None:
    pairs = [(source + target, target) for source, target in CHINESE]
    data = write_pairs(tmp_path / "data.jsonl", pairs, ("document", "summary"))
    result = train(TrainRequest(recipe_for(build_marian(tmp_path / "marian"), data), tmp_path / "run"), JobContext())
    assert result.metrics["rouge_l"] == pytest.approx(1)
    loaded = load_model(LoadRequest(str(result.model_folder), device="cpu"), JobContext())
    options = SummaryOptions(beams=1, max_new_tokens=64)
    outputs = summarize(loaded, [{"text": pair[0]} for pair in pairs], JobContext(), options)
    assert [output.text for output in outputs] == [summary for _, summary in pairs]


def test_the_prefix_is_what_the_model_declares_unless_another_is_given(tmp_path: Path) -> None:
    loaded = load_model(LoadRequest(str(build_t5(tmp_path / "t5")), device="cpu"), JobContext())
    rows = {"document": ["we drink tea"], "summary": ["tea"]}
    found = []
    for prefix in ("", "tea "):
        setup = Setup(loaded.tokenizer, (), 32, Seq2SeqOptions(source_prefix=prefix), loaded.model.config)
        found.append(loaded.tokenizer.convert_ids_to_tokens(encode(rows, setup)["input_ids"][0]))
    assert found == [["summarize:", "we", "drink", "tea", "</s>"], ["tea", "we", "drink", "tea", "</s>"]]


def test_scores_are_those_of_sacrebleu_and_rouge_score() -> None:
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    written = ["The cat sat on the mat.", "A dog, running!", "it's 42 degrees"]
    wanted = ["The cat sits on the mat.", "A dog is running in the park.", "It is 42 degrees today."]
    scores = translation_scores(written, wanted)
    assert scores == {
        "bleu": pytest.approx(sacrebleu.corpus_bleu(written, [wanted]).score),
        "chrf": pytest.approx(sacrebleu.corpus_chrf(written, [wanted]).score),
    }
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    rouge = [scorer.score(right, output) for output, right in zip(written, wanted, strict=True)]
    for name, theirs in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        mean = sum(score[theirs].fmeasure for score in rouge) / len(rouge)
        assert summary_scores(written, wanted)[name] == pytest.approx(mean)


def test_scores_of_scripts_without_spaces() -> None:
    import sacrebleu

    written, wanted = ["猫坐在垫子上。", "我们喝了茶。"], ["一只猫坐在垫子上。", "我们喝茶。"]
    expected = sacrebleu.corpus_bleu(written, [wanted], tokenize="zh").score
    assert expected > 20
    assert translation_scores(written, wanted)["bleu"] == pytest.approx(expected)
    assert translation_scores(written, wanted, ["zh", "zh"])["bleu"] == pytest.approx(expected)
    mixed = translation_scores([*written, "ein Hund"], [*wanted, "ein Hund"], ["zh", "zh", "de"])
    assert mixed["bleu_zh"] == pytest.approx(expected)
    assert mixed["chrf"] == pytest.approx((mixed["chrf_zh"] + mixed["chrf_de"]) / 2)
    assert bleu_tokenizer("ja", []) == bleu_tokenizer("", ["猫がマットの上に座っている"]) == "char"
    assert bleu_tokenizer("", ["고양이가 앉아 있다"]) == "char"
    assert units("Grüße an 东京 und ソニー, 3.5") == ["grüße", "an", "东", "京", "und", "ソ", "ニ", "ー", "3", "5"]
    assert summary_scores(["我们喝茶"], ["我们喝茶。"])["rouge_2"] == pytest.approx(1)
