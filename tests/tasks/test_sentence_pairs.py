"""Pairs for next-sentence prediction: half of them true, none given away by its form, drawn anew every time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lmstudio_app.tasks.sentence_pairs import Piece, cut_pieces, draw_pair


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make_piece(document: int, number: int, lengths: list[int]) -> Piece:
    """Tokens that tell where they are from: document * 10,000 + piece * 1000 + position."""
    tokens = document * 10_000 + number * 1000 + np.arange(sum(lengths))
    return Piece.of({"input_ids": tokens, "sentences": lengths, "document": document, "piece": number})


def some_pieces(count: int = 12, seed: int = 5) -> list[Piece]:
    random = np.random.default_rng(seed)
    pieces = []
    for number in range(count):
        lengths: list[int] = []
        while sum(lengths) < 50:
            lengths.append(int(random.integers(4, 12)))
        pieces.append(make_piece(number // 2, number % 2, lengths[:-1]))
    return pieces


def test_pieces_are_whole_sentences_of_at_least_two_that_fit() -> None:
    lengths = [10, 10, 10, 10, 10, 10, 10]
    assert cut_pieces(lengths, 30, 30) == [(0, 3), (3, 7)]  # the last lone one joins
    assert cut_pieces(lengths, 30, 20) == [(0, 2), (2, 5), (5, 7)]
    assert cut_pieces([100, 100, 100, 100], 30, 30) == [(0, 2), (2, 4)]  # too long ones are cut later
    assert cut_pieces([5], 30, 30) == []
    random = np.random.default_rng(0)
    for _ in range(50):
        lengths = random.integers(1, 20, random.integers(2, 40)).tolist()
        runs = cut_pieces(lengths, 40, int(random.integers(1, 41)))
        assert [index for begin, end in runs for index in range(begin, end)] == list(range(len(lengths)))
        assert all(end - begin >= 2 for begin, end in runs)


def test_half_of_the_pairs_are_true_and_what_they_are_is_right() -> None:
    pieces, random, counts = some_pieces(), generator(), Counter[bool]()
    for _ in range(300):
        for index, piece in enumerate(pieces):
            first, second, follows = draw_pair(index, pieces, 60, random)
            counts[follows] += 1
            assert len(first) + len(second) <= 60
            assert min(len(first), len(second)) > 0
            assert set(first.tolist()) <= set(piece.tokens.tolist())
            if follows:
                assert second[0] == first[-1] + 1
                assert second[0] - piece.tokens[0] in piece.bounds
            else:
                assert second[0] // 10_000 != piece.document
    assert counts[True] / sum(counts.values()) == pytest.approx(0.5, abs=0.02)


def test_form_gives_nothing_away() -> None:
    """Two sources, one of short sentences: neither lengths, nor the last token, nor the source of B tells."""
    random, pieces = np.random.default_rng(5), []
    for number in range(64):
        lengths: list[int] = []
        while sum(lengths) < 50:
            lengths.append(int(random.integers(3, 8) if number % 2 else random.integers(10, 25)))
        pieces.append(make_piece(number, 0, lengths[:-1] if len(lengths) > 2 else lengths))
    random, seen = generator(), []
    for _ in range(60):
        for index in range(len(pieces)):
            first, second, follows = draw_pair(index, pieces, 60, random)
            document, place = divmod(int(second[-1]), 10_000)
            ends = place + 1 in pieces[document].bounds
            seen.append((follows, len(second), len(first) + len(second), ends, document % 2))
    follows, *columns = np.array(seen).T
    is_true = follows == 1
    *forms, source = columns
    assert abs(source[is_true].mean() - source[~is_true].mean()) < 0.1
    for column in forms:
        assert abs(column[is_true].mean() - column[~is_true].mean()) < 0.05 * column.std() + 0.01
        # the best single threshold tells hardly better than a coin
        for threshold in np.unique(column):
            share = ((column[is_true] > threshold).mean() + (column[~is_true] <= threshold).mean()) / 2
            assert abs(share - 0.5) < 0.03
    # nor does the sum of both lengths where the length of B is known, as the nearest run of the batch is taken
    for length in range(5, 45, 5):
        near = columns[0] // 5 == length // 5
        sums = columns[1][near]
        assert abs(sums[is_true[near]].mean() - sums[~is_true[near]].mean()) < 2.5  # tokens


def test_pairs_are_drawn_anew_and_depend_on_the_generator_alone() -> None:
    pieces = some_pieces()

    def draw(seed: int) -> list[tuple[list[int], list[int], bool]]:
        random = generator(seed)
        pairs = [draw_pair(index, pieces, 60, random) for index in range(len(pieces))]
        return [(first.tolist(), second.tolist(), follows) for first, second, follows in pairs]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_without_another_document_there_are_other_wrong_pairs() -> None:
    alone = [make_piece(0, 0, [8, 9, 10])]
    same = [make_piece(0, number, [8, 9, 10]) for number in range(4)]
    random, seen = generator(), Counter[bool]()
    for _ in range(200):
        first, second, follows = draw_pair(0, alone, 60, random)
        seen[follows] += 1
        assert (second[0] == first[-1] + 1) == follows
        assert follows or first[0] == second[-1] + 1  # they have changed places
        _, second, follows = draw_pair(0, same, 60, random)
        assert follows or second[0] // 1000 in (2, 3)  # no neighbour
    assert 70 < seen[True] < 130


def test_sentences_that_are_too_long_are_cut_away_from_the_seam() -> None:
    pieces = [make_piece(0, 0, [80, 90]), make_piece(1, 0, [70, 80])]
    random = generator()
    for _ in range(50):
        first, second, follows = draw_pair(0, pieces, 40, random)
        assert len(first) == len(second) == 20
        assert first[-1] == 79
        assert second[0] == (80 if follows else second[0])
