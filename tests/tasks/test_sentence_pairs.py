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


def test_length_gives_nothing_away() -> None:
    pieces, random = some_pieces(40), generator()
    lengths: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for _ in range(50):
        for index in range(len(pieces)):
            first, second, follows = draw_pair(index, pieces, 60, random)
            lengths[follows].append((len(second), len(first) + len(second)))
    true, false = np.array(lengths[True]), np.array(lengths[False])
    assert abs(true.mean(0) - false.mean(0)).max() < 1.5  # tokens
    # the best single threshold on either length tells hardly better than a coin
    for column in (0, 1):
        for threshold in range(60):
            share = ((true[:, column] > threshold).mean() + (false[:, column] <= threshold).mean()) / 2
            assert abs(share - 0.5) < 0.06


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
