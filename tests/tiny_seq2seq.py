"""Tiny encoder-decoders with random weights, each with a real tokenizer of its family."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAIRS = (
    ("the cat sits on the mat", "die Katze sitzt auf der Matte"),
    ("a dog runs in the park", "ein Hund läuft im Park"),
    ("the bird sings", "der Vogel singt"),
    ("we drink tea", "wir trinken Tee"),
    ("it is cold today", "heute ist es kalt"),
    ("good morning", "guten Morgen"),
)
CHINESE = (
    ("the cat sits on the mat", "猫坐在垫子上。"),
    ("a dog runs in the park", "一只狗在公园里跑。"),
    ("the bird sings", "鸟在唱歌。"),
    ("we drink tea", "我们喝茶。"),
)
SIZES = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "max_position_embeddings": 64,
    "dropout": 0.0,
}  # fmt: skip


def train_sentencepiece(path: Path, texts: Sequence[str], size: int, *, characters: bool = False) -> list[str]:
    """Write a sentencepiece model and return its pieces."""
    import sentencepiece

    lines = path.with_suffix(".txt")
    lines.write_text("\n".join(texts * 10), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(path.with_suffix("")), vocab_size=size, hard_vocab_limit=False,
        model_type="char" if characters else "unigram", bos_id=-1, eos_id=0, unk_id=1, pad_id=-1, minloglevel=2,
        character_coverage=1.0,
    )  # fmt: skip
    made = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [made.id_to_piece(index) for index in range(made.get_piece_size())]


def build_marian(folder: Path, *, tokens: Sequence[str] = (), two_sides: bool = False, spread: float = 0.02) -> Path:
    """A Marian model; with ``two_sides`` its target side cuts texts into single characters.

    ``spread`` is that of the random weights: the more, the more its texts vary.
    """
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True)
    texts = [text for pair in (*PAIRS, *CHINESE) for text in pair]
    pieces = train_sentencepiece(folder / "source.model", texts, 120)
    target = train_sentencepiece(folder / "target.model", texts, 120, characters=True) if two_sides else pieces
    names = list(dict.fromkeys([*pieces, *target, *tokens, "<pad>"]))
    (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
    target_model = folder / ("target.model" if two_sides else "source.model")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*sacremoses")
        tokenizer = MarianTokenizer(str(folder / "source.model"), str(target_model), str(folder / "vocab.json"))
    padding = names.index("<pad>")
    config = MarianConfig(
        vocab_size=len(names),
        pad_token_id=padding,
        decoder_start_token_id=padding,
        eos_token_id=0,
        init_std=spread,
        **SIZES,
    )
    return save(folder, MarianMTModel, config, tokenizer)


def build_t5(folder: Path) -> Path:
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = word_tokenizer(("<pad>", "</s>", "<unk>"), "$A </s>", pad_token="<pad>", eos_token="</s>")
    config = T5Config(
        vocab_size=len(tokenizer), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0,
        decoder_start_token_id=0, initializer_factor=1.0,
        task_specific_params={"summarization": {"prefix": "summarize: "}},
    )  # fmt: skip
    return save(folder, T5ForConditionalGeneration, config, tokenizer)


def build_bart(folder: Path) -> Path:
    from transformers import BartConfig, BartForConditionalGeneration

    roles = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    tokenizer = word_tokenizer(("<s>", "<pad>", "</s>", "<unk>"), "<s> $A </s>", **roles)
    config = BartConfig(vocab_size=len(tokenizer), forced_eos_token_id=None, **SIZES)
    return save(folder, BartForConditionalGeneration, config, tokenizer)


def build_m2m100(folder: Path) -> Path:
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    folder.mkdir(parents=True)
    pieces = train_sentencepiece(folder / "spm.model", [text for pair in PAIRS for text in pair], 90)
    names = list(dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *pieces]))
    (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "spm.model"))
    config = M2M100Config(vocab_size=len(names) + 108, **SIZES)
    return save(folder, M2M100ForConditionalGeneration, config, tokenizer)


def word_tokenizer(specials: Sequence[str], template: str, **roles: str) -> Any:
    """Every word of the English and German texts a token, framed by ``template``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = dict.fromkeys(word for pair in PAIRS for text in pair for word in text.split())
    vocabulary = {token: index for index, token in enumerate([*specials, *words, "summarize:"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = [(name, vocabulary[name]) for name in specials if name in template.split()]
    backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=named)
    backend.add_special_tokens(list(specials))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", clean_up_tokenization_spaces=False, **roles
    )


def save(folder: Path, model_class: Any, config: Any, tokenizer: Any) -> Path:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_pairs(path: Path, pairs: Sequence[tuple[str, ...]], names: Sequence[str] = ("source", "target")) -> Path:
    rows = [json.dumps(dict(zip(names, pair, strict=True)), ensure_ascii=False) + "\n" for pair in pairs]
    path.write_text("".join(rows), encoding="utf-8")
    return path
