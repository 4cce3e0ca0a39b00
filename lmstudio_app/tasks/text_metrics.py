"""How near written texts are to the texts that people wrote: BLEU, chrF, ROUGE."""

from __future__ import annotations

import re
from collections.abc import Sequence

# scripts that put no spaces between words: Chinese characters, Japanese kana, Thai, Lao, Khmer, Burmese
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNITS = re.compile(rf"[{_UNSPACED}\U00020000-\U0003ffff]|[^\W_{_UNSPACED}\U00020000-\U0003ffff]+")
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_OTHER_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\uac00-\ud7a3]")
_BY_CHARACTER = ("ja", "ko", "th", "lo", "km", "my", "bo")


def units(text: str) -> list[str]:
    """Words in small letters, and single characters where a script puts no spaces between words.

    For English the same as the words of rouge-score.
    """
    return _UNITS.findall(text.lower())


def bleu_tokenizer(language: str, references: Sequence[str]) -> str:
    """The sacrebleu tokenizer for a language (ISO 639-1), or for what the references look like when it is not known.

    ``zh`` for Chinese; ``char`` for Japanese, Korean, Thai and the like, whose own tokenizers need further libraries;
    ``13a`` for everything else.
    """
    if language:
        return "zh" if language == "zh" else "char" if language in _BY_CHARACTER else "13a"
    text = "".join(references)
    if len(_OTHER_UNSPACED.findall(text)) > 0.1 * len(text):
        return "char"
    return "zh" if len(_CHINESE.findall(text)) > 0.2 * len(text) else "13a"


def translation_scores(
    outputs: Sequence[str], references: Sequence[str], languages: Sequence[str] | None = None
) -> dict[str, float]:
    """Corpus ``bleu`` (Papineni et al. 2002) and ``chrf`` (Popović 2015), both 0 to 100, as sacrebleu has them.

    ``languages`` are the target languages of the rows; with several, each has its own ``bleu_de`` and ``chrf_de``, and
    the scores are the means over the languages, since a score over mixed tokens would mean little.
    """
    import sacrebleu

    languages = languages or [""] * len(outputs)
    names = sorted(set(languages))
    scores: dict[str, float] = {}
    for name in names:
        rows = [row for row, language in enumerate(languages) if language == name]
        written, wanted = [outputs[row] for row in rows], [references[row] for row in rows]
        tokenizer = bleu_tokenizer(name, wanted)
        scores[f"bleu_{name}"] = float(sacrebleu.corpus_bleu(written, [wanted], tokenize=tokenizer).score)
        scores[f"chrf_{name}"] = float(sacrebleu.corpus_chrf(written, [wanted]).score)
    means = {kind: sum(scores[f"{kind}_{name}"] for name in names) / len(names) for kind in ("bleu", "chrf")}
    return means | (scores if len(names) > 1 else {})


def summary_scores(outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004): the mean F1 over the rows, 0 to 1, as rouge-score has it."""
    from rouge_score.rouge_scorer import RougeScorer

    kinds = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
    scorer = RougeScorer(list(kinds), tokenizer=_Units())
    found = [scorer.score(wanted, written) for written, wanted in zip(outputs, references, strict=True)]
    return {name: sum(score[kind].fmeasure for score in found) / len(found) for kind, name in kinds.items()}


class _Units:
    """:func:`units` as rouge-score asks for it."""

    def tokenize(self, text: str) -> list[str]:
        return units(text)
