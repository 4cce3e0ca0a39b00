"""Translating a file against a plain ``generate`` loop, with the same beams, in one run.

    python tests/benchmarks/translation_speed.py [--model starter:translate] [--into zh] [--texts FILE] [--sentences N]

The 500 sentences come from ``--texts`` (one a line), else from the English side of the bundled Tatoeba pairs, in an
order that says nothing of their length. Three contenders translate them with 4 beams, each in a process of its own and
in turn, so that a slow minute of the machine hits all:

* ``batches``: ``model.generate`` over batches of 32 in the order in which they come;
* ``single``: the same, one sentence at a time;
* ``ours``: what ``lmstudio-app predict translation`` does, cutting and joining the texts included.

Printed are sentences a second (the median over the repeats), how many of our texts differ from those of the others, and
the ratios. Loading is not counted for any. The issue asks for twice the plain loop.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

from contest import Outcome, hold, medians, parse_arguments

BEAMS, BATCH, LONGEST, SEED = 4, 32, 128, 42


def prepare(folder: Path, args: argparse.Namespace) -> None:
    if args.texts:
        lines = args.texts.read_text(encoding="utf-8").splitlines()
    else:
        from lmstudio_app.data.sources import read_table
        from lmstudio_app.jobs import JobContext

        rows = read_table("tatoeba-en-zh", JobContext()).dataset
        lines = [str(text) for text in rows[rows.column_names[0]]]
    lines = [line.strip() for line in lines if line.strip()]
    random.Random(SEED).shuffle(lines)
    (folder / "texts.json").write_text(json.dumps(lines[: args.sentences]), encoding="utf-8")


def load(args: argparse.Namespace) -> Any:
    import torch

    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.loading import LoadRequest, load_model

    if args.threads:
        torch.set_num_threads(args.threads)
    return load_model(LoadRequest(args.model), JobContext())


def ours(folder: Path, args: argparse.Namespace) -> Outcome:
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.tasks.translating import translate
    from lmstudio_app.tasks.translators import TranslateOptions

    loaded, texts = load(args), json.loads((folder / "texts.json").read_text())
    options = TranslateOptions(
        source_language=args.source, target_language=args.into, beams=BEAMS, max_new_tokens=LONGEST, by_sentence=False
    )
    list(translate(loaded, [{"text": texts[0]}], JobContext(), options))  # whatever is made only once
    begun = time.perf_counter()
    found = [output.text for output in translate(loaded, ({"text": text} for text in texts), JobContext(), options)]
    seconds = time.perf_counter() - begun
    outcome = {"rate": len(texts) / seconds}
    for name in ("batches", "single"):
        if (folder / f"{name}.json").is_file():
            theirs = json.loads((folder / f"{name}.json").read_text())
            outcome[f"unlike_{name}"] = float(sum(a != b for a, b in zip(found, theirs, strict=True)))
    return outcome


def plain(folder: Path, args: argparse.Namespace, name: str, batch: int) -> Outcome:
    import torch

    from lmstudio_app.models.languages import declared_languages

    loaded, texts = load(args), json.loads((folder / "texts.json").read_text())
    model, tokenizer = loaded.model, loaded.tokenizer
    languages = declared_languages(tokenizer)
    more: dict[str, Any] = {}
    written = texts
    if languages.tokens and languages.in_source:
        written = [f"{languages.token(args.into)} {text}" for text in texts]
    elif languages.tokens:
        tokenizer.src_lang = languages.token(args.source).strip("_")
        more["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(languages.token(args.into))

    def _translate(part: list[str]) -> list[str]:
        inputs = tokenizer(part, return_tensors="pt", padding=True).to(model.device)
        inputs.pop("token_type_ids", None)
        ids = model.generate(**inputs, num_beams=BEAMS, max_new_tokens=LONGEST, **more)
        return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]

    with torch.inference_mode():
        _translate(written[:1])
        begun = time.perf_counter()
        found = [text for at in range(0, len(written), batch) for text in _translate(written[at : at + batch])]
        seconds = time.perf_counter() - begun
    (folder / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    return {"rate": len(texts) / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="starter:translate")
    parser.add_argument("--source", default="en")
    parser.add_argument("--into", default="zh")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--threads", type=int, default=0)
    args = parse_arguments(parser)
    contenders = {
        "batches": lambda folder, args: plain(folder, args, "batches", BATCH),
        "single": lambda folder, args: plain(folder, args, "single", 1),
        "ours": ours,
    }
    results = hold(contenders, lambda folder: prepare(folder, args), args, lambda made: f"{made['rate']:6.2f}/s")
    found = medians(results)
    for name in ("batches", "single"):
        ratio = found["ours"]["rate"] / found[name]["rate"]
        unlike = found["ours"][f"unlike_{name}"]
        print(f"ours / {name}: {ratio:.2f} ({unlike:.0f} of {args.sentences} texts differ)")


if __name__ == "__main__":
    main()
