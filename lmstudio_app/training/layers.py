"""A model as what lies above what: embeddings, layers, what stands between, and the task's head.

Found by structure, so that any Transformer of transformers is understood: its layers are the outermost ``ModuleList``
of the backbone (an encoder-decoder has one on either side), the rest is sorted by where it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from lmstudio_app.models.card import ModelCard

EMBEDDINGS, LAYER, BETWEEN, HEAD = "embeddings", "layer", "between", "head"
_NEW_PARTS = "_lmstudio_new_parts"


@dataclass(frozen=True)
class LayerGroup:
    """Parameters that stand at one height of the model.

    ``kind`` is one of embeddings, layer, between (a pooler, a final norm) and head. ``side`` is ``encoder`` or
    ``decoder`` in a model that has both. ``number`` counts the layers of a side from 0. A parameter that is used at
    two heights (tied embeddings) belongs to the lower one alone.
    """

    kind: str
    side: str
    number: int
    names: tuple[str, ...]
    count: int

    @property
    def template(self) -> str:
        """The title, to be translated and filled in with ``number``."""
        titles = {
            (EMBEDDINGS, ""): "Embeddings",
            (LAYER, ""): "Layer {number}",
            (LAYER, "encoder"): "Encoder layer {number}",
            (LAYER, "decoder"): "Decoder layer {number}",
            (BETWEEN, ""): "Above the layers",
            (BETWEEN, "encoder"): "Above the encoder layers",
            (BETWEEN, "decoder"): "Above the decoder layers",
            (HEAD, ""): "Task head",
        }
        return titles[self.kind, self.side]

    @property
    def title(self) -> str:
        return self.template.format(number=self.number)


@dataclass(frozen=True)
class Stack:
    """The layers of one side: where they are in the model, and the module that holds the list of them."""

    path: str
    owner: str
    side: str
    layers: nn.ModuleList


def backbone_prefix(model: nn.Module) -> str:
    """``"bert."`` for a BERT with a head: the attribute under which transformers keeps the pretrained part."""
    prefix = getattr(model, "base_model_prefix", "")
    return f"{prefix}." if prefix and hasattr(model, prefix) else ""


def fixed_parameters(model: nn.Module) -> frozenset[str]:
    """Parameters that hold a formula: sinusoidal positions. They never train, and some families do not save them."""
    found = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    for path, module in model.named_modules():
        if "Sinusoidal" in type(module).__name__:
            found |= {f"{path}.{name}" for name, _ in module.named_parameters()}
    return frozenset(name for name, _ in model.named_parameters() if name in found)


def stacks(model: nn.Module) -> tuple[Stack, ...]:
    """The layers of the backbone, an encoder's before a decoder's."""
    from torch import nn

    prefix = backbone_prefix(model)
    found: list[tuple[str, nn.ModuleList]] = []
    for path, module in model.named_modules():
        is_inner = any(path.startswith(f"{outer}.") for outer, _ in found)
        if is_inner or not isinstance(module, nn.ModuleList) or not path.startswith(prefix):
            continue
        if len(module) and all(any(p.ndim > 1 for p in layer.parameters()) for layer in module):
            found.append((path, module))
    sides = ["decoder" if "decoder" in path.removeprefix(prefix).split(".") else "encoder" for path, _ in found]
    has_both = len(set(sides)) == 2
    made = [
        Stack(path, path.rpartition(".")[0], side if has_both else "", layers)
        for side, (path, layers) in zip(sides, found, strict=True)
    ]
    return tuple(sorted(made, key=lambda stack: stack.side == "decoder"))


def head_modules(model: nn.Module) -> tuple[str, ...]:
    """Paths of the modules (or, rarely, parameters) that are the task's own, each directly in ``model``."""
    prefix = backbone_prefix(model)
    if prefix:
        body = {prefix.rstrip(".")}
    elif {stack.side for stack in stacks(model)} >= {"encoder", "decoder"}:  # T5 keeps its head beside both
        body = {stack.path.partition(".")[0] for stack in stacks(model)} | {"shared", "embed_tokens"}
    else:
        return ()
    found: dict[str, None] = {}
    for name, _ in model.named_parameters():  # tied weights show under their first name, which is the embedding's
        if (top := name.partition(".")[0]) not in body:
            found[top] = None
    return tuple(found)


def note_new_parts(model: nn.Module, card: ModelCard) -> None:
    """Remember on ``model`` what of its backbone came without weights and is random, as a new head is.

    That can be the pooler alone, which a model pretrained on masked words does not have.
    """
    path = f"{backbone_prefix(model)}pooler"
    is_new = "pooler" not in dict(card.parts) and _has_parameters(model, path)
    setattr(model, _NEW_PARTS, (path,) if is_new else ())


def task_modules(model: nn.Module) -> tuple[str, ...]:
    """Paths of what is to be learned for the task in any case: the head, and what :func:`note_new_parts` has found."""
    return (*head_modules(model), *getattr(model, _NEW_PARTS, ()))


def _has_parameters(model: nn.Module, path: str) -> bool:
    return any(name.startswith(f"{path}.") for name, _ in model.named_parameters())


def parameters_in(model: nn.Module, paths: Iterable[str]) -> frozenset[str]:
    """Names of the parameters of these modules (or of these parameters themselves)."""
    places = tuple(paths)
    return frozenset(
        name
        for name, _ in model.named_parameters()
        if any(name == path or name.startswith(f"{path}.") for path in places)
    )


def layer_groups(model: nn.Module) -> tuple[LayerGroup, ...]:
    """All parameters of ``model`` in groups from the bottom to the top; groups without any are left out.

    Raises :class:`UserError` for a model without a list of layers.
    """
    found = stacks(model)
    if not found:
        raise UserError(
            "The layers of this model ({kind}) cannot be told apart.", "Choose the strategy full.",
            kind=type(model).__name__,
        )  # fmt: skip
    heads = head_modules(model)
    members: dict[tuple[str, str, int], dict[str, int]] = {key: {} for key in _order(found)}
    for name, parameter in model.named_parameters():
        members[_place(model, name, found, heads)][name] = parameter.numel()
    return tuple(
        LayerGroup(kind, side, number, tuple(counts), sum(counts.values()))
        for (kind, side, number), counts in members.items()
        if counts
    )


def _order(found: tuple[Stack, ...]) -> Iterator[tuple[str, str, int]]:
    yield EMBEDDINGS, "", 0
    for stack in found:
        for number in range(len(stack.layers)):
            yield LAYER, stack.side, number
        yield BETWEEN, stack.side, 0
    yield BETWEEN, "", 0
    yield HEAD, "", 0


def _place(model: nn.Module, name: str, found: tuple[Stack, ...], heads: tuple[str, ...]) -> tuple[str, str, int]:
    for stack in found:
        if name.startswith(f"{stack.path}."):
            return LAYER, stack.side, int(name.removeprefix(f"{stack.path}.").partition(".")[0])
    if name.partition(".")[0] in heads:
        return HEAD, "", 0
    if _is_below(model, name):
        return EMBEDDINGS, "", 0
    for stack in found:
        if stack.side and name.startswith(f"{stack.owner}."):
            return BETWEEN, stack.side, 0
    return BETWEEN, "", 0


def _is_below(model: nn.Module, name: str) -> bool:
    """Is this what the first layer reads (or, as DeBERTa's relative positions, every layer)?"""
    from torch import nn

    path = name.rpartition(".")[0]
    owner = path.rpartition(".")[0]
    return (
        "embed" in name.lower()
        or isinstance(model.get_submodule(path), nn.Embedding)
        or hasattr(model.get_submodule(owner), "rel_embeddings")
    )
