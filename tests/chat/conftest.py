"""Tiny causal language models whose tokens are bytes, so that most characters take several tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from tests.tiny_gguf import write_tiny_gguf

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer(length: int = 512) -> Any:
    """A token a byte, and three special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: index for index, token in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters])}
    backend = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=length
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def build_model(folder: Path, family: str) -> Path:
    """A tiny ``llama``, ``gpt2`` or ``mistral`` (with a sliding window) of random weights."""
    import torch
    import transformers as t

    tokenizer = byte_tokenizer()
    shared: dict[str, Any] = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    sizes: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
        "max_position_embeddings": 512, "initializer_range": 0.3,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any
        if family == "llama":
            model = t.LlamaForCausalLM(t.LlamaConfig(**shared, **sizes))
        elif family == "mistral":
            config = t.MistralConfig(**shared, **sizes, num_key_value_heads=2, sliding_window=8)
            model = t.MistralForCausalLM(config)
        else:
            config = t.GPT2Config(**shared, n_embd=32, n_layer=3, n_head=4, n_positions=512, initializer_range=0.3)
            model = t.GPT2LMHeadModel(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    """A tiny model of a family, loaded; the same one each time."""
    known: dict[str, LoadedModel] = {}

    def _get(family: str = "llama") -> LoadedModel:
        if family not in known:
            folder = build_model(tmp_path_factory.mktemp("chat") / family, family)
            known[family] = load_model(LoadRequest(str(folder)), JobContext())
        return known[family]

    return _get


@pytest.fixture(scope="session")
def tiny_gguf_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The safetensors of a tiny GGUF file in float32, with the file itself known to them."""
    from lmstudio_app.models.references import resolve

    home = tmp_path_factory.mktemp("gguf-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMSTUDIO_APP_HOME", str(home))
        write_tiny_gguf(home / "tiny.gguf", quantised=False)
        yield resolve(str(home / "tiny.gguf"), JobContext())
