"""Which sentence is watched while a model learns: the recipe's section ``probe``."""

from __future__ import annotations

from dataclasses import dataclass

from lmstudio_app.errors import UserError
from lmstudio_app.options import check_options, option, parse_numbers


@dataclass(frozen=True)
class ProbeConfig:
    """Without a ``text`` nothing is watched. It has no influence on what the model learns."""

    text: str = option(
        "",
        "Sentence",
        "What the model looks at in it is recorded while it learns, to be played like a film; empty: nothing is.",
        basic=True,
        wide=True,
    )
    pair: str = option(
        "", "Second sentence", "For tasks that compare two texts: read together with the first one.", wide=True
    )
    target: str = option(
        "",
        "Written text",
        "For models that write, as in translation: what the sentence may become. Where the writer looks while it "
        "writes this is recorded. Empty: where the reader looks.",
        wide=True,
    )  # fmt: skip
    every: int = option(
        0,
        "Record every",
        "Optimizer steps between two recordings; 0: as often as costs about one percent of the time.",
        minimum=0,
    )
    layers: str = option("all", "Recorded layers", "Which layers, counted from 0: such as 0,5 or 2-4, or all.")
    heads: str = option("all", "Recorded heads", "Which heads of each layer, counted from 0: such as 0,5, or all.")

    def __post_init__(self) -> None:
        check_options(self, "probe")
        self.layer_numbers()
        self.head_numbers()
        if not self.text.strip() and (self.pair.strip() or self.target.strip()):
            raise UserError(
                "The sentence to watch has a second part and no first one.",
                "Give probe.text as well, or leave probe.pair and probe.target empty.",
            )

    def layer_numbers(self) -> tuple[int, ...] | None:
        """None means all."""
        return parse_numbers(self.layers, "probe.layers")

    def head_numbers(self) -> tuple[int, ...] | None:
        """None means all."""
        return parse_numbers(self.heads, "probe.heads")

    @property
    def is_on(self) -> bool:
        return bool(self.text.strip())
