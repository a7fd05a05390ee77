"""Part labels as an erring parser gives them."""

import numpy as np
import pytest

from synthreid.parser import ERRING, EXACT, Parser, misread

LABELS = np.zeros((64, 32), dtype=np.uint8)
LABELS[4:12, 12:20] = 1  # head
LABELS[12:30, 10:16], LABELS[12:30, 16:22] = 4, 5  # right and left upper arm
LABELS[30:60, 10:16], LABELS[30:60, 16:22] = 8, 9  # right and left leg


def read(parser: Parser, *, count: int = 400) -> np.ndarray:
    return np.stack([misread(LABELS, parser, seed=1, name=f"{i}.jpg") for i in range(count)])


def test_an_exact_parser_changes_nothing():
    assert np.array_equal(misread(LABELS, EXACT, seed=1, name="a"), LABELS)


def test_parts_are_missed_as_often_as_said():
    found = read(Parser(missed=0.3))
    missed = np.mean([[not (image == part).any() for part in (1, 4, 5, 8, 9)] for image in found])
    assert missed == pytest.approx(0.3, abs=0.04)
    assert ((found == LABELS) | (found == 0)).all()


def test_left_and_right_are_exchanged_together():
    found = read(Parser(swapped=0.3))
    swapped = (found[:, 20, 12] == 5, found[:, 20, 18] == 4, found[:, 50, 12] == 9)
    assert all(np.array_equal(swapped[0], other) for other in swapped)
    assert swapped[0].mean() == pytest.approx(0.3, abs=0.06)
    assert (found[:, 8, 15] == 1).all()


def test_parts_move_as_far_as_said_and_apart():
    found = read(Parser(shift=(0.0, 0.05)))
    moves = [[np.nonzero(image == part)[1].mean() for image in found] for part in (1, 9)]
    assert np.std(moves[0]) == pytest.approx(0.05 * 32, rel=0.2)
    assert abs(np.corrcoef(*moves)[0, 1]) < 0.2


def test_a_worse_parser_errs_wherever_a_better_one_does():
    good, bad = (read(Parser(missed=0.3, swapped=0.3).scaled(share)) for share in (0.5, 1.0))
    wrong_good, wrong_bad = ((found != LABELS).any((1, 2)) for found in (good, bad))
    assert (wrong_bad | ~wrong_good).all()
    assert wrong_bad.sum() > wrong_good.sum() > 0


def test_names_and_seeds_draw_anew():
    first = misread(LABELS, ERRING, seed=1, name="a")
    assert np.array_equal(first, misread(LABELS, ERRING, seed=1, name="a"))
    others = [misread(LABELS, ERRING, seed=seed, name=name) for seed, name in ((2, "a"), (1, "b"))]
    assert not any(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("wrong", [{"missed": 1.2}, {"swapped": -0.1}, {"shift": (0.1, -1.0)}])
def test_impossible_parsers_are_refused(wrong):
    with pytest.raises(ValueError, match="expected two probabilities"):
        Parser(**wrong)
