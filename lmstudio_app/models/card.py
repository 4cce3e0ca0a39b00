"""The architecture card: what a model is, read from its configuration and the headers of its weights.

Neither torch nor transformers is imported, so a card of any size costs milliseconds.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.models.adapters import weights_folder
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.models.weights import parameters, parameters_by_part, tensors, weight_files

# architecture suffix -> head; the first that matches counts
HEADS: tuple[tuple[str, str], ...] = (
    ("ForSequenceClassification", "sequence-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMultipleChoice", "multiple-choice"),
    ("ForMaskedLM", "masked-lm"),
    ("ForPreTraining", "pretraining"),
    ("ForConditionalGeneration", "seq2seq-lm"),
    ("ForSeq2SeqLM", "seq2seq-lm"),
    ("MTModel", "seq2seq-lm"),
    ("MarianMTModel", "seq2seq-lm"),
    ("ForCausalLM", "causal-lm"),
    ("LMHeadModel", "causal-lm"),
)
HEADS_WITH_LABELS = frozenset({"sequence-classification", "token-classification"})
# families that number the positions from pad_token_id + 1 on, so that not all of their positions hold a token
_POSITIONS_BEHIND_PADDING = (
    "roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "xmod", "data2vec-text",
    "mpnet", "longformer", "ibert", "luke", "esm", "markuplm", "layoutlmv3",
)  # fmt: skip
MAX_SENSIBLE_LENGTH = 100_000_000  # tokenizers write 1e30 for "no limit"


@dataclass(frozen=True)
class ModelCard:
    """What a model is. Counts that the configuration does not state are 0; memory in bytes, weights alone."""

    reference: str
    folder: Path
    architecture: str  # class name, for example "BertModel"
    model_type: str  # family, for example "bert"
    layers: int
    heads: int
    key_value_heads: int
    hidden_size: int
    vocabulary: int
    max_length: int  # tokens
    parameters: int
    memory_float32: int
    memory_bf16: int
    license: str  # "" when unknown
    labels: tuple[str, ...]
    head: str  # "base", "sequence-classification", "causal-lm", ...
    title: str = ""
    source: str = ""
    stored_type: str = ""  # type of most weights as the file has them: "F32", "BF16", ...
    parts: tuple[tuple[str, int], ...] = ()  # parameters by part of the model: see weights.PARTS


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder. Raises :class:`UserError` when it is missing or no JSON object."""
    if not folder.is_dir():
        raise UserError(
            "The model folder {folder} does not exist.",
            "Check the path, or choose another model.",
            folder=str(folder),
        )
    path = folder / "config.json"
    if not path.is_file():
        if any(folder.glob("*.gguf")):
            weight_files(folder)  # tells what to do with it
        raise UserError(
            "{folder} is no model folder: config.json is missing.",
            "Choose the folder that holds config.json, model.safetensors and the tokenizer's files.",
            folder=str(folder),
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(
            "config.json in {folder} is no valid JSON ({reason}).",
            "Download or copy the model again.",
            folder=str(folder),
            reason=str(error),
        ) from None
    if not isinstance(config, dict):
        raise UserError(
            "config.json in {folder} does not describe a model.",
            "Download or copy the model again.",
            folder=str(folder),
        )
    return config


def head_of(architecture: str) -> str:
    """The head that an architecture's class name states; ``base`` when it states none."""
    return next((head for suffix, head in HEADS if architecture.endswith(suffix)), "base")


def _first_int(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Models of several parts keep the language model's numbers in one of them; the outer ones win."""
    inner: dict[str, Any] = next(
        (config[key] for key in ("text_config", "decoder") if isinstance(config.get(key), dict)), {}
    )
    return {**inner, **config}


def _labels(config: Mapping[str, Any], head: str) -> tuple[str, ...]:
    if head not in HEADS_WITH_LABELS:
        return ()
    names = config.get("id2label")
    if isinstance(names, dict) and names and all(str(key).isdigit() for key in names):
        return tuple(str(names[key]) for key in sorted(names, key=int))
    return tuple(f"LABEL_{index}" for index in range(_first_int(config, "num_labels") or 2))  # transformers' default


def _tokenizer_limit(folder: Path) -> int:
    """``model_max_length`` of the tokenizer; 0 when it states none or no sensible one."""
    try:
        data = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        limit = int(data["model_max_length"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return 0
    return limit if 0 < limit < MAX_SENSIBLE_LENGTH else 0


def read_card(folder: Path, reference: str = "") -> ModelCard:
    """The card of the model in ``folder``.

    Raises :class:`UserError` when the folder, its configuration or its weights are missing or damaged, and
    when the weights are a pickle or a GGUF file.
    """
    config = read_config(folder)
    flat = _flat(config)
    found = tensors(weights_folder(folder))
    infos = list(parameters(found))
    count = sum(info.count for info in infos)
    by_type: collections.Counter[str] = collections.Counter()
    for info in infos:
        by_type[info.dtype] += info.count
    architectures = config.get("architectures")
    architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    head = head_of(architecture)
    heads = _first_int(flat, "num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
    positions = _first_int(flat, "max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
    if flat.get("model_type") in _POSITIONS_BEHIND_PADDING and positions:
        padding = flat.get("pad_token_id", 1)  # 1 is the default of these families
        positions -= padding + 1 if isinstance(padding, int) else 0
    limits = [limit for limit in (positions, _tokenizer_limit(folder)) if limit > 0]
    provenance = read_provenance(folder)
    return ModelCard(
        reference=reference or str(folder),
        folder=folder,
        architecture=architecture,
        model_type=str(config.get("model_type", "")),
        layers=_first_int(flat, "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"),
        heads=heads,
        key_value_heads=_first_int(flat, "num_key_value_heads", "num_kv_heads") or heads,
        hidden_size=_first_int(flat, "hidden_size", "d_model", "n_embd", "dim"),
        vocabulary=_first_int(flat, "vocab_size"),
        max_length=min(limits, default=0),
        parameters=count,
        memory_float32=4 * count,
        memory_bf16=2 * count,
        license=str(provenance.get("license", "")),
        labels=_labels(config, head),
        head=head,
        title=str(provenance.get("title", "")),
        source=str(provenance.get("source", "")),
        stored_type=by_type.most_common(1)[0][0] if by_type else "",
        parts=tuple(parameters_by_part(found).items()),
    )
