"""The weights that a repository offers, often the same ones in several forms: what there is to choose from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lmstudio_app.models.adapters import ADAPTER_WEIGHTS
from lmstudio_app.models.conversion import ADAPTER_CONFIG, GGUF
from lmstudio_app.models.hub import HubFile, is_shard
from lmstudio_app.models.weights import INDEX_NAME, SINGLE_NAME, is_weights_pickle

_QUANTISATION = re.compile(r"(?:^|[._-])((?:I?Q|TQ)\d\w*|MXFP\d\w*|BF16|FP?16|FP?32)\.gguf$", re.IGNORECASE)
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_NO_LANGUAGE = ("mmproj", "imatrix")  # what such files are called that hold no language model


@dataclass(frozen=True)
class WeightChoice:
    """``kind``: ``safetensors``, ``adapter``, ``pickle`` or ``gguf``. ``size`` in bytes, of ``names`` together.

    ``quantisation``: what the name of a GGUF file says of it, such as ``Q4_K_M``; empty when it says nothing.
    """

    kind: str
    names: tuple[str, ...]
    size: int
    quantisation: str = ""

    @property
    def bits(self) -> int:
        """About how many bits a weight has in a quantised file; 0 when its name does not say so."""
        found = re.search(r"\d+", self.quantisation)
        return int(found[0]) if found else 0


def weight_choices(files: Iterable[HubFile]) -> list[WeightChoice]:
    """Each form that can be loaded, the best known first; GGUF files by size.

    Left out are GGUF files in several parts and those of other parts of a model, which cannot be read here.
    """
    everything = {file.path: file for file in files}
    top = [name for name in everything if "/" not in name]

    def _choice(kind: str, names: list[str], quantisation: str = "") -> WeightChoice:
        return WeightChoice(kind, tuple(names), sum(everything[name].size for name in names), quantisation)

    found = []
    if "config.json" in top:
        if SINGLE_NAME in top:
            found.append(_choice("safetensors", [SINGLE_NAME]))
        elif INDEX_NAME in top:
            found.append(_choice("safetensors", [INDEX_NAME, *sorted(filter(is_shard, top))]))
        elif pickles := sorted(filter(is_weights_pickle, top)):
            found.append(_choice("pickle", pickles))
    if ADAPTER_CONFIG in top and ADAPTER_WEIGHTS in top and SINGLE_NAME not in top:
        found.append(_choice("adapter", [ADAPTER_CONFIG, ADAPTER_WEIGHTS]))
    ggufs = [name for name in everything if name.endswith(GGUF) and not _PART.search(name)]
    ggufs = [name for name in ggufs if not any(word in name.lower() for word in _NO_LANGUAGE)]
    choices = [_choice("gguf", [name], quantisation_of(name)) for name in ggufs]
    return [*found, *sorted(choices, key=lambda choice: (choice.size, choice.names))]


def quantisation_of(name: str) -> str:
    """``Q4_K_M`` of ``model-q4_k_m.gguf``; empty when the name does not say so."""
    found = _QUANTISATION.search(name)
    return found[1].upper() if found else ""
