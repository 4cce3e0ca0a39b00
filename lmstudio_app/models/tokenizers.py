"""Vocabularies learned here, as tokenizers that transformers loads.

=========  ============================================================  ==============================
kind       how                                                           tokenizer
=========  ============================================================  ==============================
wordpiece  the tokenizers library, BERT's normaliser                     ``BertTokenizer``
unigram    sentencepiece (Kudo 2018)                                     a fast tokenizer
bpe        sentencepiece (Sennrich et al. 2016)                          a fast tokenizer
=========  ============================================================  ==============================

The family ``marian`` gets a ``MarianTokenizer`` of either sentencepiece kind, with one vocabulary for both sides. The
same texts in the same order give the same tokenizer, to the last piece.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models import vocabulary_worker
from lmstudio_app.models.architectures import TokenizerConfig
from lmstudio_app.models.quiet import quiet_transformers

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

MAX_CHARACTERS = 50_000_000  # more text changes a vocabulary little and costs gigabytes of memory
BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
DECODER_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
_BYTE_FALLBACK_FROM = 1000  # pieces from which 256 of them are well spent on single bytes
_THREADS = 4  # part of the result: sums of floats depend on how they are shared out
_POLL = 0.05  # seconds between two looks at the stop button
_FEW_CHARACTERS = re.compile(r"smaller than required_chars\. (\d+) vs (\d+)")


def train_tokenizer(
    config: TokenizerConfig,
    texts: Iterable[str],
    ctx: JobContext,
    *,
    family: str = "bert",
    max_length: int = 512,
    extra: Sequence[str] = (),
) -> Any:
    """Learn a vocabulary from ``texts`` and return the transformers tokenizer (a job; it can be cancelled at once).

    ``extra`` are further special tokens that stay whole, such as ``>>deu<<``. The vocabulary's size counts all special
    tokens; texts that do not yield as many pieces give a smaller one, with a warning. ``config.folder`` is not looked
    at. Raises :class:`UserError` when there is no text, or when not even its characters fit the vocabulary.
    """
    kind = config.kind_for(family)
    with tempfile.TemporaryDirectory(prefix="lmstudio-app-") as name:
        folder = Path(name)
        normalize = None if kind == "wordpiece" or family == "marian" else _normalizer(family, config.lowercase)
        count = _write_texts(folder / "texts.txt", texts, normalize, ctx)
        ctx.status("Learning a vocabulary of {size} pieces from {count} texts", size=config.vocabulary, count=count)
        if kind == "wordpiece":
            options: dict[str, Any] = {"vocabulary": config.vocabulary, "lowercase": config.lowercase}
            options["special_tokens"] = [*BERT_TOKENS, *extra]
        else:
            options = _sentencepiece_options(config, kind, family, len(extra))
        _learn(kind, folder, options, config, ctx)
        with quiet_transformers():
            tokenizer = _assemble(folder, kind, config, family, max_length, extra, normalize)
    if len(tokenizer) < config.vocabulary:
        ctx.warn(
            "The texts yield a vocabulary of {found} pieces, not {wanted}.", found=len(tokenizer),
            wanted=config.vocabulary,
        )  # fmt: skip
    return tokenizer


def _write_texts(path: Path, texts: Iterable[str], normalize: Any, ctx: JobContext) -> int:
    """One line of text a line; returns how many texts there were."""
    count = characters = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for text in texts:
            if count % 64 == 0:
                ctx.check()
            # half a character, which JSON can hold, is none for either library
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", " ")
            for line in text.splitlines():
                line = line if normalize is None else normalize.normalize_str(line)
                if line.strip():
                    file.write(line + "\n")
                    characters += len(line)
            count += 1
            if characters > MAX_CHARACTERS:
                ctx.warn("The vocabulary is learned from the first {count} texts.", count=count)
                break
    if not characters:
        raise UserError(
            "There is no text to learn a vocabulary from.", "Check the column mapping and the file, or add texts."
        )
    return count


def _sentencepiece_options(config: TokenizerConfig, kind: str, family: str, extra: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "model_type": kind,
        "vocab_size": config.vocabulary - extra,
        "hard_vocab_limit": False,
        "character_coverage": 1.0 if family in ("gpt2", "llama") else 0.9999,
        "num_threads": _THREADS,
        "minloglevel": 2,
        "max_sentence_length": 1 << 20,  # bytes; longer lines would be left out
        "normalization_rule_name": "identity",
    }
    if family == "bert":
        names = dict(zip(("pad", "unk", "bos", "eos"), BERT_TOKENS, strict=False))
        options |= {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3, "control_symbols": [BERT_TOKENS[4]]}
        options |= {f"{role}_piece": token for role, token in names.items()}
    elif family == "marian":
        # Marian's order: </s> first, <pad> last (behind the pieces, added in vocab.json)
        options |= {"vocab_size": config.vocabulary - extra - 1, "eos_id": 0, "unk_id": 1, "bos_id": -1, "pad_id": -1}
        options["normalization_rule_name"] = "nmt_nfkc_cf" if config.lowercase else "nmt_nfkc"
    else:
        options |= {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": 3, "pad_piece": "<pad>"}
        options |= {"user_defined_symbols": ["\n"], "remove_extra_whitespaces": False, "split_digits": True}
        options["byte_fallback"] = config.vocabulary >= _BYTE_FALLBACK_FROM
    return options


def _learn(kind: str, folder: Path, options: Mapping[str, Any], config: TokenizerConfig, ctx: JobContext) -> None:
    """Run the worker on ``folder/texts.txt``; it writes ``folder/vocabulary``."""
    request = {"kind": kind, "texts": str(folder / "texts.txt"), "output": str(folder / "vocabulary")}
    path = folder / "request.json"
    path.write_text(json.dumps({**request, "options": options}), encoding="utf-8")
    # -P: the worker's own folder has a module called tokenizers
    command = [sys.executable, "-P", str(Path(vocabulary_worker.__file__)), str(path)]
    with (
        (folder / "errors.txt").open("wb") as errors,
        # its stdin ends when this process does, and so does the worker
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        try:
            while process.poll() is None:
                ctx.check()
                try:
                    process.wait(_POLL)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode:
        reason = (folder / "errors.txt").read_text(encoding="utf-8", errors="replace").strip()
        if found := _FEW_CHARACTERS.search(reason):
            raise UserError(
                "A vocabulary of {size} pieces is too small for the different characters of these texts.",
                "Make it {least} or larger.",
                size=config.vocabulary,
                least=config.vocabulary + int(found[2]) - int(found[1]),
            )
        raise UserError(
            "The vocabulary could not be learned ({reason}).",
            "Choose another kind or size of vocabulary, or look whether the memory was full.",
            reason=reason.splitlines()[-1] if reason else f"exit code {process.returncode}",
        )


def _assemble(
    folder: Path, kind: str, config: TokenizerConfig, family: str, max_length: int, extra: Sequence[str], normalize: Any
) -> Any:
    path = folder / "vocabulary"
    if kind == "wordpiece":
        from transformers import BertTokenizer

        pieces = json.loads(path.read_text(encoding="utf-8"))
        return BertTokenizer(
            vocab={piece: index for index, piece in enumerate(pieces)},
            do_lower_case=config.lowercase,
            model_max_length=max_length,
            extra_special_tokens=list(extra),
        )
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(path))
    if family == "marian":
        return _marian(folder, processor, max_length, extra)
    return _fast(processor, kind, family, max_length, extra, normalize)


def _marian(folder: Path, processor: SentencePieceProcessor, max_length: int, extra: Sequence[str]) -> Any:
    from transformers import MarianTokenizer

    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *extra, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    model = (folder / "vocabulary").read_bytes()
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*sacremoses")  # its punctuation rules are not needed here
        return MarianTokenizer(
            str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json"),
            model_max_length=max_length,
        )  # fmt: skip


def _normalizer(family: str, lowercase: bool) -> Any:
    """What a fast tokenizer does to a text before it cuts it; the training texts go through the very same."""
    from tokenizers import Regex, normalizers

    # encoders only read, and compatibility forms (NFKC) and runs of spaces mean nothing to them; a decoder has to
    # write again what it has read
    steps: list[Any] = [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    steps = steps if family == "bert" else []
    return normalizers.Sequence(steps + ([normalizers.Lowercase()] if lowercase else []))


def _fast(
    processor: SentencePieceProcessor, kind: str, family: str, max_length: int, extra: Sequence[str], normalize: Any
) -> Any:
    """A sentencepiece model as a fast tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    scores = [processor.get_score(index) for index in range(len(pieces))]
    has_bytes = any(processor.is_byte(index) for index in range(len(pieces)))
    unknown = processor.unk_id()
    model: Any
    if kind == "unigram":
        model = models.Unigram(list(zip(pieces, scores, strict=True)), unknown, byte_fallback=has_bytes)
    else:
        learned = [
            index
            for index in range(len(pieces))
            if not (processor.is_control(index) or processor.is_unknown(index) or processor.is_byte(index))
        ]
        model = models.BPE(
            {piece: index for index, piece in enumerate(pieces)},
            _merges(pieces, scores, learned),
            unk_token=pieces[unknown],
            fuse_unk=True,
            byte_fallback=has_bytes,
        )
    backend = Tokenizer(model)
    backend.normalizer = normalize
    is_bert = family == "bert"
    backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always" if is_bert else "first")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if is_bert:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[("[CLS]", processor.bos_id()), ("[SEP]", processor.eos_id())],
        )  # fmt: skip
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), BERT_TOKENS, strict=True))
        inputs = ["input_ids", "token_type_ids", "attention_mask"]
    else:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", processor.bos_id())]
        )
        names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), DECODER_TOKENS, strict=True))
        inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=max_length, model_input_names=inputs,
        extra_special_tokens=list(extra), clean_up_tokenization_spaces=False, **names,
    )  # fmt: skip


def _merges(pieces: Sequence[str], scores: Sequence[float], learned: Sequence[int]) -> list[tuple[str, str]]:
    """The merges of a BPE model in the order in which they were learned: sentencepiece keeps only their results."""
    known = {pieces[index] for index in learned}
    found = []
    for index in learned:
        piece = pieces[index]
        for cut in range(1, len(piece)):
            if piece[:cut] in known and piece[cut:] in known:
                found.append((-scores[index], index, cut, (piece[:cut], piece[cut:])))
    return [merge for _, _, _, merge in sorted(found)]
