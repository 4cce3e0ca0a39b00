"""Model cards as the hub has them, made readable: Markdown that strangers wrote, without its HTML and its pictures.

Every pattern is bounded and the text is cut before, so that no card, however it is made, takes long.
"""

from __future__ import annotations

import re

LONGEST = 30_000  # characters that are shown; the hub's page has the rest
_TAKEN = 2 * LONGEST  # of the card as it is
_CODE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)[^\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_OPENED = re.compile(r"<(script|style)\b", re.IGNORECASE)
_LINK = re.compile(
    r"""<a\s[^>]{0,500}?href\s*=\s*["']?(https?://[^"'\s>]{1,500})[^>]{0,500}>(.{0,1000}?)</a\s*>""",
    re.DOTALL | re.IGNORECASE,
)
_BREAK = re.compile(r"<(br|/p|/div|/li|/tr|/h[1-6])\s{0,9}/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]{0,2000}>")
_PICTURE_LINK = re.compile(r"\[!\[[^\]]{0,300}\]\([^)]{0,500}\)\]\([^)]{0,500}\)")
_PICTURE = re.compile(r"!\[([^\]]{0,300})\]\([^)]{0,500}\)")
_AUTOLINK = re.compile(r"<https?://[^\s>]+>")


def readable_card(text: str) -> str:
    """The Markdown without HTML and pictures: links and words of them stay, badges go."""
    parts = _CODE.split(text[:_TAKEN])
    for number in range(0, len(parts), 2):  # every second one is code
        part = _without_hidden(parts[number])
        part = _PICTURE_LINK.sub("", part)
        part = _PICTURE.sub(lambda match: f"*{match[1]}*" if match[1].strip() else "", part)
        part = _LINK.sub(lambda match: _plain_link(match[2], match[1]), part)
        part = _BREAK.sub("\n\n", part)
        parts[number] = _TAG.sub(lambda match: match[0] if _AUTOLINK.fullmatch(match[0]) else "", part)
    return re.sub(r"\n{3,}", "\n\n", "".join(parts)).strip()


def _without_hidden(text: str) -> str:
    """What a browser does not show: comments, scripts and styles. One that does not end goes to the text's end."""
    text = _without(text, "<!--", "-->")
    while (opened := _OPENED.search(text)) is not None:
        end = text.lower().find(f"</{opened[1].lower()}", opened.end())
        end = text.find(">", end) + 1 if end >= 0 else 0
        if not end:
            return text[: opened.start()]
        text = text[: opened.start()] + text[end:]
    return text


def _without(text: str, begin: str, end: str) -> str:
    kept, place = [], 0
    while (start := text.find(begin, place)) >= 0:
        kept.append(text[place:start])
        found = text.find(end, start)
        if found < 0:
            return "".join(kept)
        place = found + len(end)
    return "".join([*kept, text[place:]])


def _plain_link(words: str, address: str) -> str:
    """A link of HTML as one of Markdown; one around a picture alone goes."""
    inside = " ".join(_TAG.sub("", words).split())
    return f"[{inside}]({address})" if inside else ""
