"""Make a trained model a part of the app: ``resources/models/NAME``, its card, and its entry in the catalogue.

    .venv/bin/python packaging/ship_model.py RUN_FOLDER NAME

What stays of the run's ``final/`` is what is needed to load it: weights in float16 (they are computed with in float32
all the same), configuration, tokenizer. ``packaging/starter_models/NAME.md`` says what the catalogue and the card say;
``NAME.json`` beside it, which ``packaging/measure_starter.py`` writes, holds the tables of measurements that take the
place of ``{metrics}`` in the card::

    {"tables": [{"title": "…", "note": "how it was measured", "columns": ["…", …], "rows": [["…", …], …]}]}

Whole weights are shipped as adapters when the front matter of ``NAME.md`` names a ``rank``: what the training has added
to each weight of ``base`` is a product of two thin matrices (that is exact for adapters which were merged, in one
training or in several after each other, and refused when anything else has changed).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmstudio_app.files import atomic_folder
from lmstudio_app.models.adapters import ADAPTER_WEIGHTS, is_adapter
from lmstudio_app.models.conversion import ADAPTER_CONFIG
from lmstudio_app.models.provenance import read_provenance, write_provenance
from lmstudio_app.models.weights import SINGLE_NAME

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "packaging" / "starter_models"
MODELS = ROOT / "resources" / "models"
CATALOG = ROOT / "resources" / "catalog.yaml"
LARGEST_ERROR = 2e-3  # share of what was added to a weight that may be lost by making it thin, with float16

# besides the weights; what there is of these
_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "source.spm", "target.spm", "spiece.model", "sentencepiece.bpe.model",
    "vocab.json", "merges.txt",
)  # fmt: skip
_OF_THE_RUN = ("task", "data", "metrics", "recipe")  # what is kept of its provenance


@dataclass(frozen=True)
class Description:
    """The front matter of ``NAME.md``, and the Markdown below it."""

    title: str
    task: str
    license: str
    description: str
    text: str
    base: str = ""
    rank: int = 0


def read_description(path: Path) -> Description:
    """Raises ``ValueError`` for a file without front matter."""
    start, front, text = path.read_text(encoding="utf-8").split("---\n", 2)
    if start:
        raise ValueError(f"{path.name} does not begin with its front matter")
    return Description(text=text.strip() + "\n", **yaml.safe_load(front))


def ship(run: Path, name: str, *, models: Path = MODELS, catalog: Path = CATALOG, texts: Path = TEXTS) -> Path:
    """Write the model's folder and its entry; returns the folder. Raises ``ValueError`` for what cannot be shipped."""
    said = read_description(texts / f"{name}.md")
    measured = json.loads((texts / f"{name}.json").read_text(encoding="utf-8"))
    final = run / "final"
    models.mkdir(exist_ok=True)
    with atomic_folder(models / name) as folder:
        for file in _FILES:
            if (final / file).is_file():
                shutil.copyfile(final / file, folder / file)
        if said.rank:
            _write_thin(final, folder, said)
        elif is_adapter(final):
            shutil.copyfile(final / ADAPTER_CONFIG, folder / ADAPTER_CONFIG)
            _write_half(final / ADAPTER_WEIGHTS, folder / ADAPTER_WEIGHTS)
        else:
            _write_half(final / SINGLE_NAME, folder / SINGLE_NAME)
            _note_type(folder / "config.json")
        known = read_provenance(final)
        record: dict[str, Any] = {"title": said.title, "reference": f"starter:{name}", "license": said.license}
        record["source"] = "trained with this app, and a part of it"
        record |= {"base_model": said.base} if said.base else {}
        write_provenance(folder, record | _without_folders({key: known[key] for key in _OF_THE_RUN if key in known}))
        (folder / "README.md").write_text(card_text(said, measured), encoding="utf-8")
    _write_entry(catalog, name, said, models / name)
    return models / name


def card_text(said: Description, measured: Mapping[str, Any]) -> str:
    """The ``README.md`` of the model: front matter as the hub reads it, and the text with its tables."""
    tables = []
    for table in measured["tables"]:
        lines = [f"**{table['title']}** {table['note']}".strip(), ""]
        lines += [f"| {' | '.join(map(str, row))} |" for row in (table["columns"], *table["rows"])]
        lines.insert(3, "|" + "---|" * len(table["columns"]))
        tables.append("\n".join(lines))
    front = {"license": said.license.lower(), "library_name": "peft" if said.base else "transformers"}
    body = said.text.replace("{metrics}", "\n\n".join(tables))
    return f"---\n{yaml.safe_dump(front)}---\n\n{body}"


def _write_half(source: Path, target: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {
        name: (tensor.to(torch.float16) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in load_file(source).items()
    }
    largest = max(float(tensor.abs().max()) for tensor in tensors.values() if tensor.is_floating_point())
    if largest == float("inf"):
        raise ValueError("a weight is too large for float16")
    save_file(tensors, target, metadata={"format": "pt"})
    target.chmod(0o644)


def _note_type(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = "float16"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_thin(final: Path, folder: Path, said: Description) -> None:
    """The difference of two models' weights as adapters of ``said.rank``.

    Raises ``ValueError`` when it has a higher rank, or when other weights differ, too.
    """
    import torch

    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.loading import LoadRequest, load_model
    from lmstudio_app.training import lora
    from lmstudio_app.training.strategy_config import StrategyConfig

    trained = load_model(LoadRequest(str(final), device="cpu", precision="float32"), JobContext())
    model = load_model(LoadRequest(said.base, head=trained.head, device="cpu", precision="float32"), JobContext()).model
    after, before = trained.model.state_dict(), dict(model.state_dict())
    heads = lora.trained_heads(model)
    adapter = lora.adapt(
        model, StrategyConfig(name="lora", rank=said.rank, alpha=said.rank, dropout=0.0, target_modules="all-linear")
    )
    adapted = {path: module for path, module in model.named_modules() if hasattr(module, "lora_A")}
    worst = 0.0
    with torch.no_grad():
        for path, module in adapted.items():
            change = (after[f"{path}.weight"] - before[f"{path}.weight"]).double()
            left, sizes, right = torch.linalg.svd(change, full_matrices=False)
            root = sizes[: said.rank].sqrt()
            module.lora_A["default"].weight.copy_((root[:, None] * right[: said.rank]).half())
            module.lora_B["default"].weight.copy_((left[:, : said.rank] * root).half())
            made = module.lora_B["default"].weight.double() @ module.lora_A["default"].weight.double()
            worst = max(worst, float((made - change).norm() / change.norm().clamp(min=1e-12)))
        for name, tensor in after.items():
            if name.split(".")[0] in heads:
                model.get_parameter(_inside(name)).copy_(tensor)
            elif name.removesuffix(".weight") not in adapted and not torch.equal(tensor, before[name]):
                raise ValueError(f"{name} has changed, and is not a weight that adapters can hold")
    print(f"largest error of a weight's change: {worst:.2e}")
    if worst > LARGEST_ERROR:
        raise ValueError(f"the change has a higher rank than {said.rank}: {worst:.2e} of it would be lost")
    lora.save_adapter(folder, adapter, said.base)
    _write_half(folder / ADAPTER_WEIGHTS, folder / ADAPTER_WEIGHTS)
    (folder / "README.md").unlink(missing_ok=True)  # peft's own


def _inside(name: str) -> str:
    """Where peft keeps the copy of a head's parameter that trains."""
    module, _, parameter = name.rpartition(".")
    return f"{module}.modules_to_save.default.{parameter}"


def _without_folders(value: Any) -> Any:
    """Files of the machine that trained are named without their folders."""
    if isinstance(value, Mapping):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _write_entry(catalog: Path, name: str, said: Description, folder: Path) -> None:
    """Put the entry at the end of the catalogue, or in the place of the one it has; all else stays as it is."""
    files = sorted(folder.iterdir())
    lines = [
        f"  - name: starter:{name}",
        f"    title: {said.title}",
        f"    task: {said.task}",
        f"    license: {said.license}",
        f"    size: {sum(path.stat().st_size for path in files)}",
        *([f"    base: {said.base}"] if said.base else []),
        "    description: >-",
        *textwrap.wrap(" ".join(said.description.split()), 112, initial_indent=" " * 6, subsequent_indent=" " * 6),
        "    sources:",
        f"      - bundled: {name}",
        "    files:",
    ]
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines += [f"      - path: {path.name}", f"        size: {path.stat().st_size}", f"        sha256: {digest}"]
    head, *entries = catalog.read_text(encoding="utf-8").rstrip("\n").split("\n  - name: ")
    made = "\n".join(lines).removeprefix("  - name: ")
    places = [at for at, entry in enumerate(entries) if entry.split("\n")[0] == f"starter:{name}"]
    entries[places[0] if places else len(entries) : places[0] + 1 if places else len(entries)] = [made]
    catalog.write_text("\n  - name: ".join([head, *entries]) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("name", metavar="NAME", help="sentiment, qa or translate")
    args = parser.parse_args()
    folder = ship(args.run, args.name)
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
