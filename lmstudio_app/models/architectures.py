"""New models with random weights: what can be made, described by fields that a form and a recipe share."""

from __future__ import annotations

from dataclasses import dataclass

from lmstudio_app.errors import UserError
from lmstudio_app.options import check_options, option

FAMILIES = ("bert", "gpt2", "llama", "marian")
TOKENIZERS = ("wordpiece", "unigram", "bpe")


@dataclass(frozen=True)
class TokenizerConfig:
    """How the vocabulary of a new model is learned from its training texts."""

    kind: str = option(
        "wordpiece",
        "Vocabulary",
        "How words are cut into pieces: WordPiece (as BERT), Unigram or BPE (sentencepiece, for any script).",
        basic=True,
        choices=TOKENIZERS,
    )
    vocabulary: int = option(
        8000, "Vocabulary size", "How many pieces it knows. Each costs one row of the embedding.",
        basic=True, minimum=100, maximum=250_000,
    )  # fmt: skip
    lowercase: bool = option(True, "Small letters", "Make no difference between capital and small letters.")
    folder: str = option("", "Ready tokenizer", "A model folder whose tokenizer is taken instead; empty: learn one.")

    def __post_init__(self) -> None:
        check_options(self, "architecture.tokenizer")


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
    heads: int = option(4, "Heads", "Attention heads of each layer.", basic=True, minimum=1, maximum=128)
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
        if self.hidden_size % self.heads:
            raise UserError(
                "{heads} heads cannot share a hidden size of {size}.",
                "Make the hidden size a multiple of the number of heads.",
                heads=self.heads,
                size=self.hidden_size,
            )

    @property
    def title(self) -> str:
        return f"new {self.family}, {self.layers} layers"
