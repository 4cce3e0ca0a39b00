"""What the choices of a recipe's fields are called in a form: (title, tooltip) by field and choice."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QT_TRANSLATE_NOOP

from lmstudio_app.training.strategies import STRATEGIES

RECIPE_CHOICES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "strategy.name": {strategy.name: (strategy.title, strategy.help) for strategy in STRATEGIES},
    "options.train_on": {
        "answers": (
            QT_TRANSLATE_NOOP("recipe", "The answers"),
            QT_TRANSLATE_NOOP("recipe", "What the assistant says; the questions are read, but not learned"),
        ),
        "all": (
            QT_TRANSLATE_NOOP("recipe", "Everything"),
            QT_TRANSLATE_NOOP("recipe", "Every token of the conversation"),
        ),
    },
    "training.schedule": {
        "linear": (
            QT_TRANSLATE_NOOP("recipe", "Linear"),
            QT_TRANSLATE_NOOP("recipe", "In a straight line down to 0: right for most trainings"),
        ),
        "cosine": (
            QT_TRANSLATE_NOOP("recipe", "Cosine"),
            QT_TRANSLATE_NOOP("recipe", "Slowly at first and at the end, faster in the middle, down to 0"),
        ),
        "constant": (
            QT_TRANSLATE_NOOP("recipe", "Constant"),
            QT_TRANSLATE_NOOP("recipe", "It stays as it is after the warm-up"),
        ),
    },
    "training.precision": {
        "auto": (
            QT_TRANSLATE_NOOP("recipe", "Automatic"),
            QT_TRANSLATE_NOOP("recipe", "bf16 where the hardware is made for it"),
        ),
        "float32": ("float32", QT_TRANSLATE_NOOP("recipe", "Exact and slower: four bytes a number")),
        "bf16": ("bf16", QT_TRANSLATE_NOOP("recipe", "Faster and less exact: two bytes a number where it is enough")),
    },
    "training.device": {
        "auto": (QT_TRANSLATE_NOOP("recipe", "Automatic"), QT_TRANSLATE_NOOP("recipe", "The fastest there is")),
        "cpu": ("CPU", QT_TRANSLATE_NOOP("recipe", "The processor: every computer has one")),
        "cuda": ("CUDA", QT_TRANSLATE_NOOP("recipe", "A graphics card by NVIDIA")),
        "mps": ("MPS", QT_TRANSLATE_NOOP("recipe", "The graphics of a Mac")),
    },
    "training.on_out_of_memory": {
        "halve": (
            QT_TRANSLATE_NOOP("recipe", "Halve the batch"),
            QT_TRANSLATE_NOOP("recipe", "Go on by itself in two halves: the same result, slower"),
        ),
        "stop": (
            QT_TRANSLATE_NOOP("recipe", "Stop and ask"),
            QT_TRANSLATE_NOOP("recipe", "Stop at the last checkpoint and say so"),
        ),
    },
}
ARCHITECTURE_CHOICES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "architecture.family": {
        "bert": (
            QT_TRANSLATE_NOOP("recipe", "BERT"),
            QT_TRANSLATE_NOOP("recipe", "An encoder: it reads a text in both directions at once"),
        ),
        "gpt2": (
            QT_TRANSLATE_NOOP("recipe", "GPT-2"),
            QT_TRANSLATE_NOOP("recipe", "A decoder: it writes from left to right"),
        ),
        "llama": (
            QT_TRANSLATE_NOOP("recipe", "Llama"),
            QT_TRANSLATE_NOOP("recipe", "A decoder of a newer kind: it writes from left to right"),
        ),
        "marian": (
            QT_TRANSLATE_NOOP("recipe", "Marian"),
            QT_TRANSLATE_NOOP("recipe", "An encoder-decoder: it reads one text and writes another"),
        ),
    },
    "architecture.tokenizer.kind": {
        "auto": (QT_TRANSLATE_NOOP("recipe", "Automatic"), QT_TRANSLATE_NOOP("recipe", "The family's usual kind")),
        "wordpiece": ("WordPiece", QT_TRANSLATE_NOOP("recipe", "As BERT: frequent words whole, rare ones in pieces")),
        "unigram": (
            "Unigram",
            QT_TRANSLATE_NOOP("recipe", "By sentencepiece: the most probable cut, for any language"),
        ),
        "bpe": ("BPE", QT_TRANSLATE_NOOP("recipe", "By sentencepiece: frequent pairs are joined, again and again")),
    },
}
