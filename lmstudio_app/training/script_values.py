"""What a recipe comes to in an exported script: which parts it is made of, and the constants at its top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.models.adapters import is_adapter, weights_folder
from lmstudio_app.models.card import read_card
from lmstudio_app.models.languages import declared_languages, set_languages, source_token
from lmstudio_app.models.loading import AUTO_CLASSES
from lmstudio_app.models.names import hub_id
from lmstudio_app.tasks.masked_head import head_path
from lmstudio_app.tasks.seq2seq import declared_prefix
from lmstudio_app.tasks.task import Task
from lmstudio_app.tasks.writing import decoder_limit
from lmstudio_app.training.script_layers import around_layers, formulas, lora_settings, stage_paths
from lmstudio_app.training.script_parts import Constant, Expression

if TYPE_CHECKING:
    from lmstudio_app.training.recipe import Recipe

# task -> its parts: encoding, examples to a batch, loss
_PARTS: Mapping[str, tuple[str, str, str]] = {
    "sentiment": ("encode_texts", "collate_labels", "loss_model"),
    "classification": ("encode_texts", "collate_labels", "loss_model"),
    "translation": ("encode_pairs", "collate_sequences", "loss_pairs"),
    "summarization": ("encode_pairs", "collate_sequences", "loss_pairs"),
    "question_answering": ("encode_questions", "collate_questions", "loss_model"),
    "chat": ("encode_chats", "collate_sequences", "loss_answers"),
    "masked_lm": ("encode_masked", "collate_masked", "loss_masked"),
    "bert_pretraining": ("encode_pieces", "collate_pieces", "loss_pieces"),
    "causal_lm": ("encode_causal", "collate_causal", "loss_next"),
}
TASKS_WITH_SCRIPTS = frozenset(_PARTS)
# the configurations of transformers -> the recipe's architecture
_SHAPE_NAMES: Mapping[str, tuple[str, ...]] = {
    "LAYERS": ("num_hidden_layers", "n_layer", "encoder_layers", "decoder_layers"),
    "HEADS": ("num_attention_heads", "num_key_value_heads", "n_head", "encoder_attention_heads",
              "decoder_attention_heads"),
    "HIDDEN_SIZE": ("hidden_size", "n_embd", "d_model"),
    "FEED_FORWARD": ("intermediate_size", "n_inner", "encoder_ffn_dim", "decoder_ffn_dim"),
    "LONGEST_TEXT": ("max_position_embeddings", "n_positions"),
    "DROPOUT": ("hidden_dropout_prob", "attention_probs_dropout_prob", "resid_pdrop", "embd_pdrop", "attn_pdrop",
                "attention_dropout", "dropout"),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What a script is about. ``model`` has all its names and no weights (torch's meta device).

    ``tokenizer`` is None while it is still to be learned; ``folder`` is the pretrained model's. ``is_encoded``: the
    files hold token ids. ``has_pairs``: rows of a classification have a second text. ``portions``: there are more rows
    than are encoded at once. ``own_padding`` and ``own_template``: the tokenizer has them by itself;
    ``model_padding``: the model names no padding token.
    """

    recipe: Recipe
    task: Task
    model: Any  # transformers.PreTrainedModel
    tokenizer: Any
    labels: tuple[str, ...]
    max_length: int
    folder: Path | None
    is_encoded: bool = False
    has_pairs: bool = False
    portions: bool = False
    own_padding: bool = True
    own_template: bool = True
    model_padding: bool = False

    @property
    def encode_part(self) -> str:
        return "encode_given" if self.is_encoded else _PARTS[self.recipe.task][0]


def part_names(subject: Subject, conditions: set[str]) -> list[str]:
    """The parts of the script, from its top to its end."""
    _, collate, loss = _PARTS[subject.recipe.task]
    names = ["data", "tokenizer", subject.encode_part]
    names += ["portions"] if "portions" in conditions else []
    names += ["examples", *(["cut"] if "batch_tokens" in conditions else []), "batches", "pad"]
    names += ["mask"] if collate in ("collate_masked", "collate_pieces") else []
    names += [collate, "model", *(["lora"] if "lora" in conditions else [])]
    names += ["train_only"] if conditions & {"frozen", "stages"} else []
    names += ["loss_smoothed" if "smoothing" in conditions else loss]
    names += ["autocast"] if "bf16" in conditions else []
    names += ["optimizer", "schedule", "batch_random" if "random" in conditions else "batch"]
    return [*names, "loop", "save"]


def find_replacements(subject: Subject) -> dict[str, str]:
    """Names in the parts that stand for something else."""
    is_pair = subject.task.head == "seq2seq-lm" and subject.model.config.pad_token_id is not None
    return {
        "AutoModel": AUTO_CLASSES[subject.task.head],
        "PADDING": "model.config.pad_token_id" if is_pair else "tokenizer.pad_token_id",
    }


def find_conditions(subject: Subject) -> set[str]:
    """The names of ``#: if`` lines that hold."""
    from lmstudio_app.devices import resolve_device, resolve_precision

    recipe, config, name = subject.recipe, subject.recipe.training, subject.recipe.strategy.name
    is_scratch = recipe.architecture is not None
    device = resolve_device(config.device)
    found = {
        "scratch": is_scratch,
        "labels": bool(subject.labels) and not is_scratch,
        "accumulation": config.gradient_accumulation > 1,
        "group_by_length": config.group_by_length,
        "batch_tokens": bool(config.batch_tokens),
        "warmup": config.warmup_ratio > 0,
        "decaying": config.schedule != "constant",
        config.schedule: True,
        "clipping": config.max_grad_norm > 0,
        "evaluate_every": config.evaluate_every > 0,
        "bf16": str(resolve_precision(config.precision, device)) == "torch.bfloat16",
        "frozen": name == "frozen_backbone",
        "stages": name == "layer_by_layer",
        "lora": name == "lora",
        "whole": name in ("full", "lora"),
        "merge": name == "lora" and recipe.strategy.merge,
        "apart": name == "lora" and not recipe.strategy.merge,
        "plain": name != "lora",
        "fixed": name == "full" and bool(formulas(subject.model, is_loaded=subject.folder is not None)),
        "portions": subject.portions and not subject.is_encoded,
        "pair": subject.has_pairs,
        "pad_token": not (subject.own_padding or is_scratch),
        "chat_template": not (subject.own_template or is_scratch),
    }
    return {key for key, holds in found.items() if holds} | _of_the_model(subject) | _of_the_task(subject)


def _of_the_model(subject: Subject) -> set[str]:
    if subject.folder is None:
        return set()
    card = read_card(subject.folder)
    found = {
        "adapters": is_adapter(subject.folder),
        "model_padding": subject.model_padding,
        "other_labels": bool(subject.labels) and card.head == subject.task.head and card.labels != subject.labels,
    }
    if subject.recipe.strategy.name == "lora":
        settings = lora_settings(subject.model, subject.recipe.strategy)
        found |= {
            "modules_to_save": bool(settings["modules_to_save"]),
            "transposed": settings["fan_in_fan_out"],
            "task_type": bool(settings["task_type"]),
        }
    return {key for key, holds in found.items() if holds}


def _of_the_task(subject: Subject) -> set[str]:
    task, options, tokenizer = subject.recipe.task, subject.recipe.options, subject.tokenizer
    found = {
        "both_sides": task in ("translation", "summarization"),
        "pieces": task == "bert_pretraining",
        "one_side": task not in ("translation", "summarization", "bert_pretraining"),
        "random": task in ("masked_lm", "bert_pretraining"),
        "summary": task == "summarization",
        "questions": task == "question_answering",
        "whole_words": getattr(options, "whole_words", False),
        "has_head": _has_head(subject),
        "smoothing": bool(getattr(options, "label_smoothing", 0.0)),
    }
    if task in ("translation", "summarization"):
        found["prefix"] = bool(source_prefix(subject)) and not subject.is_encoded
        found["languages"] = bool(_languages(subject)) and not subject.is_encoded
    if task == "question_answering":
        found["token_types"] = has_token_types(subject)
    if task in ("classification", "sentiment") and subject.has_pairs and tokenizer is not None:
        found["token_types"] = "token_type_ids" in tokenizer("a", "b")
    if task == "chat" and not subject.is_encoded:
        template = "" if tokenizer is None else str(tokenizer.chat_template)
        form = "learn_all" if options.train_on == "all" else "marked" if "generation %}" in template else "unmarked"
        found["marked" if tokenizer is None and form == "unmarked" else form] = True
    if getattr(options, "whole_words", False):
        found["marked_pieces"] = _marks_words(subject)
    return {key for key, holds in found.items() if holds}


def _has_head(subject: Subject) -> bool:
    """Is there a module that can be given the hidden states of some positions alone?"""
    if subject.task.head == "causal-lm":
        return subject.model.get_output_embeddings() is not None
    return subject.task.head in ("masked-lm", "pretraining") and head_path(subject.model) is not None


def _marks_words(subject: Subject) -> bool:
    """Do the pieces that begin a word have a mark (and not those that go on with one, as in WordPiece)?"""
    if subject.tokenizer is None:
        shape = subject.recipe.architecture
        return shape is not None and shape.tokenizer.kind_for(shape.family) != "wordpiece"
    pieces = subject.tokenizer.get_vocab()
    return not any(p.startswith("##") for p in pieces) and any(p.startswith(("▁", "Ġ")) for p in pieces)


def has_token_types(subject: Subject) -> bool:
    return int(getattr(subject.model.config, "type_vocab_size", 0) or 0) > 1


def source_prefix(subject: Subject) -> str:
    """What stands in front of every source text; empty too where rows have languages of their own."""
    options, config = subject.recipe.options, subject.model.config
    if subject.recipe.task == "summarization":
        return str(options.source_prefix or declared_prefix(config, "summarization"))
    pair = f"translation_{options.source_language}_to_{options.target_language}"
    prefix = str(options.source_prefix or declared_prefix(config, pair))
    if options.language_token and options.target_language:
        if subject.tokenizer is None:
            return f"{source_token(options.target_language)} {prefix}"
        known = declared_languages(subject.tokenizer)
        if known.tokens and known.in_source:
            prefix = f"{known.token(options.target_language)} {prefix}"
    return prefix


def _languages(subject: Subject) -> tuple[str, str] | None:
    """Source and target language as the tokenizer wants to be told them, where it does."""
    options, tokenizer = subject.recipe.options, subject.tokenizer
    if subject.recipe.task != "translation" or tokenizer is None or not options.target_language:
        return None
    known = declared_languages(tokenizer)
    if not known.tokens or known.in_source:
        return None
    set_languages(tokenizer, known, options.source_language, options.target_language)
    return str(tokenizer.src_lang), str(tokenizer.tgt_lang)


# --- constants


def find_constants(subject: Subject) -> dict[str, Constant]:
    """Everything that a part may ask for, under the recipe's names and with its values, in the order of the recipe."""
    recipe, config, strategy = subject.recipe, subject.recipe.training, subject.recipe.strategy
    constants = {**_model_constants(subject), **_option_constants(subject)}
    if strategy.name == "lora":
        settings = lora_settings(subject.model, subject.recipe.strategy)
        constants |= {
            "RANK": Constant(strategy.rank),
            "ALPHA": Constant(strategy.alpha),
            "DROPOUT": Constant(strategy.dropout),
            "TARGET_MODULES": Constant(settings["target_modules"], "what gets an adapter"),
            "MODULES_TO_SAVE": Constant(settings["modules_to_save"]),
            "TASK_TYPE": Constant(settings["task_type"]),
        }
    elif strategy.name in ("frozen_backbone", "layer_by_layer"):
        stages = stage_paths(subject.model, strategy)
        constants |= {
            "STAGES": Constant(stages, "what begins to train in each, from the top down"),
            "TRAINED": Constant(stages[0], "what trains"),
            "UNFREEZE_EVERY": Constant(strategy.unfreeze_every, "optimizer steps; 0: an epoch"),
            "LAYER_DECAY": Constant(strategy.layer_decay),
            "AROUND_LAYERS": Constant(around_layers(subject.model), "they have their dropout when these layers have"),
        }
    is_cut = recipe.training.max_length != subject.max_length
    device = '"cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"'
    return constants | {
        "EPOCHS": Constant(config.epochs),
        "BATCH_SIZE": Constant(config.batch_size),
        "BATCH_TOKENS": Constant(config.batch_tokens),
        "GRADIENT_ACCUMULATION": Constant(config.gradient_accumulation),
        "LEARNING_RATE": Constant(config.learning_rate),
        "MAX_LENGTH": Constant(subject.max_length, "the model reads no more" if is_cut else ""),
        "WARMUP_RATIO": Constant(config.warmup_ratio),
        "WEIGHT_DECAY": Constant(config.weight_decay),
        "ADAM_BETA2": Constant(config.adam_beta2),
        "MAX_GRAD_NORM": Constant(config.max_grad_norm),
        "EVALUATE_EVERY": Constant(config.evaluate_every),
        "SEED": Constant(config.seed),
        "DEVICE": Constant(Expression(device) if config.device == "auto" else config.device),
    }


def _model_constants(subject: Subject) -> dict[str, Constant]:
    recipe, tokenizer = subject.recipe, subject.tokenizer
    constants: dict[str, Constant] = {}
    if subject.folder is not None:
        hub = hub_id(recipe.model)
        path = str(subject.folder.resolve())
        constants["MODEL"] = Constant(path, f"or from the hub: {hub}" if hub else "")
        constants["BASE_MODEL"] = Constant(str(weights_folder(subject.folder).resolve()))
        constants["FIXED"] = Constant(formulas(subject.model, is_loaded=subject.folder is not None))
    constants["LABELS"] = Constant(list(subject.labels))
    if recipe.architecture is not None:
        shape = recipe.architecture
        constants |= {
            "FAMILY": Constant(shape.family),
            "LAYERS": Constant(shape.layers),
            "HEADS": Constant(shape.heads),
            "HIDDEN_SIZE": Constant(shape.hidden_size),
            "FEED_FORWARD": Constant(shape.feed_forward_size),
            "LONGEST_TEXT": Constant(shape.max_length),
            "DROPOUT": Constant(shape.dropout),
        }
        constants["SHAPE"] = Constant(_shape(subject, constants))
    if tokenizer is not None:
        constants["PAD_TOKEN"] = Constant(tokenizer.pad_token)
        constants["CHAT_TEMPLATE"] = Constant(tokenizer.chat_template)
    return constants


def _option_constants(subject: Subject) -> dict[str, Constant]:
    options, config, task = subject.recipe.options, subject.model.config, subject.recipe.task
    constants = {
        name: Constant(getattr(options, name.lower()))
        for name in ("LABEL_SMOOTHING", "MLM_PROBABILITY", "STRIDE")
        if hasattr(options, name.lower())
    }
    if task in ("masked_lm", "bert_pretraining"):
        constants["HEAD"] = Constant(head_path(subject.model))
    if task in ("translation", "summarization"):
        constants["SOURCE_PREFIX"] = Constant(source_prefix(subject))
        constants["MAX_TARGET_LENGTH"] = Constant(min(options.max_target_length, decoder_limit(config)))
        if languages := _languages(subject):
            names = ("SOURCE_LANGUAGE", "TARGET_LANGUAGE")
            constants |= {name: Constant(value) for name, value in zip(names, languages, strict=True)}
    return constants


def _shape(subject: Subject, constants: Mapping[str, Constant]) -> dict[str, Any]:
    """The keyword arguments of the model's configuration that differ from the family's usual ones."""
    config = subject.model.config
    usual, wanted = type(config)().to_dict(), config.to_dict()
    values = {key: value for key, value in wanted.items() if key not in usual or usual[key] != value}
    for key in [key for key in values if key != "vocab_size"]:
        fewer = {name: value for name, value in values.items() if name != key}
        if type(config)(**fewer).to_dict() == wanted:
            values = fewer
    del values["vocab_size"]
    for name, keys in _SHAPE_NAMES.items():
        for key in keys:
            if key in values and values[key] == constants[name].value:
                values[key] = Expression(name)
    if "id2label" in values:
        values["id2label"] = Expression("dict(enumerate(LABELS))")
        values["label2id"] = Expression("{label: index for index, label in enumerate(LABELS)}")
    return values
