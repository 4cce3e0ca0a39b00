"""From a model folder to a model in memory, with every problem told in a sentence."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.devices import DEVICES, PRECISIONS, resolve_device, resolve_precision
from lmstudio_app.errors import UserError, first_line, is_out_of_memory
from lmstudio_app.jobs import JobContext
from lmstudio_app.libraries import is_loaded
from lmstudio_app.models.adapters import is_adapter, merge_adapters, weights_folder
from lmstudio_app.models.card import ModelCard, read_card, read_config
from lmstudio_app.models.preloading import preload_libraries
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.models.references import resolve
from lmstudio_app.models.remote_code import require_allowed
from lmstudio_app.models.tokenizer_files import agree_on_padding, check_vocabulary, load_tokenizer
from lmstudio_app.models.usage import note_use

if TYPE_CHECKING:
    import torch

__all__ = [
    "AUTO_CLASSES",
    "LoadRequest",
    "LoadedModel",
    "agree_on_padding",
    "fetch_and_load",
    "load_model",
    "load_tokenizer",
    "move_model",
    "preload_libraries",
    "quiet_transformers",
]

# head -> the transformers class that loads it
AUTO_CLASSES: Mapping[str, str] = {
    "base": "AutoModel",
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
    "masked-lm": "AutoModelForMaskedLM",
    "pretraining": "AutoModelForPreTraining",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "causal-lm": "AutoModelForCausalLM",
}
# parts that only some checkpoints of a family carry; a fresh one is trained with the new head
_OPTIONAL_PARTS = ("pooler.",)


@dataclass(frozen=True)
class LoadRequest:
    """What to load and how.

    ``head``: ``auto`` (what the checkpoint states), ``base`` (no head), or a key of :data:`AUTO_CLASSES`.
    ``labels``: names for a classification head, in id order; a head of another size is made anew.
    ``precision``: ``bf16`` casts the weights, which is for inference only; ``auto`` is float32 on a CPU.
    ``code``: the digest of the program code that this model may run, where it is not allowed on this computer (see
    :mod:`lmstudio_app.models.remote_code`).
    """

    reference: str
    head: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    labels: tuple[str, ...] = ()
    attention: str = "sdpa"
    code: str = ""

    def __post_init__(self) -> None:
        for value, allowed in (
            (self.head, ("auto", *AUTO_CLASSES)),
            (self.device, DEVICES),
            (self.precision, PRECISIONS),
            (self.attention, ("sdpa", "eager")),
        ):
            if value not in allowed:
                raise UserError(
                    "{value} is not possible here.",
                    "Choose one of: {names}.",
                    value=value,
                    names=", ".join(allowed),
                )
        if len(set(self.labels)) != len(self.labels):
            raise UserError("Two labels have the same name.", "Give every label a name of its own.")


@dataclass
class LoadedModel:
    """A model in memory, in eval mode, with its tokenizer, its card, and the head it was loaded with."""

    reference: str
    folder: Path
    model: Any  # transformers.PreTrainedModel
    tokenizer: Any  # transformers.PreTrainedTokenizerBase
    card: ModelCard
    device: torch.device
    dtype: torch.dtype
    head: str = "base"

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in id order; empty for a model without a classification head."""
        if "classification" not in self.head:
            return ()
        names = self.model.config.id2label
        return tuple(str(names[index]) for index in sorted(names))


def load_model(request: LoadRequest, ctx: JobContext) -> LoadedModel:
    """Load a model that is on disk (the job of the Model tab; it never uses the network).

    Raises :class:`UserError` for everything that is wrong with the folder, the device or the memory.
    """
    folder = resolve(request.reference, ctx)
    card = read_card(folder, request.reference)
    note_use(folder)
    name = card.title or folder.name
    if not is_loaded("models"):
        ctx.status("Loading the libraries")
        preload_libraries(ctx)
    ctx.check()
    device = resolve_device(request.device)
    dtype = _inference_dtype(request.precision, device)
    with quiet_transformers(ctx):
        ctx.status("Reading the configuration of {name}", name=name)
        config = load_config(folder, request.code)
        runs_code = needs_code(folder)
        head = _choose_head(request, card)
        _set_labels(config, request, head)
        ctx.check()
        ctx.status("Loading the tokenizer of {name}", name=name)
        tokenizer = load_tokenizer(folder, runs_code=runs_code)
        ctx.check()
        ctx.status("Loading the weights of {name}", name=name)
        if is_adapter(folder):
            model = _load_adapted(folder, config, head, dtype, request, card, ctx)
        else:
            model = _load_weights(folder, config, head, dtype, request, card, ctx)
        check_vocabulary(model, tokenizer, folder)
        agree_on_padding(model, tokenizer)
        _require_padding(model, head, folder)
    ctx.check()
    if device.type != "cpu":
        ctx.status("Moving {name} to {device}", name=name, device=str(device))
        model = move_model(model, device)
    model.eval()
    ctx.status("{name} is loaded", name=name)
    return LoadedModel(request.reference, folder, model, tokenizer, card, device, dtype, head)


def fetch_and_load(request: LoadRequest, ctx: JobContext) -> LoadedModel:
    """Load a model, and bring it here first when it is not on this disk (a job)."""
    resolve(request.reference, ctx, fetch=True)
    return load_model(request, ctx)


def _inference_dtype(precision: str, device: torch.device) -> torch.dtype:
    """``auto`` keeps float32 unless a CUDA device has bfloat16 in hardware."""
    import torch

    if precision == "auto" and device.type != "cuda":
        return torch.float32
    return resolve_precision(precision, device)


def needs_code(folder: Path) -> bool:
    """Is the model of a family that transformers does not know, and brings program code for it?"""
    from transformers import CONFIG_MAPPING

    raw = read_config(folder)
    return raw.get("model_type") not in CONFIG_MAPPING and "auto_map" in raw


def load_config(folder: Path, code: str = "") -> Any:
    """The transformers configuration of a model folder.

    Raises :class:`UserError` when it describes no model, or one that needs code that is not allowed (see
    :class:`LoadRequest`).
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    model_type = read_config(folder).get("model_type")
    runs_code = needs_code(folder)
    if runs_code:
        require_allowed(folder, code)
    elif model_type not in CONFIG_MAPPING:
        raise UserError(
            "config.json in {folder} names an architecture that is not known here: {model_type}.",
            "Choose a model of a family that transformers knows, such as BERT, RoBERTa, GPT-2 or Llama.",
            folder=str(folder),
            model_type=model_type or "none",
        )
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=runs_code)
    except Exception as error:
        raise UserError(
            "config.json in {folder} does not describe a {model_type} model ({reason}).",
            "Download or copy the model again.",
            folder=str(folder),
            model_type=model_type,
            reason=str(error),
        ) from error


def _choose_head(request: LoadRequest, card: ModelCard) -> str:
    if request.head == "auto":
        return card.head if card.head in AUTO_CLASSES else "base"
    if request.head == "sequence-classification" and card.head != request.head and not request.labels:
        raise UserError(
            "{name} has no classification head yet.",
            "Train it for a task first, or choose a model that was trained to classify.",
            name=card.title or card.folder.name,
        )
    return request.head


def _set_labels(config: Any, request: LoadRequest, head: str) -> None:
    if not request.labels or "classification" not in head:
        return
    if len(request.labels) < 2:
        raise UserError("A classification needs at least two labels.", "Check the label column of the data.")
    config.id2label = dict(enumerate(request.labels))
    config.label2id = {label: index for index, label in enumerate(request.labels)}
    config.problem_type = None  # named labels are classes, whatever loss the old head was trained with


def _load_adapted(
    folder: Path, config: Any, head: str, dtype: torch.dtype, request: LoadRequest, card: ModelCard, ctx: JobContext
) -> Any:
    """The model that the adapters in ``folder`` belong to, with them added into its weights."""
    if head != card.head or (request.labels and len(request.labels) != len(card.labels)):
        raise UserError(
            "The adapters in {folder} are for one task and its labels alone.",
            "Start from the model that they belong to, or train them again with strategy.merge on.",
            folder=str(folder),
        )
    base = weights_folder(folder)
    request = dataclasses.replace(request, labels=request.labels or card.labels)
    model = _load_weights(base, config, head, dtype, request, read_card(base), ctx, is_final=False)
    ctx.check()
    return merge_adapters(model, folder)


def _load_weights(
    folder: Path,
    config: Any,
    head: str,
    dtype: torch.dtype,
    request: LoadRequest,
    card: ModelCard,
    ctx: JobContext,
    *,
    is_final: bool = True,
) -> Any:
    import transformers

    auto_class = getattr(transformers, AUTO_CLASSES[head])
    # mismatched sizes are judged below, with a sentence that names them; transformers would print a table
    load = functools.partial(
        auto_class.from_pretrained,
        folder,
        config=config,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=needs_code(folder),  # load_config has asked whether it may
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    try:
        try:
            model, report = load(attn_implementation=request.attention)
        except ValueError as error:
            if "attn_implementation" not in str(error) and "scaled_dot_product_attention" not in str(error):
                raise
            ctx.status("{name} has no fast attention in transformers; the plain one is used", name=card.architecture)
            model, report = load(attn_implementation="eager")
        if report["missing_keys"] and (renamed := _other_prefix(model)):
            model, report = load(attn_implementation=model.config._attn_implementation, key_mapping=renamed)
    except (ValueError, RuntimeError, OSError, KeyError, TypeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            "The weights in {folder} cannot be loaded as {head} ({reason}).",
            "Check that config.json belongs to these weights, or choose another model.",
            folder=str(folder),
            head=AUTO_CLASSES[head],
            reason=first_line(error),
        ) from error
    fresh = _judge(model, report, head, request, card)
    if fresh and is_final:
        ctx.status("The head is new and still knows nothing: {keys}", keys=", ".join(fresh))
    return model


def _other_prefix(model: Any) -> dict[str, str]:
    """How to rename tensors for a head that keeps the backbone under another name than the family's other heads.

    Llama's question answering and some others say ``transformer`` where all their checkpoints say ``model``.
    """
    usual = getattr(getattr(model, model.base_model_prefix, None), "base_model_prefix", model.base_model_prefix)
    return {} if usual == model.base_model_prefix else {rf"^{usual}\.": f"{model.base_model_prefix}."}


def _backbone_names(model: Any) -> Callable[[str], bool]:
    """Tells of a tensor's name whether it belongs to the pretrained part of a model with a head.

    Most families keep that part under one attribute; T5 has its head beside the parts, under their own names.
    """
    if hasattr(model, model.base_model_prefix):
        prefix = f"{model.base_model_prefix}."
        return lambda key: key.startswith(prefix)
    import torch
    from transformers import MODEL_MAPPING, AutoModel

    if type(model.config) not in MODEL_MAPPING:
        return lambda key: True
    with torch.device("meta"):
        names = set(AutoModel.from_config(model.config).state_dict())
    return names.__contains__


def _judge(model: Any, report: Mapping[str, Any], head: str, request: LoadRequest, card: ModelCard) -> tuple[str, ...]:
    """The tensors of the new head, which are random. Raises :class:`UserError` when anything else is amiss.

    A head is new when the checkpoint has another one, or when other labels are wanted than it has.
    """
    is_new = head != card.head or (bool(request.labels) and len(request.labels) != len(card.labels))
    is_in_backbone = _backbone_names(model) if is_new and head != "base" else None

    def _may_be_random(key: str) -> bool:
        is_head = is_in_backbone is not None and not is_in_backbone(key)
        return is_head or any(part in key for part in _OPTIONAL_PARTS)

    mismatched = {key: (tuple(found), tuple(wanted)) for key, found, wanted in report["mismatched_keys"]}
    wrong = sorted(key for key in mismatched if not _may_be_random(key))
    if wrong:
        found, wanted = mismatched[wrong[0]]
        raise UserError(
            "The weights do not fit config.json: {key} is {found} in the file, {wanted} by config.json.",
            "Take config.json and the weights from the same model.",
            key=wrong[0],
            found=" × ".join(map(str, found)),
            wanted=" × ".join(map(str, wanted)),
        )
    missing = set(report["missing_keys"])
    absent = sorted(key for key in missing if not _may_be_random(key))
    if absent:
        raise UserError(
            "{count} of the model's tensors are not in its weight files, for example {key}.",
            "Take config.json and the weights from the same model, or download it again.",
            count=len(absent),
            key=absent[0],
        )
    return tuple(sorted(missing | set(mismatched))) if head != "base" else ()


def _require_padding(model: Any, head: str, folder: Path) -> None:
    """A classifier made of a decoder judges by the last token before the padding."""
    if head == "sequence-classification" and model.config.get_text_config().pad_token_id is None:
        raise UserError(
            "The tokenizer in {folder} has no token for padding and none for the end of a text, which a classifier "
            "needs.",
            "Add a pad_token to the model's tokenizer_config.json, or choose another model.",
            folder=str(folder),
        )


def move_model(model: Any, device: torch.device) -> Any:
    """Raises :class:`UserError` when the device has no room for it."""
    try:
        return model.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "The memory of {device} is not enough for this model.",
            "Choose bf16 precision, a smaller model, or the CPU.",
            device=str(device),
        ) from error
