"""What the hub says, in words: tasks, quantisations, what fits this machine and why."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, QDateTime, Qt
from PySide6.QtGui import QColor, QPalette

from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.hub_queries import Hit
from lmstudio_app.gui.text import compact_number_text, number_text
from lmstudio_app.models.hub_search import HubResult
from lmstudio_app.models.hub_weights import WeightChoice


def _tr(text: str) -> str:
    return QCoreApplication.translate("hub", text)


def task_titles() -> dict[str, str]:
    """The hub's names of the tasks that the application has a use for, in plain words."""
    return {
        "text-generation": _tr("Writing and chatting"),
        "translation": _tr("Translating"),
        "summarization": _tr("Summarising"),
        "text-classification": _tr("Judging texts (sentiment, topic)"),
        "zero-shot-classification": _tr("Sorting texts into classes of your own"),
        "question-answering": _tr("Finding answers in a text"),
        "fill-mask": _tr("Filling gaps in a text"),
        "feature-extraction": _tr("Turning texts into vectors"),
        "sentence-similarity": _tr("Comparing sentences"),
        "token-classification": _tr("Marking words (names, places)"),
        "text2text-generation": _tr("Rewriting texts"),
    }


def task_text(task: str) -> str:
    """A task that the application has no use for keeps the hub's name."""
    return task_titles().get(task) or task.replace("-", " ") or _tr("task not stated")


def verdict_text(verdict: str) -> str:
    return {
        "fits": _tr("Fits this machine"),
        "tight": _tr("Tight"),
        "too large": _tr("Too large"),
    }.get(verdict) or _tr("Unknown")


def verdict_sentence(hit: Hit) -> str:
    """The verdict with what is needed and what there is."""
    if not hit.needed:
        return _tr("Unknown whether it fits: the hub does not state its size.")
    return _tr("{verdict}: it takes about {needed} of memory, and {free} are free.").format(
        verdict=verdict_text(hit.verdict), needed=format_bytes(hit.needed), free=format_bytes(hit.machine.free)
    )


def verdict_colour(verdict: str, palette: QPalette) -> QColor:
    match verdict:
        case "fits":
            return theme.success(palette)
        case "tight":
            return theme.warning(palette)
        case "too large":
            return theme.danger(palette)
    return theme.muted(palette)


def verdict_reason(hit: Hit) -> str:
    """How the verdict was computed."""
    machine = hit.machine
    if not hit.needed:
        return _tr("The hub does not state how many parameters it has, so nothing can be said before it is downloaded.")
    where = _tr("graphics card") if machine.bytes_per_parameter == 2 else _tr("memory")
    return _tr(
        "{parameters} parameters × {width} bytes + 20 % to compute with = {needed}; free in the {where} now: {free}. "
        "Up to 70 % of it fits, up to all of it is tight. To train every weight takes about four times as much."
    ).format(
        parameters=compact_number_text(hit.result.parameters),
        width=machine.bytes_per_parameter,
        needed=format_bytes(hit.needed),
        where=where,
        free=format_bytes(machine.free),
    )


def parameters_text(result: HubResult) -> str:
    if not result.parameters:
        return _tr("size not stated")
    return _tr("{count} parameters").format(count=compact_number_text(result.parameters).replace("G", "B"))


def size_text(result: HubResult) -> str:
    """Bytes to download, as far as the search knows."""
    if result.size:
        return format_bytes(result.size)
    if "gguf" in result.formats:
        return _tr("GGUF, several sizes")
    return _tr("download size not stated")


def date_text(iso: str) -> str:
    """The day: ``2025-02-06``."""
    moment = QDateTime.fromString(iso, Qt.DateFormat.ISODate)
    return moment.date().toString(Qt.DateFormat.ISODate) if moment.isValid() else ""


def count_text(count: int) -> str:
    """``945``, ``12.3k``: a number of downloads or likes."""
    return compact_number_text(count) if count >= 1000 else number_text(count)


def what_text(hit: Hit) -> str:
    """``Translating · 77M parameters · 310 MB``"""
    result = hit.result
    return " · ".join((task_text(result.task), parameters_text(result), size_text(result)))


def how_text(hit: Hit) -> str:
    """``1.2M downloads · 300 likes · apache-2.0 · 2025-02-06``"""
    result = hit.result
    counts = _tr("{downloads} downloads · {likes} likes · {license}").format(
        downloads=count_text(result.downloads),
        likes=count_text(result.likes),
        license=result.license or _tr("licence not stated"),
    )
    return " · ".join(part for part in (counts, date_text(result.updated)) if part)


def access_text(result: HubResult) -> str:
    if result.private:
        return _tr("private")
    return _tr("gated") if result.gated else ""


def choice_text(choice: WeightChoice) -> str:
    """One line of the choice among the forms of the weights."""
    size = format_bytes(choice.size)
    match choice.kind:
        case "safetensors":
            return _tr("safetensors, {size}").format(size=size)
        case "adapter":
            return _tr("adapters, {size}, and the model they belong to").format(size=size)
        case "pickle":
            return _tr("pickle (older format), {size}").format(size=size)
    name = choice.quantisation or choice.names[0].rsplit("/", 1)[-1]
    return _tr("GGUF {name}, {size}").format(name=name, size=size)


def choice_explained(choice: WeightChoice) -> str:
    """What one gets with it, in a sentence."""
    match choice.kind:
        case "safetensors":
            return _tr("The model as its authors have published it. It can be trained and looked into.")
        case "adapter":
            return _tr("Small weights that change another model, which is downloaded too if it is not here.")
        case "pickle":
            return _tr("A format that can hide programs: only its tensors are read, and kept as safetensors.")
    made = _tr("Safetensors are made of it, once, so it takes more room on the disk than it is long.")
    if choice.quantisation in ("BF16", "F16", "FP16", "F32", "FP32"):
        return _tr("Not rounded: as good as the original.") + " " + made
    words = {
        1: _tr("the smallest, and clearly worse than the original"),
        2: _tr("very small, and clearly worse than the original"),
        3: _tr("small, and noticeably worse than the original"),
        4: _tr("the usual compromise of size and quality"),
        5: _tr("a little better and larger than 4 bits"),
        6: _tr("nearly as good as the original"),
        8: _tr("hardly to be told from the original"),
    }
    if choice.bits in words:
        text = _tr("Weights rounded to about {bits} bits: {words}.").format(bits=choice.bits, words=words[choice.bits])
        return f"{text} {made}"
    return made
