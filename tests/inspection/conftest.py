"""Tiny models of many families, with random weights that are large enough to make the attention uneven."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.events import Event, Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card import ModelCard, head_of
from lmstudio_app.models.loading import LoadedModel

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
DECODER = {**SIZES, "num_key_value_heads": 2, "intermediate_size": 64}
SPECIALS = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}

# family -> (model class, config class, options)
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", {**SIZES, "intermediate_size": 64}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {**SIZES, "intermediate_size": 64}),
    "distilbert": (
        "DistilBertModel",
        "DistilBertConfig",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    ),
    "albert": ("AlbertModel", "AlbertConfig", {**SIZES, "intermediate_size": 64, "embedding_size": 16}),
    "electra": ("ElectraModel", "ElectraConfig", {**SIZES, "intermediate_size": 64, "embedding_size": 16}),
    "modernbert": (
        "ModernBertModel",
        "ModernBertConfig",
        {**SIZES, **SPECIALS, "intermediate_size": 64, "local_attention": 4, "global_attn_every_n_layers": 2},
    ),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", DECODER),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", DECODER),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**DECODER, "head_dim": 8}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**DECODER, "head_dim": 8, "sliding_window": 4}),
    "gemma3": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        {**DECODER, "head_dim": 8, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gpt_oss": (
        "GptOssForCausalLM",
        "GptOssConfig",
        {**DECODER, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4},
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4, "num_layers": 2},
    ),
    "bart": ("BartForConditionalGeneration", "BartConfig", SEQ2SEQ),
    "marian": ("MarianMTModel", "MarianConfig", SEQ2SEQ),
    # two families that are older than the attention interface
    "mpnet": ("MPNetModel", "MPNetConfig", {**SIZES, "intermediate_size": 64}),
    "deberta_v2": ("DebertaV2Model", "DebertaV2Config", {**SIZES, "intermediate_size": 64}),
}


@dataclass
class Loaded:
    """The two attributes of a loaded model that reading attention needs."""

    model: Any
    tokenizer: Any


@pytest.fixture(scope="session")
def wordpiece(tiny_encoder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_encoder)


@pytest.fixture(scope="session")
def make_loaded(wordpiece: Any) -> Callable[..., Loaded]:
    """``make_loaded(family, **options)``: a new model of the family, in eval mode."""
    import torch
    import transformers

    def make(family: str, **options: Any) -> Loaded:
        model_class, config_class, sizes = FAMILIES[family]
        config = getattr(transformers, config_class)(**{"vocab_size": len(wordpiece), **sizes, **options})
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = getattr(transformers, model_class)(config).eval()
            for name, parameter in model.named_parameters():
                if parameter.dim() > 1 and "embed" not in name:
                    torch.nn.init.normal_(parameter, std=0.25)
        return Loaded(model, wordpiece)

    return make


class Heard:
    """A context that keeps what is said."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ctx = JobContext(self.events.append)

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Status) and event.warning]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="session")
def make_headed(wordpiece: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LoadedModel]:
    """``make_headed(family, head)``: a loaded model, say ("bert", "ForMaskedLM"); "" is the family's own class.

    The same one every time: leave it as it was.
    """
    import torch
    import transformers

    made: dict[Any, LoadedModel] = {}
    folder = tmp_path_factory.mktemp("headed")

    def make(family: str, head: str = "", **options: Any) -> LoadedModel:
        key = (family, head, json.dumps(options))
        if key not in made:
            own, config_class, sizes = FAMILIES[family]
            name = config_class.removesuffix("Config") + head if head else own
            if not hasattr(transformers, name):
                name = config_class.removesuffix("Config") + "LMHeadModel"
            labels = {"id2label": {0: "negative", 1: "positive"}} if "Classification" in head else {}
            settings = {"vocab_size": len(wordpiece), "pad_token_id": 0, **sizes, **labels, **options}
            config = getattr(transformers, config_class)(**settings)
            with torch.random.fork_rng():
                torch.manual_seed(1)
                model = getattr(transformers, name)(config).eval()
                for parameter_name, parameter in model.named_parameters():
                    if parameter.dim() > 1 and "embed" not in parameter_name:
                        torch.nn.init.normal_(parameter, std=0.25)
                if "decoder_start_token_id" in settings or family == "t5":
                    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = 2
                    model.generation_config.max_length = 12
            card = ModelCard(
                family, folder, name, family, 2, 4, 4, 32, len(wordpiece), 64, 0, 0, 0, "", (), head_of(name)
            )
            made[key] = LoadedModel(
                family, folder, model, wordpiece, card, torch.device("cpu"), torch.float32, head_of(name)
            )
        return made[key]

    return make
