"""Metrics for people: what each is called, what it says in plain words, how it is written, and its axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QCoreApplication

# which metrics stand on one axis
LOSS, SHARE, POINTS, PERPLEXITY, NUMBER = "loss", "share", "points", "perplexity", "number"
_SCORES = ("f1", "exact_match", "rouge_1", "rouge_2", "rouge_l", "bleu", "chrf")  # of 1 or of 100, as a task likes


def metric_title(name: str) -> str:
    """``f1`` is ``F1``, ``accuracy`` is ``Accuracy``: names of metrics are the field's own."""
    known = {
        "f1_macro": "F1 macro",
        "bleu": "BLEU",
        "chrf": "chrF",
        "rouge_1": "ROUGE-1",
        "rouge_2": "ROUGE-2",
        "rouge_l": "ROUGE-L",
        "mlm_accuracy": "MLM accuracy",
        "mlm_loss": "MLM loss",
        "nsp_accuracy": "NSP accuracy",
        "nsp_loss": "NSP loss",
        "nsp_majority": "NSP baseline",
        "pseudo_perplexity": "Pseudo-perplexity",
    }
    if name not in known and name.startswith(("bleu_", "chrf_")):  # of one language among several
        kind, _, language = name.partition("_")
        return f"{known[kind]} {language}"
    return known.get(name) or (name.upper() if len(name) <= 3 else name.replace("_", " ").capitalize())


def short_title(name: str) -> str:
    """Where there is little room, beside the others of its chart."""
    known = {
        "mlm_accuracy": "MLM",
        "nsp_accuracy": "NSP",
        "mlm_loss": "MLM",
        "nsp_loss": "NSP",
        "nsp_majority": QCoreApplication.translate("metrics", "base"),
        "exact_match": "EM",
        "accuracy": QCoreApplication.translate("metrics", "acc."),
        "f1_macro": "F1",
        "rouge_1": "1",
        "rouge_2": "2",
        "rouge_l": "L",
    }
    return known.get(name) or metric_title(name)


def group_title(names: Sequence[str]) -> str:
    """The heading of a chart of these metrics; none where their own titles say it all."""
    translate = QCoreApplication.translate
    if len(names) == 1:
        return metric_title(names[0])
    if all(name.startswith("rouge") for name in names):
        return "ROUGE"
    if all(name.endswith("_loss") for name in names):
        return translate("metrics", "Losses")
    if any(name.startswith(("mlm_", "nsp_")) for name in names):
        return translate("metrics", "Accuracy")
    return ""


def metric_help(name: str) -> str:
    """A metric in plain words; one that is not known here is called by its name."""
    translate = QCoreApplication.translate
    known = {
        "loss": translate(
            "metrics",
            "How surprised the model is by the right answers of the evaluation rows (cross-entropy). 0 is perfect; "
            "guessing between two classes gives 0.69.",
        ),
        "accuracy": translate("metrics", "How often it is right, on rows that it never learns from; 1 is always."),
        "f1_macro": translate(
            "metrics",
            "How well it knows its classes, every class counting the same, however rare it is: the mean of their F1. "
            "1 is perfect.",
        ),
        "exact_match": translate(
            "metrics", "How many answers are word for word one of the right ones; articles and punctuation aside."
        ),
        "f1": translate(
            "metrics",
            "How much of the right answer's words it finds, and how few others: a half-right answer counts in part.",
        ),
        "bleu": translate(
            "metrics",
            "How many runs of one to four words the output shares with the reference, from 0 to 100. Good translations "
            "reach 30 to 60; there is more than one right one.",
        ),
        "chrf": translate(
            "metrics",
            "How many runs of letters the output shares with the reference, from 0 to 100. Kinder than BLEU to "
            "languages whose words have many endings.",
        ),
        "rouge_1": translate("metrics", "How many single words the summary shares with the reference."),
        "rouge_2": translate("metrics", "How many pairs of neighbouring words the summary shares with the reference."),
        "rouge_l": translate(
            "metrics", "The longest sequence of words, in order, that the summary shares with the reference."
        ),
        "perplexity": translate(
            "metrics",
            "Among how many equally likely words the model hesitates, on average, at each place: lower is better, 1 is "
            "perfect. It is e to the power of the loss.",
        ),
        "pseudo_perplexity": translate(
            "metrics",
            "Among how many equally likely words the model hesitates, on average, behind a mask: lower is better, 1 is "
            "perfect. Not comparable with the perplexity of a model that writes.",
        ),
        "mlm_accuracy": translate("metrics", "The share of masked words that the model guesses exactly."),
        "mlm_loss": translate("metrics", "How surprised it is by the words behind the masks: lower is better."),
        "nsp_accuracy": translate(
            "metrics",
            "How often it tells rightly whether one sentence follows another; flipping a coin gives 0.5.",
        ),
        "nsp_majority": translate(
            "metrics",
            "The NSP accuracy of a model that always says the same: only above it has something been learned.",
        ),
        "nsp_loss": translate(
            "metrics", "How surprised it is by which sentences follow each other; guessing gives 0.69."
        ),
        "token_accuracy": translate("metrics", "The share of tokens that the model predicts exactly."),
    }
    return known.get(name, metric_title(name))


def metric_scale(name: str, highest: float = 0.0) -> str:
    """The axis a metric stands on. Scores are of 1 or of 100: ``highest`` is the largest value there is."""
    if name == "loss" or name.endswith("_loss"):
        return LOSS
    if name == "perplexity" or name.endswith("_perplexity"):
        return PERPLEXITY
    if name.endswith("accuracy") or name in ("f1_macro", "nsp_majority"):
        return SHARE
    if name in _SCORES or name.startswith(("rouge_", "bleu_", "chrf_")):
        return POINTS if highest > 1.0 or name.startswith(("bleu", "chrf")) else SHARE
    return SHARE if 0.0 <= highest <= 1.0 else NUMBER


def metric_groups(highest: Mapping[str, float], main: str = "") -> list[tuple[str, ...]]:
    """Metrics that can share an axis: the group of ``main`` first, and in it ``main``; parts of the loss last.

    ``highest`` is the largest value of each metric, in the order in which the task reports them; without ``loss``.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(highest, key=lambda name: name != main):  # a stable sort: the rest as it was
        groups.setdefault(metric_scale(name, highest[name]), []).append(name)
    losses = groups.pop(LOSS, [])
    return [tuple(names) for names in (*groups.values(), losses) if names]


def metric_text(value: float, *, short: bool = False) -> str:
    """``0.9123``, ``34.21``, ``429.3``, ``1234``; ``short`` leaves one digit out."""
    if abs(value) < 10:
        return f"{value:.3f}" if short else f"{value:.4f}"
    if abs(value) < 100:
        return f"{value:.1f}" if short else f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.4g}"
