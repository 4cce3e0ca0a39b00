"""Does a model's architecture fit a head? Told before anything is loaded, in a sentence with a way out."""

from __future__ import annotations

from typing import Any

from lmstudio_app.errors import UserError

# head -> what it needs, and does not find
_NEEDS = {
    "sequence-classification": "{task} needs a model that can be given a classifier, and transformers has none for "
    "{kind} models.",
    "question-answering": "{task} needs a model that can mark an answer in a text, and transformers has none for "
    "{kind} models.",
    "masked-lm": "{task} needs an encoder, which reads in both directions, such as BERT; {model} ({kind}) is none.",
    "pretraining": "{task} needs an encoder that also judges pairs of sentences, such as BERT; {model} ({kind}) "
    "is none.",
    "causal-lm": "{task} needs a decoder, which writes from left to right, such as GPT-2 or Llama; {model} ({kind}) "
    "is none.",
    "seq2seq-lm": "{task} needs an encoder-decoder, which reads one text and writes another, such as Marian or T5; "
    "{model} ({kind}) is none.",
}
_CHOOSE = "Choose such a model on the Model page."
_CHOOSE_OR_MAKE = "Choose such a model on the Model page, or start from a new one."


def find_misfit(config: Any, head: str, *, task: str, model: str, can_be_new: bool = False) -> UserError | None:
    """Why a model of this ``transformers.PretrainedConfig`` cannot be trained with ``head``; None when it can.

    ``task`` and ``model`` are called so in the sentence. Nothing is loaded; transformers itself is imported.
    """
    if head not in _NEEDS or _fits(config, head):
        return None
    remedy = _CHOOSE_OR_MAKE if can_be_new else _CHOOSE
    return UserError(_NEEDS[head], remedy, task=task, model=model, kind=config.model_type)


def _fits(config: Any, head: str) -> bool:
    from transformers.models.auto import modeling_auto as auto

    kind = config.model_type
    is_encoder = kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_encoder_decoder
    match head:
        case "sequence-classification":
            return kind in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
        case "question-answering":
            return kind in auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES
        case "masked-lm":
            return is_encoder
        case "pretraining":
            return (
                kind in auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES
                and kind in auto.MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES
            )
        case "causal-lm":
            is_writer = not config.is_encoder_decoder and (not is_encoder or bool(getattr(config, "is_decoder", False)))
            return is_writer and kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        case _:
            return kind in auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES and bool(config.is_encoder_decoder)
