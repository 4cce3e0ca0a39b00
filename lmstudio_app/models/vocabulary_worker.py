"""Learns one vocabulary in a process of its own: ``python -P vocabulary_worker.py REQUEST.json``.

Neither library can be interrupted while it learns, but a process can be ended. It imports nothing of the application.

The request: ``kind``, ``texts`` (a file, a text a line), ``output`` (the file to write), and ``options`` for the
library. WordPiece writes its pieces as a JSON list in id order, sentencepiece its model. What goes wrong is said on
stderr.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

# WordPiece gives up on a longer word, and learning from one takes time with the square of its length
_UNREADABLE = re.compile(r"[^\s!-/:-@\[-`{-~]{101,}")


def learn_wordpiece(texts: str, output: str, options: dict[str, Any]) -> None:
    """As BERT: greedy longest match, continuing pieces marked by ``##``.

    The library numbers single characters in the order of a hash table and breaks ties by these numbers, so that every
    run would give another vocabulary. Hence the characters are given to it, with their numbers.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=options["lowercase"])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    readable = f"{texts}.readable"
    with open(texts, encoding="utf-8") as file, open(readable, "w", encoding="utf-8", newline="\n") as kept:
        for line in file:
            normalized = tokenizer.normalizer.normalize_str(line)
            if _UNREADABLE.search(normalized):
                line = normalized = _UNREADABLE.sub(" ", normalized)
            counts.update(normalized)
            kept.write(line)
    # rare characters may become unknown, but they never take most of the vocabulary; a character may need two pieces
    most = max(1, (options["vocabulary"] - len(options["special_tokens"])) // 4)
    characters = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))[:most]
    continuing = [f"##{character}" for character in sorted(characters) if _may_continue(character)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=options["vocabulary"],
        special_tokens=[*options["special_tokens"], *continuing],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train([readable], trainer)
    vocabulary = tokenizer.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    Path(output).write_text(json.dumps(pieces, ensure_ascii=False), encoding="utf-8")


def _may_continue(character: str) -> bool:
    """BERT cuts before and behind punctuation and Chinese characters, so that these never stand within a word."""
    if character.isascii():
        return character.isalnum()
    is_chinese = "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or character >= "\U00020000"
    return not is_chinese and not unicodedata.category(character).startswith("P")


def learn_sentencepiece(texts: str, output: str, options: dict[str, Any]) -> None:
    import sentencepiece

    with open(output, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(input=texts, model_writer=file, **options)


def _end_with_parent() -> None:
    """Stdin is a pipe that nobody writes to: it ends when the application does, even when that is killed."""
    os.read(0, 1)
    os._exit(1)


def main(path: str) -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    learn = learn_wordpiece if request["kind"] == "wordpiece" else learn_sentencepiece
    try:
        learn(request["texts"], request["output"], request["options"])
    except (RuntimeError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
