"""Languages by their ISO 639-1 codes (``de``), and the tokens by which a model names them.

Nothing is known here about single models: the tokenizer's vocabulary is asked which of the customary forms it holds.

======================  ==============================================================================
``>>deu<<``             Marian models with several target languages; in front of the source text
``__de__``              M2M100: the target language is the first token that the decoder writes
``deu_Latn``, ``de_DE`` NLLB and mBART: the same
======================  ==============================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lmstudio_app.errors import UserError

# ISO 639-1 and ISO 639-3, and behind a bar the members of a macrolanguage that models name in its place
_CODES = """
aa aar, ab abk, ae ave, af afr, ak aka|twi, am amh, an arg, ar ara|arb, as asm, av ava, ay aym|ayr, az aze|azj, ba bak,
be bel, bg bul, bi bis, bm bam, bn ben, bo bod, br bre, bs bos, ca cat, ce che, ch cha, co cos, cr cre, cs ces, cu chu,
cv chv, cy cym, da dan, de deu, dv div, dz dzo, ee ewe, el ell, en eng, eo epo, es spa, et est|ekk, eu eus, fa fas|pes,
ff ful|fuv, fi fin, fj fij, fo fao, fr fra, fy fry, ga gle, gd gla, gl glg, gn grn|gug, gu guj, gv glv, ha hau, he heb,
hi hin, ho hmo, hr hrv, ht hat, hu hun, hy hye, hz her, ia ina, id ind, ie ile, ig ibo, ii iii, ik ipk, io ido, is isl,
it ita, iu iku, ja jpn, jv jav, ka kat, kg kon, ki kik, kj kua, kk kaz, kl kal, km khm, kn kan, ko kor, kr kau|knc,
ks kas, ku kur|kmr, kv kom|kpv, kw cor, ky kir, la lat, lb ltz, lg lug, li lim, ln lin, lo lao, lt lit, lu lub,
lv lav|lvs, mg mlg|plt, mh mah, mi mri, mk mkd, ml mal, mn mon|khk, mr mar, ms msa|zsm|zlm, mt mlt, my mya, na nau,
nb nob, nd nde, ne nep|npi, ng ndo, nl nld, nn nno, no nor|nob, nr nbl, nv nav, ny nya, oc oci, oj oji, om orm|gaz,
or ori|ory, os oss, pa pan, pi pli, pl pol, ps pus|pbt, pt por, qu que|quy, rm roh, rn run, ro ron, ru rus, rw kin,
sa san, sc srd, sd snd, se sme, sg sag, si sin, sk slk, sl slv, sm smo, sn sna, so som, sq sqi|als, sr srp, ss ssw,
st sot, su sun, sv swe, sw swa|swh, ta tam, te tel, tg tgk, th tha, ti tir, tk tuk, tl tgl, tn tsn, to ton, tr tur,
ts tso, tt tat, tw twi, ty tah, ug uig, uk ukr, ur urd, uz uzb|uzn, ve ven, vi vie, vo vol, wa wln, wo wol, xh xho,
yi yid|ydd, yo yor, za zha, zh zho|cmn, zu zul
"""
_PAIRS = [entry.split() for entry in _CODES.replace("\n", " ").split(",")]
ISO_639_3: dict[str, tuple[str, ...]] = {two: tuple(three.split("|")) for two, three in _PAIRS}
_ISO_639_1: dict[str, str] = {}
for _two, _members in ISO_639_3.items():
    for _three in _members:
        _ISO_639_1.setdefault(_three, _two)
_SOURCE_TOKEN = re.compile(r">>([a-z]{2,3})(?:_([A-Za-z]+))?<<")
_TARGET_TOKEN = re.compile(r"__([a-z]{2,3})__|([a-z]{3})_([A-Z][a-z]{3})|([a-z]{2})_([A-Z]{2})")
_FIRST_SCRIPTS = ("", "Latn", "Hans", "Cyrl", "Arab", "Deva")  # where a language is there in several


def check_language(code: str) -> str:
    """``code`` in small letters. Raises :class:`UserError` when it is no ISO 639-1 code."""
    plain = code.strip().lower()
    if plain not in ISO_639_3:
        raise UserError(
            "{code} is no language code.",
            "Use a code of ISO 639-1, such as en, de, fr or zh{hint}.",
            code=code,
            hint=f" ({code} is {_ISO_639_1[plain]})" if plain in _ISO_639_1 else "",
        )
    return plain


def known_code(code: str) -> str:
    """The ISO 639-1 code of a code of ISO 639-1 or 639-3; empty for what is neither."""
    return code if code in ISO_639_3 else _ISO_639_1.get(code, "")


def source_token(language: str) -> str:
    """The Marian token of a target language: ``>>deu<<``."""
    return f">>{ISO_639_3[check_language(language)][0]}<<"


@dataclass(frozen=True)
class Languages:
    """What a tokenizer declares. ``tokens`` by ISO 639-1 code.

    ``in_source``: the target's token stands in front of the source text (Marian); else the decoder begins with it, and
    the tokenizer also wants to be told the source's language.
    """

    tokens: dict[str, str]
    in_source: bool

    def token(self, language: str) -> str:
        """Raises :class:`UserError` naming the languages there are."""
        code = check_language(language)
        if code not in self.tokens:
            raise UserError(
                "The model does not know the language {language}.",
                "It knows: {languages}.",
                language=code,
                languages=", ".join(sorted(self.tokens)),
            )
        return self.tokens[code]


def declared_languages(tokenizer: Any) -> Languages:
    """The languages whose tokens are in the vocabulary; none for a model of one pair, or one that takes prefixes."""
    found = _collect(_SOURCE_TOKEN, getattr(tokenizer, "supported_language_codes", ()))
    if found:
        return Languages(found, in_source=True)
    names = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    if hasattr(tokenizer, "src_lang"):
        names += getattr(tokenizer, "lang_code_to_token", {}).values()  # M2M100
        names += getattr(tokenizer, "lang_code_to_id", {})  # mBART
        return Languages(_collect(_TARGET_TOKEN, names), in_source=False)
    return Languages(_collect(_SOURCE_TOKEN, names), in_source=True)


def set_languages(tokenizer: Any, languages: Languages, source: str = "", target: str = "") -> None:
    """Tell a tokenizer that wants to know it which languages the next texts are in (ISO 639-1)."""
    if source:
        tokenizer.src_lang = languages.token(source).strip("_")
    if target:
        tokenizer.tgt_lang = languages.token(target).strip("_")


def _collect(pattern: re.Pattern[str], names: Any) -> dict[str, str]:
    """The token of each language; of several, the one in the script or member that is written most."""
    ranked: dict[str, tuple[tuple[int, int], str]] = {}
    for name in names:
        if not (match := pattern.fullmatch(name)):
            continue
        code, extra = _parts(match)
        language = known_code(code)
        if not language:
            continue
        script = _FIRST_SCRIPTS.index(extra) if extra in _FIRST_SCRIPTS else len(_FIRST_SCRIPTS)
        member = ISO_639_3[language].index(code) if code in ISO_639_3[language] else 0
        rank = (member, script)
        if language not in ranked or rank < ranked[language][0]:
            ranked[language] = (rank, name)
    return {language: name for language, (_, name) in ranked.items()}


def _parts(match: re.Match[str]) -> tuple[str, str]:
    """Code and script (or region) of a token."""
    groups = [group for group in match.groups() if group]
    return groups[0], groups[1] if len(groups) > 1 else ""
