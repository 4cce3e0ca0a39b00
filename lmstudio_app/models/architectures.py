"""New models with random weights: what can be made, described by fields that a form and a recipe share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.options import check_options, option

FAMILIES = ("bert", "gpt2", "llama", "marian")
TOKENIZERS = ("auto", "wordpiece", "unigram", "bpe")
_FAMILY_TITLES = {"bert": "BERT", "gpt2": "GPT-2", "llama": "Llama", "marian": "Marian"}
_USUAL_TOKENIZER = {"bert": "wordpiece", "gpt2": "bpe", "llama": "bpe", "marian": "unigram"}
# head -> the families that can be made with it
FAMILIES_BY_HEAD: Mapping[str, tuple[str, ...]] = {
    "base": ("bert",),
    "sequence-classification": ("bert",),
    "question-answering": ("bert",),
    "masked-lm": ("bert",),
    "pretraining": ("bert",),
    "causal-lm": ("gpt2", "llama"),
    "seq2seq-lm": ("marian",),
}


@dataclass(frozen=True)
class TokenizerConfig:
    """How the vocabulary of a new model is learned from its training texts."""

    kind: str = option(
        "auto",
        "Vocabulary",
        "How words are cut into pieces: WordPiece (as BERT), Unigram or BPE (sentencepiece, for any script). "
        "auto: the family's usual kind.",
        basic=True,
        choices=TOKENIZERS,
    )
    vocabulary: int = option(
        8000, "Vocabulary size", "How many pieces it knows. Each costs one row of the embedding.",
        basic=True, minimum=100, maximum=250_000,
    )  # fmt: skip
    lowercase: bool = option(
        False,
        "Small letters",
        "Make no difference between capital and small letters: helps with little text; a model that writes will write "
        "small letters only.",
    )
    folder: str = option("", "Ready tokenizer", "A model folder whose tokenizer is taken instead; empty: learn one.")

    def __post_init__(self) -> None:
        check_options(self, "architecture.tokenizer")

    def kind_for(self, family: str) -> str:
        """``kind``, or for ``auto`` the family's usual one. Raises :class:`UserError` where it does not go together."""
        kind = _USUAL_TOKENIZER[family] if self.kind == "auto" else self.kind
        if kind == "wordpiece" and family != "bert":
            raise UserError(
                "A WordPiece vocabulary does not keep spaces, so a {family} model could not write with it.",
                "Choose unigram or bpe.",
                family=family,
            )
        return kind


@dataclass(frozen=True)
class ArchitectureConfig:
    """The shape of a new model. An encoder-decoder has ``layers`` layers on either side."""

    family: str = option(
        "bert",
        "Family",
        "bert: reads in both directions; gpt2, llama: write from left to right; marian: translate.",
        basic=True,
        choices=FAMILIES,
    )
    layers: int = option(
        4, "Layers", "How many Transformer layers lie above each other.", basic=True, minimum=1, maximum=96
    )
    heads: int = option(
        4,
        "Heads",
        "Attention heads of each layer: each learns its own way of looking at the other words.",
        basic=True,
        minimum=1,
        maximum=128,
    )
    hidden_size: int = option(
        256, "Hidden size", "Numbers that stand for a token in each layer; a multiple of the heads.",
        basic=True, minimum=8, maximum=16_384,
    )  # fmt: skip
    feed_forward: int = option(
        0, "Feed-forward size", "Width of the layer between two attentions; 0: four times the hidden size.",
        minimum=0, maximum=65_536,
    )  # fmt: skip
    max_length: int = option(
        512,
        "Longest text",
        "Tokens the model can read at most; it has a position for each.",
        minimum=8,
        maximum=131_072,
    )
    dropout: float = option(
        0.1, "Dropout", "Share of the numbers that is blanked at random while training, against learning by heart.",
        minimum=0.0, maximum=0.9,
    )  # fmt: skip
    tokenizer: TokenizerConfig = TokenizerConfig()

    def __post_init__(self) -> None:
        check_options(self, "architecture")
        self.tokenizer.kind_for(self.family)
        if self.hidden_size % self.heads:
            raise UserError(
                "{heads} heads cannot share a hidden size of {size}.",
                "Make the hidden size a multiple of the number of heads.",
                heads=self.heads,
                size=self.hidden_size,
            )

    @property
    def title(self) -> str:
        return new_model_title(self.family, self.layers)

    @property
    def feed_forward_size(self) -> int:
        return self.feed_forward or 4 * self.hidden_size


def new_model_title(family: str, layers: int | None = None) -> str:
    """What people call a model that begins with random weights: ``New BERT, 4 layers``."""
    name = f"New {_FAMILY_TITLES.get(family, family)}"
    if layers is None:
        return name
    return f"{name}, 1 layer" if layers == 1 else f"{name}, {layers} layers"


def create_model(
    config: ArchitectureConfig, head: str, tokenizer: Any, labels: Sequence[str] = (), seed: int = 42
) -> Any:
    """A transformers model with random weights, in eval mode, float32, on the CPU.

    ``head`` is a key of :data:`FAMILIES_BY_HEAD`. The same arguments give the same weights. torch's own random numbers
    are left as they were. Raises :class:`UserError` when the family has no such head.
    """
    import torch

    settings = _settings(config, head, len(tokenizer), labels)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        settings[name] = getattr(tokenizer, name)
    if config.family == "bert":
        settings["bos_token_id"] = settings["eos_token_id"] = None
    if config.family == "marian":  # a translation begins with the padding token, as in Marian's own models
        settings["decoder_start_token_id"] = tokenizer.pad_token_id
        settings["forced_eos_token_id"] = tokenizer.eos_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(config.family, head, settings)
    return model.eval()


def skeleton(config: ArchitectureConfig, vocabulary: int, head: str, labels: int = 2) -> Any:
    """The model with all its names and shapes and no weights (on torch's meta device): of any size, in no memory.

    Imports torch and builds the model's modules (a second or two for a large one), so a window asks in a job.
    """
    import torch

    names = [str(index) for index in range(labels)]
    with torch.device("meta"):
        return _build(config.family, head, _settings(config, head, vocabulary, names))


def _settings(config: ArchitectureConfig, head: str, vocabulary: int, labels: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments of the family's transformers configuration."""
    if config.family not in FAMILIES_BY_HEAD.get(head, ()):
        raise UserError(
            "A {family} model has no head {head}.",
            "Choose one of: {families}." if head in FAMILIES_BY_HEAD else "Start from a pretrained model.",
            family=config.family, head=head, families=", ".join(FAMILIES_BY_HEAD.get(head, ())),
        )  # fmt: skip
    size, layers, heads, inner = config.hidden_size, config.layers, config.heads, config.feed_forward_size
    values: dict[str, Any] = {"vocab_size": vocabulary, "max_position_embeddings": config.max_length}
    if head == "sequence-classification":
        values["id2label"] = dict(enumerate(labels))
        values["label2id"] = {label: index for index, label in enumerate(labels)}
    # 0.02 for the 768 of BERT base and GPT-2; numbers that small in a narrower model would begin with a signal that is
    # hardly there, and cost it its first thousands of steps
    values["init_std" if config.family == "marian" else "initializer_range"] = 0.02 * math.sqrt(768 / size)
    match config.family:
        case "bert":
            values |= {"hidden_size": size, "num_hidden_layers": layers, "num_attention_heads": heads}
            values |= {"intermediate_size": inner, "tie_word_embeddings": True, "pad_token_id": 0}
            values |= {"hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": config.dropout}
        case "gpt2":
            values |= {"n_embd": size, "n_layer": layers, "n_head": heads, "n_inner": inner}
            values |= {"n_positions": config.max_length, "tie_word_embeddings": True}
            values |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
            values |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout)
            del values["max_position_embeddings"]
        case "llama":
            values |= {"hidden_size": size, "num_hidden_layers": layers, "num_attention_heads": heads}
            values |= {"num_key_value_heads": heads, "intermediate_size": inner, "tie_word_embeddings": True}
            values |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3, "attention_dropout": config.dropout}
        case "marian":
            values |= {"d_model": size, "dropout": config.dropout, "scale_embedding": True}
            values |= {"activation_function": "swish", "share_encoder_decoder_embeddings": True}
            values |= {"tie_word_embeddings": True, "eos_token_id": 0, "forced_eos_token_id": 0}
            values |= {"pad_token_id": vocabulary - 1, "decoder_start_token_id": vocabulary - 1}
            for side in ("encoder", "decoder"):
                values |= {f"{side}_layers": layers, f"{side}_ffn_dim": inner, f"{side}_attention_heads": heads}
    return values


def _build(family: str, head: str, settings: Mapping[str, Any]) -> Any:
    import transformers

    from lmstudio_app.models.loading import AUTO_CLASSES

    model_config = transformers.CONFIG_MAPPING[family](**settings)
    auto_class = getattr(transformers, AUTO_CLASSES[head])
    return auto_class.from_config(model_config, attn_implementation="sdpa")
