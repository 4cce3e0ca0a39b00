"""Which tokens of two texts, or of two models, are the same: the axes on which their maps are laid beside each other.

The same tokens match one to one. Otherwise the longest common runs are matched (J. W. Ratcliff and D. E. Metzener 1988,
Pattern Matching: the Gestalt Approach), over tokens where both have one vocabulary, and over whole words where they
have two, since pieces of words mean nothing to the other tokenizer. Words are compared as they stand in the text,
without regard to capitals.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lmstudio_app.inspection.arrangement import Arrangement, Side, arrange_side
from lmstudio_app.inspection.tokens import Tokens

Slot = tuple[int | None, int | None]  # the places of a token in both, None where it is in one only
DIFFERS = "≠"  # stands for a token that is not the same in both


@dataclass(frozen=True, eq=False)
class Axis:
    """One side of two maps. ``first`` and ``second`` are their tokens as they are compared: single ones, or words.

    ``slots`` are the lines (or columns) of the maps when they lie beside each other, in the order of both texts. In
    those of ``common`` stands the same token in both; another one may hold two tokens, of which one replaced the other.
    """

    first: Side
    second: Side
    slots: tuple[Slot, ...]
    common: tuple[int, ...]
    by_words: bool

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def is_same(self) -> bool:
        """Are the tokens of both the same throughout?"""
        return len(self.common) == len(self.slots)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The places of the common tokens in both; both rise."""
        found = [self.slots[slot] for slot in self.common]
        return tuple((i, j) for i, j in found if i is not None and j is not None)

    def labels(self, which: int) -> tuple[str, ...]:
        """What stands in the slots of the first (0) or second (1) map; empty where that one has no such token.

        Of the difference of both (2): :data:`DIFFERS` where they have not the same token.
        """
        if which == 2:
            common, labels = set(self.common), self.labels(1)
            return tuple(label if slot in common else DIFFERS for slot, label in enumerate(labels))
        side = (self.first, self.second)[which].tokens.labels
        return tuple("" if (place := slot[which]) is None else side[place] for slot in self.slots)

    @cached_property
    def special(self) -> tuple[bool, ...]:
        """Which slots hold special tokens only."""
        sides = (self.first.tokens.special, self.second.tokens.special)
        return tuple(
            all(side[place] for side, place in zip(sides, slot, strict=True) if place is not None)
            for slot in self.slots
        )


def match_tokens(
    first: Tokens, second: Tokens, texts: tuple[Sequence[str], Sequence[str]], *, one_vocabulary: bool
) -> Axis:
    """``texts`` are those that the tokens of both are of: the text, and the second one of a pair."""
    if first.tokens == second.tokens and first.segments == second.segments:
        sides = arrange_side(first, Arrangement()), arrange_side(second, Arrangement())
        places = range(len(first))
        return Axis(*sides, tuple((place, place) for place in places), tuple(places), by_words=False)
    by_words = not one_vocabulary
    arrangement = Arrangement(merge_words=by_words)
    sides = arrange_side(first, arrangement), arrange_side(second, arrangement)
    names = [_names(side.tokens, text, by_words) for side, text in zip(sides, texts, strict=True)]
    slots, common = _diff(*names)
    return Axis(*sides, tuple(slots), tuple(common), by_words)


def _names(tokens: Tokens, texts: Sequence[str], by_words: bool) -> list[Hashable]:
    """What has to be equal for two tokens to be the same one."""
    names: list[Hashable] = []
    kinds = _special_kinds(tokens)
    for index, token in enumerate(tokens.tokens):
        segment, span = tokens.segments[index], tokens.spans[index]
        if tokens.special[index]:
            # what begins and ends a text is called otherwise in every vocabulary
            names.append(("special", kinds[index], "" if by_words else token))
        elif not by_words:
            names.append((segment, token))
        elif segment is not None and span is not None and segment < len(texts):
            names.append((segment, texts[segment][span[0] : span[1]].strip().casefold()))
        else:
            names.append((segment, tokens.labels[index].casefold()))
    return names


def _special_kinds(tokens: Tokens) -> list[str]:
    """Where special tokens stand: before the text, in it, or behind it."""
    own = [index for index, flag in enumerate(tokens.special) if not flag]
    first, last = (own[0], own[-1]) if own else (len(tokens), len(tokens))
    return ["before" if index < first else "behind" if index > last else "between" for index in range(len(tokens))]


def _diff(first: Sequence[Hashable], second: Sequence[Hashable]) -> tuple[list[Slot], list[int]]:
    slots: list[Slot] = []
    common: list[int] = []
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            common += range(len(slots), len(slots) + i2 - i1)
        if i2 - i1 == j2 - j1:
            slots += zip(range(i1, i2), range(j1, j2), strict=True)
        else:
            slots += [(i, None) for i in range(i1, i2)]
            slots += [(None, j) for j in range(j1, j2)]
    return slots, common
