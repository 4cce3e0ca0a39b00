"""What the view of all heads together says, in plain words."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from lmstudio_app.inspection.aggregates import THROUGH_LAYERS


def method_texts() -> dict[str, tuple[str, str]]:
    """Title and tip."""
    return {
        "mean": (_tr("Mean"), _tr("The average of the heads")),
        "max": (_tr("Largest"), _tr("The largest weight that any head gives")),
        "rollout": (_tr("Rollout"), _tr("How much of each token of the text ends up in each token of a layer")),
        "flow": (_tr("Flow"), _tr("How much could flow from each token of the text to each token of a layer")),
    }


def explanation(method: str, *, looks_back: bool, has_source: bool) -> str:
    """``looks_back``: no token sees those after it. ``has_source``: it also looks at a source text."""
    texts = {
        "mean": _tr(
            "The average of the heads: where the model looks on the whole. Heads that do different things drown each "
            "other in it."
        ),
        "max": _tr(
            "The largest weight that any of the heads gives. Nothing that a single head does is lost, but a row no "
            "longer sums to 1."
        ),
        "rollout": _tr(
            "Every layer mixes its tokens: half of each comes from where its heads look on average, half is the token "
            "itself. Followed down to the text, this says what a token is mixed of (attention rollout, Abnar and "
            "Zuidema 2020). What else layers do is left out."
        ),
        "flow": _tr(
            "The layers as a network of pipes, each as wide as the heads' average attention: how much can flow from a "
            "token down to each token of the text, as shares (attention flow, Abnar and Zuidema 2020). It spreads more "
            "evenly than rollout, and takes longer."
        ),
    }
    said = [texts[method]]
    if method == "rollout" and looks_back:
        said.append(_tr("As no token sees those after it, many layers lead nearly all to the first: try fewer."))
    if method in THROUGH_LAYERS and has_source:
        said.append(_tr("What comes from the source text is not counted."))
    return " ".join(said)


def layer_text(method: str, layer: int | None) -> str:
    if layer is None:
        return _tr("all layers")
    if method in THROUGH_LAYERS:
        return _tr("up to layer {layer}").format(layer=layer)
    return _tr("layer {layer} only").format(layer=layer)


def cell_text(method: str) -> str:
    """A template of ``query``, ``key`` and ``weight``."""
    texts = {
        "mean": _tr("“{query}” looks at “{key}” with weight {weight} on average"),
        "max": _tr("“{query}” looks at “{key}” with weight {weight} where it does most"),
        "rollout": _tr("“{query}” is made of “{key}” by a share of {weight}"),
        "flow": _tr("“{query}” gets a share of {weight} from “{key}”"),
    }
    return texts[method]


def _tr(text: str) -> str:
    return QCoreApplication.translate("TogetherView", text)
