"""Knowledge bases: how fast one is built and asked, how well passages are found, and when there is no answer.

    python tests/benchmarks/knowledge_base.py [speed] [build] [quality] [--passages 10000] [--texts 600]

With the real starter encoder (``starter:encoder``, or ``--encoder FOLDER``), in one run:

* ``speed``: the median and the slowest of 100 questions asked of a knowledge base of ``--passages`` passages, made of
  sentences of the bundled encyclopedia in random order with vectors of random directions: finding alone, and together
  with the encoder's time for the question (at most 50 ms);
* ``build``: passages a second while a build embeds ``--texts`` passages, against a plain encoder that is given the same
  texts sorted by length in batches of 32, as sentence-transformers does it, in the same precision and in turn (at least
  0.95), and the whole build with reading, cutting and indexing against it;
* ``quality``: XQuAD, the 632 questions asked of the half of the articles that they are about and of the other half: how
  often the answer is in the first passages found by words, by meaning and by both, and how well the probability of
  ``lmstudio_app.knowledge.marking`` tells the two halves apart, with a logistic regression fitted anew.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmstudio_app.assets import resource
from lmstudio_app.events import Event, Progress
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answering import AskOptions
from lmstudio_app.knowledge.building import WINDOW, BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.encoder import STARTER_ENCODER, Encoder, load_encoder
from lmstudio_app.knowledge.marking import WORDS_WEIGHT, probability
from lmstudio_app.knowledge.passages import Passage
from lmstudio_app.knowledge.search import FoundPassage, KnowledgeBase
from lmstudio_app.knowledge.store import FileState, Store
from lmstudio_app.knowledge.words import coverage


def sentences() -> list[str]:
    folder = resource("datasets", "encyclopedia")
    path = next(path for path in sorted(folder.iterdir()) if ".txt" in path.name)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line for line in data.decode("utf-8").split("\n") if len(line) > 40]


def make_texts(count: int, seed: int = 0) -> list[str]:
    """Passages of 120 words or so: sentences of the encyclopedia in random order."""
    source, chance = sentences(), random.Random(seed)
    return [" ".join(chance.sample(source, 6)) for _ in range(count)]


def xquad() -> list[dict[str, Any]]:
    with gzip.open(resource("datasets", "xquad-en", "xquad.en.json.gz"), "rt", encoding="utf-8") as file:
        found: list[dict[str, Any]] = json.load(file)["data"]
    return found


def questions() -> list[str]:
    return [qa["question"] for article in xquad() for part in article["paragraphs"] for qa in part["qas"]]


def measure_speed(encoder: Encoder, count: int, folder: Path) -> None:
    texts, dimension = make_texts(count), encoder.identity.dimension
    (folder / "large").mkdir()
    store = Store(folder / "large", write=True)
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((count, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with store.transaction():
        store.set_fact("encoder", vars(encoder.identity))
        store.forget_vectors()
        for start in range(0, count, 100):
            part = texts[start : start + 100]
            ends = np.cumsum([len(text) + 2 for text in part]).tolist()
            places = [Passage(end - 2 - len(text), end - 2) for text, end in zip(part, ends, strict=True)]
            store.replace_document(f"/{start}.txt", FileState(0, 0, ""), "\n\n".join(part), places, ())
    while waiting := store.waiting(5000):
        store.add_vectors([identifier for identifier, _ in waiting], vectors[: len(waiting)])
    store.close(at_rest=True)
    asked, ctx = random.Random(1).sample(questions(), 100), JobContext()
    with KnowledgeBase(folder / "large", encoder) as base:
        base.search(asked[0], ctx)
        embedded = encoder.embed(asked, ctx)
        finding, both = [], []
        for question, vector in zip(asked, embedded, strict=True):
            begun = time.perf_counter()
            base.rank(question, vector, ctx, 5)
            finding.append(1000 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            base.search(question, ctx)
            both.append(1000 * (time.perf_counter() - begun))
    print(f"{count} passages, milliseconds a question (at most 50):")
    for name, values in (("finding", finding), ("with the encoder", both)):
        print(f"  {name:18} median {statistics.median(values):6.1f}   slowest {max(values):6.1f}")


def plain(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """What sentence-transformers does: sort by characters, tokenise and pad 32 at a time, mean, normalise."""
    import torch

    loaded = encoder.loaded
    order = np.argsort([-len(text) for text in texts], kind="stable")
    vectors = np.zeros((len(texts), encoder.identity.dimension), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = loaded.tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=encoder.limit,
                return_tensors="pt",
            ).to(loaded.device)
            states = loaded.model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            pooled = (states * mask).sum(1) / mask.sum(1)
            vectors[rows] = torch.nn.functional.normalize(pooled.float(), dim=-1).cpu().numpy()
    return vectors


def measure_build(encoder: Encoder, count: int, folder: Path) -> None:
    """One slice of the texts after another goes through both, so that a slow moment of the machine hits both."""
    (folder / "files").mkdir()
    for index, text in enumerate(make_texts(count)):
        (folder / "files" / f"{index:05}.txt").write_text(text, encoding="utf-8")
    rates: dict[str, list[float]] = {"embedding": [], "whole build": [], "plain encoder": []}
    names = sorted((folder / "files").iterdir())
    step = max(32, min(WINDOW, count // 4))
    plain(encoder, [names[0].read_text(encoding="utf-8")] * 32)
    for number, start in enumerate(range(0, count - step + 1, step)):
        base, spent = folder / f"base-{number}", _Spent()
        begun = time.perf_counter()
        sources = tuple(names[start : start + step])
        report = build_knowledge_base(BuildRequest(base, sources), JobContext(spent), encoder)
        rates["whole build"].append(report.passages / (time.perf_counter() - begun))
        rates["embedding"].append(report.passages / spent.seconds)
        store = Store(base)
        texts = [text for _, text in _all_texts(store)]
        store.close()
        random.Random(0).shuffle(texts)
        begun = time.perf_counter()
        plain(encoder, texts)
        rates["plain encoder"].append(len(texts) / (time.perf_counter() - begun))
    print(f"building, passages a second ({encoder.loaded.dtype}, {len(rates['embedding'])} slices of {step} files):")
    for name, values in rates.items():
        ratios = [value / other for value, other in zip(values, rates["plain encoder"], strict=True)]
        print(
            f"  {name:14} {statistics.median(values):7.1f}   against the plain encoder {statistics.median(ratios):.2f}"
        )


def _all_texts(store: Store) -> list[tuple[int, str]]:
    with store.transaction():
        store._connection.execute("UPDATE passages SET slot = NULL")
    return store.waiting(1_000_000)


class _Spent:
    """Seconds between the first and the last word about embedding."""

    def __init__(self) -> None:
        self.first = self.seconds = 0.0

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        if getattr(event, "template", "").startswith("Embedding"):
            self.first = now
        if isinstance(event, Progress) and event.unit == "passages":
            self.seconds = now - self.first


def measure_quality(encoder: Encoder, folder: Path) -> None:
    ctx, articles = JobContext(), xquad()
    ranked: dict[str, list[list[bool]]] = {"words": [], "meaning": [], "both": []}
    evidence: list[tuple[bool, float, float]] = []
    for half in (0, 1):
        files = folder / f"half-{half}"
        files.mkdir()
        for number, article in enumerate(articles[half::2]):
            text = "\n\n".join(part["context"] for part in article["paragraphs"])
            (files / f"{number}.txt").write_text(text, encoding="utf-8")
        build_knowledge_base(BuildRequest(folder / f"base-of-{half}", (files,)), ctx, encoder)
        with KnowledgeBase(folder / f"base-of-{half}", encoder) as base:
            for is_inside, asked in ((True, articles[half::2]), (False, articles[1 - half :: 2])):
                rows = [
                    (f"{number}.txt", part["context"], qa)
                    for number, article in enumerate(asked)
                    for part in article["paragraphs"]
                    for qa in part["qas"]
                ]
                vectors = encoder.embed([qa["question"] for _, _, qa in rows], ctx)
                for (name, context, qa), vector in zip(rows, vectors, strict=True):
                    found = base.rank(qa["question"], vector, ctx, 100)
                    if is_inside:
                        whole = base.text(str(files / name)) or ""
                        place = whole.index(context) + qa["answers"][0]["answer_start"]
                        end = place + len(qa["answers"][0]["text"])
                        _note_ranks(ranked, found, str(files / name), place, end)
                    top = found[: AskOptions().top]
                    best = max(
                        (item.similarity or 0) + WORDS_WEIGHT * coverage(qa["question"], item.text) for item in top
                    )
                    chance = max(probability(qa["question"], item.text, item.similarity) for item in top)
                    evidence.append((is_inside, best, chance))
    print("the answer is in the first 1, 3, 5 passages:")
    for name, hits in ranked.items():
        shares = [sum(any(row[:count]) for row in hits) / len(hits) for count in (1, 3, 5)]
        print(f"  {name:8} " + "  ".join(f"{share:.3f}" for share in shares))
    inside = np.array([chance for is_inside, _, chance in evidence if is_inside])
    outside = np.array([chance for is_inside, _, chance in evidence if not is_inside])
    print("share of the questions kept that have an answer, and turned down that have none:")
    for limit in (0.2, 0.3, 0.4, 0.5, 0.6):
        print(f"  at {limit:.1f}   {np.mean(inside >= limit):.3f}   {np.mean(outside < limit):.3f}")
    slope, middle = fit_logistic([value for _, value, _ in evidence], [is_inside for is_inside, _, _ in evidence])
    print(f"fitted anew: slope {slope:.1f}, middle {middle:.3f}")


def _note_ranks(
    ranked: dict[str, list[list[bool]]], found: Sequence[FoundPassage], file: str, start: int, end: int
) -> None:
    keys: dict[str, Callable[[FoundPassage], float]] = {
        "words": lambda item: item.bm25,
        "meaning": lambda item: item.similarity or 0.0,
        "both": lambda item: item.score,
    }
    for name, key in keys.items():
        order = sorted(found, key=key, reverse=True)
        ranked[name].append([item.file == file and item.start <= start and end <= item.end for item in order[:5]])


def fit_logistic(values: Sequence[float], labels: Sequence[bool]) -> tuple[float, float]:
    """Slope and middle of P = 1 / (1 + exp(-slope (value - middle))), by Newton's method."""
    inputs = np.stack([np.array(values), np.ones(len(values))], axis=1)
    wanted, weights = np.array(labels, dtype=float), np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + 1e-6 * np.eye(2)
        weights += np.linalg.solve(curvature, inputs.T @ (wanted - chance))
    return float(weights[0]), float(-weights[1] / weights[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help="default: all")
    parser.add_argument("--encoder", default=STARTER_ENCODER)
    parser.add_argument("--passages", type=int, default=10_000)
    parser.add_argument("--texts", type=int, default=600)
    args = parser.parse_args()
    encoder = load_encoder(args.encoder, JobContext())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not args.what or "speed" in args.what:
            measure_speed(encoder, args.passages, folder)
        if not args.what or "build" in args.what:
            measure_build(encoder, args.texts, folder)
        if not args.what or "quality" in args.what:
            measure_quality(encoder, folder)


if __name__ == "__main__":
    main()
