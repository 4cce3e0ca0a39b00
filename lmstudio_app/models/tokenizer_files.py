"""A model folder's tokenizer: read, held against the model, and made to agree with it."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError, first_line

_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
)
_PROBED_IDS = 1024  # looked up behind the last row of an embedding


def load_tokenizer(folder: Path, *, runs_code: bool = False) -> Any:
    """The tokenizer of a model folder. Raises :class:`UserError` when there is none, or one that cannot be read.

    ``runs_code``: the model brings program code that is allowed, perhaps also for its tokenizer.
    """
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in _FILES):
        raise UserError(
            "There is no tokenizer in {folder} (tokenizer.json or a vocabulary file).",
            "Copy the tokenizer's files into the folder, or download the model again.",
            folder=str(folder),
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*sacremoses")  # Marian's punctuation rules for raw web text
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=runs_code)
    except Exception as error:
        raise UserError(
            "The tokenizer in {folder} cannot be read ({reason}).",
            "Download or copy the model's tokenizer files again.",
            folder=str(folder),
            reason=first_line(error),
        ) from error


def check_vocabulary(model: Any, tokenizer: Any, folder: Path) -> None:
    """Raises :class:`UserError` when the tokenizer gives ids that the model has no embedding for."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    if not _exceeds(tokenizer, rows):
        return
    raise UserError(
        "The tokenizer in {folder} does not match the model: it has ids up to {largest}, and the embedding has "
        "{rows} rows.",
        "Take the tokenizer's files from the same model as the weights.",
        folder=str(folder),
        largest=max(tokenizer.get_vocab().values()),
        rows=rows,
    )


def _exceeds(tokenizer: Any, rows: int) -> bool:
    """Has the tokenizer an id of ``rows`` or more?

    ``get_vocab()`` would tell exactly, but holds Python's lock for up to half a second; so the size, the added
    tokens and the ids just behind the last row are looked at.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return max(tokenizer.get_vocab().values(), default=0) >= rows
    return (
        backend.get_vocab_size(with_added_tokens=True) > rows
        or max(tokenizer.added_tokens_decoder, default=0) >= rows
        or any(backend.id_to_token(index) is not None for index in range(rows, rows + _PROBED_IDS))
    )


def agree_on_padding(model: Any, tokenizer: Any) -> None:
    """Give both the same padding token. Decoders were pretrained without one and take their end-of-text token.

    A decoder with a classification head finds the last token of a text by looking for padding.
    """
    config = model.config.get_text_config()
    if tokenizer.pad_token_id is None:
        known = (config.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
        chosen = next((token for token in known if isinstance(token, int) and token >= 0), None)
        if chosen is None:
            return
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(chosen)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id


def copy_tokenizer(tokenizer: Any) -> Any:
    """One for another thread. Marian's reads its files again, and asks for a library that the app does without."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*sacremoses")
        return copy.deepcopy(tokenizer)
