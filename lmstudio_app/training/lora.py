"""LoRA: a product of two thin matrices beside each chosen weight learns what is to be added to it.

W x becomes W x + (alpha / rank) B A x, with A [rank, in] and B [out, rank]; B begins as zeros. Hu et al. 2021,
https://arxiv.org/abs/2106.09685. The adapters are peft's; the model keeps its class and works as before.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.models.adapters import ADAPTER_WEIGHTS
from lmstudio_app.models.names import hub_id
from lmstudio_app.training.layers import stacks, task_modules

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lmstudio_app.training.strategy_config import StrategyConfig

_NAME = "default"  # peft can hold several adapters; here is one
_TASK_TYPES = {
    "SequenceClassification": "SEQ_CLS",
    "TokenClassification": "TOKEN_CLS",
    "QuestionAnswering": "QUESTION_ANS",
}


def is_trained(name: str) -> bool:
    """Does this parameter of an adapted model train: part of an adapter, or of the task's own head?"""
    return ".lora_" in name or f".modules_to_save.{_NAME}." in name


def trained_heads(model: nn.Module) -> tuple[str, ...]:
    """The modules that train whole: the head, and what else is new; not the pretrained head of a language model."""
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return task_modules(model) if output is None else ()


def target_modules(model: nn.Module, config: StrategyConfig) -> dict[str, int]:
    """Paths of the modules that get an adapter, and how many parameters it has.

    Raises :class:`UserError` when the layers hold none that is meant.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    wanted = {name.strip() for name in config.target_modules.split(",") if name.strip()}
    found, known = {}, set()
    for stack in stacks(model):
        for path, module in stack.layers.named_modules(prefix=stack.path):
            if not isinstance(module, nn.Linear | Conv1D):
                continue
            name = path.rpartition(".")[2]
            known.add(name)
            is_attention = "attention" in (inner := path.removeprefix(stack.path).lower()) or "attn" in inner
            if wanted == {"all-linear"} or name in wanted or (wanted == {"auto"} and is_attention):
                found[path] = config.rank * sum(module.weight.shape)
    if not found:
        raise UserError(
            "No part of this model is meant by strategy.target_modules {names}.",
            "Choose auto, all-linear, or some of: {known}.",
            names=config.target_modules or "(empty)",
            known=", ".join(sorted(known)),
        )
    return found


def lora_config(model: nn.Module, config: StrategyConfig) -> Any:
    """The ``peft.LoraConfig`` of this strategy for ``model``. Raises :class:`UserError` as :func:`target_modules`."""
    import peft
    from transformers.pytorch_utils import Conv1D

    targets = target_modules(model, config)
    kind = type(model).__name__
    return peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=sorted(targets),
        modules_to_save=list(trained_heads(model)) or None,
        fan_in_fan_out=all(isinstance(model.get_submodule(path), Conv1D) for path in targets),
        task_type=next((name for suffix, name in _TASK_TYPES.items() if kind.endswith(suffix)), None),
    )


def adapt(model: nn.Module, config: StrategyConfig) -> Any:
    """Put adapters into ``model``, in place; returns the ``peft.PeftModel`` around it, which knows what is new.

    ``model`` itself goes on to be used: it has the same class, the same ``forward`` and the same ``generate``.
    """
    import peft

    settings = lora_config(model, config)
    # peft asks for an attribute that transformers is about to rename
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    return peft.get_peft_model(model, settings, adapter_name=_NAME)


def save_adapter(folder: Path, adapter: Any, base: str = "") -> None:
    """Write what ``PeftModel.from_pretrained(base model, folder)`` reads: adapters, head, configuration.

    ``base`` is the reference of the model they belong to; a folder is named without the path to it.
    """
    import peft
    from safetensors.torch import save_file

    tensors = peft.get_peft_model_state_dict(adapter, adapter_name=_NAME, save_embedding_layers=False)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        folder / ADAPTER_WEIGHTS,
        metadata={"format": "pt"},
    )
    settings = adapter.peft_config[_NAME]
    kept = settings.base_model_name_or_path, settings.inference_mode
    settings.base_model_name_or_path, settings.inference_mode = hub_id(base) or Path(base).name, True
    try:
        settings.save_pretrained(folder)
    finally:
        settings.base_model_name_or_path, settings.inference_mode = kept


def load_adapter(folder: Path, adapter: Any) -> None:
    """Restore what :func:`save_adapter` wrote. Raises ``ValueError`` when it does not fit."""
    import peft
    from safetensors.torch import load_file

    tensors = load_file(folder / ADAPTER_WEIGHTS)
    known = peft.get_peft_model_state_dict(adapter, adapter_name=_NAME, save_embedding_layers=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in known.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise ValueError("its adapters are not those of this recipe")
    peft.set_peft_model_state_dict(adapter, tensors, adapter_name=_NAME)


def adapter_size(adapter: Any) -> int:
    """Bytes that :func:`save_adapter` writes, without the configuration."""
    model = adapter.get_base_model()
    return sum(int(p.nbytes) for name, p in model.named_parameters() if is_trained(name))


def merged_weights(model: nn.Module) -> Mapping[str, torch.Tensor]:
    """The state of an ordinary model with the adapters added to the weights: W + (alpha / rank) B A.

    ``model`` stays as it is. Only the weights that have an adapter are new tensors.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    adapted = {
        f"{path}.base_layer.weight": module for path, module in model.named_modules() if isinstance(module, LoraLayer)
    }
    merged: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if ".lora_" in name or ".original_module." in name:
                continue
            plain = name.replace(".base_layer.", ".").replace(f".modules_to_save.{_NAME}.", ".")
            module = adapted.get(name)
            merged[plain] = tensor if module is None else tensor + module.get_delta_weight(_NAME).to(tensor.dtype)
    return merged
