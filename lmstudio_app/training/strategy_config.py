"""What a fine-tuning strategy can be told: the recipe's section ``strategy``."""

from __future__ import annotations

from dataclasses import dataclass

from lmstudio_app.options import check_options, option


@dataclass(frozen=True)
class StrategyConfig:
    """Which parameters train: a strategy by name, and what it can be told."""

    name: str = option(
        "full",
        "Strategy",
        "Which parts of the model may change.",
        basic=True,
        choices=("frozen_backbone", "layer_by_layer", "full", "lora"),
    )
    layers: int = option(
        0, "Layers", "How many layers train in the end, counted from the top; 0: all, and the embeddings last.",
        basic=True, minimum=0, maximum=1000, only=("layer_by_layer",),
    )  # fmt: skip
    unfreeze_every: int = option(
        0, "Unfreeze every", "Optimizer steps after which one more layer begins to train; 0: an epoch.",
        minimum=0, only=("layer_by_layer",),
    )  # fmt: skip
    layer_decay: float = option(
        0.9,
        "Rate decay",
        "Each layer learns this many times as fast as the one above it; 1: all the same.",
        minimum=0.01,
        maximum=1.0,
        only=("layer_by_layer",),
    )
    rank: int = option(
        8, "Rank", "Width of each adapter. A larger one can learn more and has more parameters.",
        basic=True, minimum=1, maximum=1024, only=("lora",),
    )  # fmt: skip
    alpha: float = option(
        16.0, "Alpha", "The adapters' output is multiplied by alpha / rank.",
        minimum=0.01, maximum=4096, only=("lora",),
    )  # fmt: skip
    dropout: float = option(
        0.05, "Adapter dropout", "Share of an adapter's input that is blanked at random while training.",
        minimum=0.0, maximum=0.9, only=("lora",),
    )  # fmt: skip
    target_modules: str = option(
        "auto",
        "Adapted parts",
        "auto: the attention's projections (query, key, value, output). all-linear: the feed-forward parts too. Or "
        "names of the model's modules, as query,value.",
        only=("lora",),
    )
    merge: bool = option(
        True,
        "Merge",
        "The finished model has the adapters added into its weights and needs nothing else. Off: it holds the adapters "
        "alone, and needs the model they were trained on.",
        only=("lora",),
    )

    def __post_init__(self) -> None:
        check_options(self, "strategy")
