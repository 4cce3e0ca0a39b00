"""A GGUF file of a tiny Llama, written by the library that llama.cpp's own converter uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LAYERS, HEADS, HIDDEN, INNER = 2, 4, 32, 64
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_tiny_gguf(path: Path, *, quantised: bool = True, missing: str = "") -> dict[str, np.ndarray]:
    """Write it with random weights (Q8_0 or float32) and a byte-level tokenizer; returns the weights as written.

    ``missing`` leaves out one tensor.
    """
    import gguf

    tokens, kinds = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["h e", "l l"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    written = {}
    for name, values in _weights(len(tokens)).items():
        if name == missing:
            continue
        if quantised and values.ndim == 2:
            blocks = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            written[name] = gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, values)
            written[name] = values
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return written


def _vocabulary() -> tuple[list[str], list[int]]:
    """Three control tokens, one a byte in the way GPT-2 writes them, and what two merges make."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "he", "ll"]
    return tokens, [3, 3, 3] + [1] * (len(tokens) - 3)


def _weights(vocabulary: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"token_embd.weight": (vocabulary, HIDDEN), "output_norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        shapes |= {f"{block}{part}.weight": (HIDDEN, HIDDEN) for part in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"{block}{part}.weight": (HIDDEN,) for part in ("attn_norm", "ffn_norm")}
        shapes |= {f"{block}{part}.weight": (INNER, HIDDEN) for part in ("ffn_up", "ffn_gate")}
        shapes[f"{block}ffn_down.weight"] = (HIDDEN, INNER)
    return {name: random.normal(size=shape, scale=0.2).astype(np.float32) for name, shape in shapes.items()}
