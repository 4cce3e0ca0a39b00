"""Learns one vocabulary in a process of its own: ``python -P vocabulary_worker.py REQUEST.json``.

Neither library can be interrupted while it learns, but a process can be ended. It imports nothing of the application.

The request: ``kind``, ``texts`` (a file, a text a line), ``output`` (the file to write), and ``options`` for the
library. WordPiece writes its pieces as a JSON list in id order, sentencepiece its model. What goes wrong is said on
stderr.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def learn_wordpiece(texts: str, output: str, options: dict[str, Any]) -> None:
    """As BERT: greedy longest match, continuing pieces marked by ``##``."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=options["lowercase"])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=options["vocabulary"],
        special_tokens=options["special_tokens"],
        limit_alphabet=options["alphabet"],
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train([texts], trainer)
    vocabulary = tokenizer.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    Path(output).write_text(json.dumps(pieces, ensure_ascii=False), encoding="utf-8")


def learn_sentencepiece(texts: str, output: str, options: dict[str, Any]) -> None:
    import sentencepiece

    with open(output, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(input=texts, model_writer=file, **options)


def main(path: str) -> int:
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
