"""The rows of an exported script: as a person reads them where the script makes the same of them, else as token ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.jobs import JobContext
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.tasks.chat_templates import fit_chat, prepare_messages, with_accepted_system
from lmstudio_app.tasks.classification import label_ids
from lmstudio_app.tasks.documents import by_document, token_ids
from lmstudio_app.tasks.sentence_pairs import SPECIAL, cut_pieces
from lmstudio_app.tasks.sentences import sentence_texts
from lmstudio_app.tasks.task import Setup
from lmstudio_app.training.script_parts import run_part
from lmstudio_app.training.script_values import Subject, find_conditions, find_constants

if TYPE_CHECKING:
    from datasets import Dataset

PORTION = 1000  # rows encoded at once, as in a training
_WINDOW_ONLY = ("row", "second", "first", "size", "nowhere", "number")  # what only an evaluation of answers needs


def write_rows(path: Path, rows: Dataset, subject: Subject, setup: Setup, ctx: JobContext) -> bool:
    """Write one JSON object a line to ``path``: the rows, or what the task makes of them (``subject.is_encoded``).

    Returns False, and leaves off, when the script's own encoding would make anything else of the rows than the task
    does: a text that the few lines of the script do not foresee.
    """
    encode = None if subject.is_encoded else _script_encode(subject)
    meter = ctx.meter(len(rows), "rows")
    with path.open("w", encoding="utf-8", newline="\n") as file, quiet_transformers():
        for start in range(0, len(rows), PORTION):
            meter.update(start)
            columns = rows[start : start + PORTION]
            written = encoded = encoded_rows(subject.task.encode(columns, setup), subject)
            if encode is not None:
                written = plain_rows(columns, subject, setup)
                try:
                    if encode(written) != encoded:
                        return False
                except (IndexError, KeyError, ValueError, TypeError, RuntimeError):  # a text it does not foresee
                    return False
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in written)
    meter.update(len(rows))
    return True


def _script_encode(subject: Subject) -> Any:
    """The function that the script will have."""
    values = {name: constant.value for name, constant in find_constants(subject).items()}
    return run_part(subject.encode_part, find_conditions(subject), values | {"tokenizer": subject.tokenizer})["encode"]


def encoded_rows(features: Mapping[str, Sequence[Any]], subject: Subject) -> list[dict[str, Any]]:
    """The features of a task as the examples of a script."""
    names = [name for name in features if name not in _WINDOW_ONLY]
    found = []
    for index, ids in enumerate(features["input_ids"]):
        row = {name: _plain(features[name][index]) for name in names}
        if "sentences" in row:
            tokens, lengths = row.pop("input_ids"), row["sentences"]
            ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
            row["sentences"] = [tokens[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        if "start_positions" in features and subject.model.config.__dict__.get("type_vocab_size", 0) > 1:
            second = int(features["second"][index])
            row["token_type_ids"] = [0] * second + [1] * (len(ids) - second)
        found.append(row)
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def plain_rows(columns: Mapping[str, Sequence[Any]], subject: Subject, setup: Setup) -> list[dict[str, Any]]:
    """The rows that train, in words."""
    match subject.recipe.task:
        case "sentiment" | "classification":
            names = [subject.labels[index] for index in label_ids(columns["label"], subject.labels)]
            return _together({**{n: columns[n] for n in ("text", "pair") if n in columns}, "label": names})
        case "translation":
            return _together({name: columns[name] for name in ("source", "target")})
        case "summarization":
            return _together({name: columns[name] for name in ("document", "summary")})
        case "question_answering":
            return _questions(columns, setup)
        case "chat":
            return _chats(columns["messages"], subject, setup)
        case "bert_pretraining":
            return _pieces(columns, setup)
    return _together({name: columns[name] for name in ("text", "document")})


def _together(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _questions(columns: Mapping[str, Sequence[Any]], setup: Setup) -> list[dict[str, Any]]:
    """Each question with its first right answer; ``start`` and ``end`` are characters of the context."""
    found = []
    for question, context, answers in zip(*(columns[n] for n in ("question", "context", "answers")), strict=True):
        golds = [pair for pair in zip(answers["text"], answers["answer_start"], strict=True) if pair[0].strip()]
        if not golds and not setup.options.no_answer:
            continue
        text, start = golds[0] if golds else ("", 0)
        start += len(text) - len(text.lstrip())
        answer = {"answer": text.strip(), "start": start, "end": start + len(text.strip())}
        found.append({"question": question.strip(), "context": context, **answer})
    return found


def _chats(chats: Sequence[Any], subject: Subject, setup: Setup) -> list[dict[str, Any]]:
    """The conversations as they are rendered: with their system prompt, and without the turns that do not fit."""
    found = []
    for messages in chats:
        features = subject.task.encode({"messages": [messages]}, setup)
        if not features["input_ids"]:
            continue
        kept = prepare_messages(messages, setup.options.system)
        if setup.options.train_on == "answers":
            last = max(index for index, message in enumerate(kept) if message["role"] == "assistant")
            kept = kept[: last + 1]
        kept = fit_chat(setup.tokenizer, kept, setup.max_length)
        found.append({"messages": with_accepted_system(setup.tokenizer, kept)})
    return found


def _pieces(columns: Mapping[str, Sequence[Any]], setup: Setup) -> list[dict[str, Any]]:
    """Runs of whole sentences that fill one example, as the task cuts them (see its ``encode``)."""
    found = []
    budget, duplicates = setup.max_length - SPECIAL, setup.options.duplicates
    for _, document, texts in by_document(columns):
        sentences = [sentence for text in texts for sentence in sentence_texts(text)]
        sized = [(s, len(ids)) for s, ids in zip(sentences, token_ids(setup.tokenizer, sentences), strict=True) if ids]
        lengths = [length for _, length in sized]
        if len(sized) < 2:
            continue
        for duplicate in range(duplicates):
            begin_with = budget * (duplicates - duplicate) // duplicates
            for number, (begin, end) in enumerate(cut_pieces(lengths, budget, begin_with)):
                texts_of = [sentence for sentence, _ in sized[begin:end]]
                found.append({"sentences": texts_of, "document": document, "piece": number})
    return found
