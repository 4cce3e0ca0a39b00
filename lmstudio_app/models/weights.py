"""The weight files of a model folder, read no further than their headers.

A safetensors file is an 8-byte little-endian header length, a JSON header (name -> dtype, shape, offsets) and
the data (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.errors import UserError

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_PICKLED_WEIGHTS = re.compile(r"pytorch_model(-\d+-of-\d+)?\.(bin|pt)")
# not weights, though they end like pickles
HARMLESS = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"})
MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors library
FLOAT_TYPES = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})

# part of a model -> what the names of its tensors contain, in the order in which they are tried
PARTS: Mapping[str, re.Pattern[str]] = {
    "norm": re.compile(r"norm|\bln_|\.ln\d|layer_?norm", re.IGNORECASE),
    "head": re.compile(
        r"^(pre_)?classifier\b|^(classification_head|score|lm_head|cls|qa_outputs|head|logits_proj|final_logits_bias)\b"
        r"|^(vocab_|generator_|discriminator_)|^decoder\.(weight|bias)$"
    ),
    "pooler": re.compile(r"pooler"),
    "embedding": re.compile(r"embed|\bwte\b|\bwpe\b|^shared\b"),
    "attention": re.compile(r"attention|attn|SelfAtt|EncDec", re.IGNORECASE),
    "feed-forward": re.compile(
        r"intermediate|output\.dense|mlp|ffn|\bfc\d?|lin[12]|feed_forward|DenseReluDense|experts", re.IGNORECASE
    ),
}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header states it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def is_weights_pickle(name: str) -> bool:
    """Is a file of this name the pickled weights of a transformers model, or a shard of them?"""
    return _PICKLED_WEIGHTS.fullmatch(name) is not None


def _truncated(path: Path) -> UserError:
    return UserError(
        "The weight file {name} is damaged: it ends before the data that its header announces.",
        "Download or copy the model again.",
        name=path.name,
        path=str(path),
    )


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Names, types and shapes of the tensors in one safetensors file.

    Raises :class:`UserError` when the file is no safetensors file, or shorter than its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise _truncated(path)
        (length,) = struct.unpack("<Q", start)
        if length > MAX_HEADER or start.startswith(b"version "):
            raise UserError(
                "{name} is no safetensors file.",
                "If it came from a git checkout, run `git lfs pull` there; else download the model again.",
                name=path.name,
                path=str(path),
            )
        text = file.read(length)
    if len(text) < length:
        raise _truncated(path)
    try:
        header = json.loads(text)
        tensors = {
            name: (
                TensorInfo(str(row["dtype"]), tuple(int(n) for n in row["shape"])),
                int(row["data_offsets"][1]),
            )
            for name, row in header.items()
            if name != "__metadata__"
        }
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise UserError(
            "The header of the weight file {name} cannot be read.",
            "Download or copy the model again.",
            name=path.name,
            path=str(path),
        ) from None
    if 8 + length + max((end for _, end in tensors.values()), default=0) > size:
        raise _truncated(path)
    return {name: info for name, (info, _) in tensors.items()}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model: ``model.safetensors``, or the shards that the index names.

    Raises :class:`UserError` when there are none: missing, pickle-only, not converted yet, lost shards.
    """
    single = folder / SINGLE_NAME
    if single.is_file():
        return [single]
    index = folder / INDEX_NAME
    if index.is_file():
        return _shards(folder, index)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    gguf = [name for name in names if name.endswith(".gguf")]
    if gguf:
        raise UserError(
            "{name} is a GGUF file, which has to be made into safetensors first.",
            "Open the file on the Model page, or load it by its path.",
            name=gguf[0],
        )
    pickles = [name for name in names if name.endswith(PICKLE_SUFFIXES) and name not in HARMLESS]
    if pickles:
        raise UserError(
            "The weights in {folder} are a pickle ({name}), and opening a pickle can run any program.",
            "Choose a model that has model.safetensors, or convert it with a tool you trust.",
            folder=str(folder),
            name=pickles[0],
        )
    adapters = [name for name in names if name == "adapter_model.safetensors"]
    if adapters:
        raise UserError(
            "{folder} holds an adapter ({name}), not a whole model.",
            "Choose the folder of a whole model, with model.safetensors.",
            folder=str(folder),
            name=adapters[0],
        )
    raise UserError(
        "There are no weights (model.safetensors) in {folder}.",
        "Choose another folder, or download the model again.",
        folder=str(folder),
    )


def _shards(folder: Path, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            "{name} cannot be read.", "Download or copy the model again.", name=index.name, path=str(index)
        ) from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(
                "{name} names a weight file outside its folder.",
                "Do not use this model: its files are not well formed.",
                name=index.name,
            )
        if not (folder / name).is_file():
            raise UserError(
                "The weight file {name} is missing from {folder}.",
                "Download or copy the model again.",
                name=name,
                folder=str(folder),
            )
    return [folder / name for name in names]


def tensors(folder: Path) -> Mapping[str, TensorInfo]:
    """All tensors of a model folder, from the headers alone. Raises as :func:`weight_files` does."""
    found: dict[str, TensorInfo] = {}
    for path in weight_files(folder):
        found.update(read_header(path))
    return found


def parameters(infos: Mapping[str, TensorInfo]) -> Iterator[TensorInfo]:
    """The floating-point tensors; integer ones are buffers (position ids, counters), not parameters."""
    return (info for info in infos.values() if info.dtype in FLOAT_TYPES)


def parameters_by_part(infos: Mapping[str, TensorInfo]) -> dict[str, int]:
    """How many parameters are in each of :data:`PARTS` (and in ``other``), by the tensors' names; none is left out."""
    counts = dict.fromkeys((*PARTS, "other"), 0)
    for name, info in infos.items():
        if info.dtype in FLOAT_TYPES:
            counts[next((part for part, names in PARTS.items() if names.search(name)), "other")] += info.count
    return {part: count for part, count in counts.items() if count}
