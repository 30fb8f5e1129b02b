"""What is taken out of faces: which pixels go black, and how often."""

from collections import Counter

import cv2
import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from systems.seferbekov import part_dropout
from systems.seferbekov.part_dropout import (
    bit_masks,
    blackout_by_diff,
    blackout_random,
    change_padding,
    drop_eyes,
    drop_half_face,
    drop_mouth,
    drop_nose,
    drop_organ,
    drop_parts,
    face_outline,
)

FACE = np.array([[40, 60], [80, 60], [60, 80], [45, 105], [75, 105]])  # upright; eyes 40 apart, mouth 30 wide
WHITE = np.full((160, 120, 3), 255, np.uint8)
NO_MASK = np.zeros((160, 120), np.uint8)


def black(image: np.ndarray) -> np.ndarray:
    assert set(np.unique(image)) <= {0, 255}
    assert (image == image[..., :1]).all()
    return image[..., 0] == 0


def dilated(start: tuple[int, int], end: tuple[int, int], radius: int, shape: tuple[int, int] = (160, 120)):
    line = np.zeros(shape, np.uint8)
    cv2.line(line, start, end, 1, 2)
    return binary_dilation(line, iterations=radius)


def test_organs_are_lines_dilated_by_a_diamond():
    assert (black(drop_eyes(WHITE, FACE)) == dilated((40, 60), (80, 60), 10)).all()
    assert (black(drop_nose(WHITE, FACE)) == dilated((60, 80), (60, 60), 10)).all()
    assert (black(drop_mouth(WHITE, FACE)) == dilated((45, 105), (75, 105), 10)).all()
    assert (WHITE == 255).all()


def test_the_eyes_by_hand():
    rows, columns = np.nonzero(black(drop_eyes(WHITE, FACE)))
    assert abs(rows.min() - 49) <= 1 and abs(rows.max() - 70) <= 1  # a line of 2 or 3 rows, and 10 above and below
    assert abs(columns.min() - 29) <= 1 and abs(columns.max() - 91) <= 1
    assert not black(drop_eyes(WHITE, FACE))[68, 32]  # the corner that a square would take


def test_lines_anywhere_are_dilated_alike():
    draw = np.random.default_rng(0)
    for _ in range(200):
        left, right = draw.integers(-15, 80, (2, 2))
        image = np.full((50, 70, 3), 255, np.uint8)
        radius = int(np.hypot(*(left - right)) // 4)
        expected = dilated(tuple(map(int, left)), tuple(map(int, right)), radius, (50, 70)) if radius else None
        found = black(drop_eyes(image, np.array([left, right, left, left, left])))
        if expected is not None:  # SciPy takes 0 for "until nothing changes"
            assert (found == expected).all()


def test_the_outline_of_an_upright_face():
    outline = face_outline(FACE)
    left, top = outline.min(0)
    right, bottom = outline.max(0)
    assert (left, right) == (17, 103)  # the middle of the eyes, 60, and 1.08 times 40 to each side
    assert (top, bottom) == (41, 140)  # 60 - 0.42 * 45 and 60 + 1.78 * 45
    assert cv2.pointPolygonTest(outline, (60.0, 80.0), False) > 0
    assert not cv2.isContourConvex(outline[:, None]) or len(outline) == 23


def test_the_outline_turns_with_the_face():
    turned = np.stack([160 - FACE[:, 1], FACE[:, 0]], axis=1)  # a quarter to the right
    expected = np.stack([160 - face_outline(FACE)[:, 1], face_outline(FACE)[:, 0]], axis=1)
    assert np.abs(face_outline(turned) - expected).max() <= 1


def test_half_of_the_face():
    whole = np.zeros_like(NO_MASK)
    cv2.fillPoly(whole, [face_outline(FACE)], 1)
    whole = whole > 0
    rows, columns = np.nonzero(whole)
    y, x = int(rows.mean()), int(columns.mean())
    halves = {name: whole.copy() for name in ("lower", "upper", "right", "left")}
    halves["lower"][:y] = halves["upper"][y:] = halves["right"][:, :x] = halves["left"][:, x:] = False
    found = Counter()
    for seed in range(100):
        gone = black(drop_half_face(WHITE, FACE, np.random.default_rng(seed)))
        found[next(name for name, half in halves.items() if (gone == half).all())] += 1
    assert min(found.values()) > 10 and len(found) == 4


def test_a_face_outside_or_of_one_point_is_left_alone():
    for landmarks in (FACE + 1000, FACE - 1000):
        for drop in (drop_eyes, drop_nose, drop_mouth):
            assert (drop(WHITE, landmarks) == 255).all()
        assert (drop_half_face(WHITE, landmarks, np.random.default_rng(0)) == 255).all()
    drop_organ(WHITE, FACE * 0, np.random.default_rng(0))
    drop_half_face(WHITE, FACE * 0, np.random.default_rng(0))


def test_bit_masks_of_a_small_crop():
    lower, upper, right, left, one, other = (mask.tolist() for mask in bit_masks(2, 4))
    assert (lower, upper) == ([[0, 0, 0, 0], [1, 1, 1, 1]], [[1, 1, 1, 1], [0, 0, 0, 0]])
    assert (right, left) == ([[0, 0, 1, 1], [0, 0, 1, 1]], [[1, 1, 0, 0], [1, 1, 0, 0]])
    assert (one, other) == ([[0, 0, 1, 1], [1, 1, 0, 0]], [[1, 1, 0, 0], [0, 0, 1, 1]])


def test_a_fake_still_shows_a_change():
    mask = NO_MASK.copy()
    mask[10:13, 10:17] = 103  # 21 pixels, upper left
    mask[100:110, 100:110] = 102  # not above 0.4 of the range
    shown = 0
    for seed in range(60):
        image, kept = blackout_random(WHITE, lambda: mask, 1, np.random.default_rng(seed))
        assert not black(image)[10:13, 10:17].any()
        assert ((kept() > 0) == ((mask > 0) & ~black(image))).all()
        shown += not black(image).any()
    assert shown < 15  # five draws, of which half would do
    mask[10, 10] = 102
    image, kept = blackout_random(WHITE, lambda: mask, 1, np.random.default_rng(0))  # 20 are too few
    assert image is WHITE and kept() is mask
    image, kept = blackout_random(WHITE, lambda: mask, 0, np.random.default_rng(0))
    assert black(image).mean() == 0.5


def test_blackout_by_diff_leaves_a_changed_cell():
    mask = NO_MASK.copy()
    mask[60:110, 40:80] = 200
    shares = []
    for seed in range(100):
        image, kept = blackout_by_diff(WHITE, lambda: mask, 1, np.random.default_rng(seed))
        assert np.count_nonzero(kept() > 102) > 20
        assert ((kept() > 0) == ((mask > 0) & ~black(image))).all()
        shares.append(black(image).mean())
    assert 0.35 < np.mean(shares) < 0.5
    image, _ = blackout_by_diff(WHITE, lambda: NO_MASK, 1, np.random.default_rng(0))
    assert image is WHITE
    assert black(blackout_by_diff(WHITE, lambda: NO_MASK, 0, np.random.default_rng(0))[0]).any()
    tiny = np.full((1, 2, 3), 255, np.uint8)
    assert blackout_by_diff(tiny, lambda: tiny[..., 0], 0, np.random.default_rng(0))[0].shape == (1, 2, 3)


def test_the_margin_is_trimmed():
    image = np.arange(100)[:, None] * np.ones((1, 57), int)
    trimmed = change_padding(image, 4)
    assert trimmed.shape == (90, 57 - 3 - 4)  # 20 - 15 of 100; 57 // 5 - 8, and 12 - 8
    assert trimmed[0, 0] == 5 and trimmed[-1, 0] == 94
    assert change_padding(image, 6).shape[0] == 80
    assert change_padding(image[:4], 4).shape == (4, 57)
    for side in range(5, 60):
        assert min(change_padding(np.zeros((side, side)), 10).shape) > 0


def count(monkeypatch, landmarks, draws=4000):
    """How often each thing was done, of `draws`."""
    done = Counter()

    def note(name, result):
        def drop(*args):
            done[name] += 1
            return result

        return drop

    for name in ("drop_eyes", "drop_mouth", "drop_nose", "drop_half_face"):
        monkeypatch.setattr(part_dropout, name, note(name, WHITE))
    monkeypatch.setattr(part_dropout, "blackout_random", note("blackout_random", (WHITE, lambda: NO_MASK)))
    draw = np.random.default_rng(1)
    for _ in range(draws):
        drop_parts(WHITE, lambda: NO_MASK, landmarks, 0, draw)
    return {name: number / draws for name, number in done.items()}


def test_how_often_what_is_dropped(monkeypatch):
    found = count(monkeypatch, FACE)
    expected = {
        "drop_eyes": 0.35,
        "drop_mouth": 0.175,
        "drop_nose": 0.0875,
        "drop_half_face": 0.3 * 0.2,
        "blackout_random": 0.3 * 0.8 * 0.1,
    }
    assert found == pytest.approx(expected, abs=0.025)


def test_the_mask_is_asked_for_only_where_parts_of_the_crop_go():
    asked = 0

    def mask() -> np.ndarray:
        nonlocal asked
        asked += 1
        return NO_MASK

    draw = np.random.default_rng(1)
    blackened = 0
    for _ in range(1000):
        image, _ = drop_parts(WHITE, mask, None, 0, draw)
        blackened += image is not WHITE
    assert asked == blackened > 0


def test_without_landmarks_the_face_stays(monkeypatch):
    assert count(monkeypatch, None) == pytest.approx({"blackout_random": 0.8 * 0.1}, abs=0.02)
