"""Many images' boxes at once, against one image at a time."""

import numpy as np
import pytest
import torch
from facenet_pytorch.models.utils.detect_face import nms_numpy
from torchvision.ops import nms

from faces import mtcnn_boxes


def boxes_of(draw, count, *, whole):
    corners = draw.integers(0, 60, (count, 2)) if whole else draw.uniform(-5, 60, (count, 2))
    sides = draw.integers(5, 40, (count, 2)) if whole else draw.uniform(5, 40, (count, 2))
    scores = draw.integers(70, 90, (count, 1)) / 100  # many are the same
    return torch.from_numpy(np.concatenate([corners, corners + sides, scores], axis=1).astype(np.float32))


@pytest.fixture(scope="module")
def groups():
    """Numbers of groups of very different sizes, one of which is larger than what is done at a time."""
    return np.repeat([0, 2, 3, 7, 8, 9], [40, 1, 300, 2, 1500, 7])


def one_by_one(suppress, boxes, groups):
    kept = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        kept += rows[np.asarray(suppress(boxes[rows]))].tolist()
    return kept


@pytest.mark.parametrize("threshold", [0.5, 0.7])
@pytest.mark.parametrize("exact", [2**24, 250])
def test_whole_numbers_are_suppressed_together(groups, threshold, exact, monkeypatch):
    """Also where only a few groups can be moved apart before numbers are no longer exact."""
    monkeypatch.setattr(mtcnn_boxes, "_EXACT", exact)
    boxes = boxes_of(np.random.default_rng(0), len(groups), whole=True)
    expected = one_by_one(lambda mine: nms(mine[:, :4], mine[:, 4], threshold), boxes, groups)
    assert len(expected) < len(boxes) - 100
    assert mtcnn_boxes.suppress_whole(boxes, groups, threshold).tolist() == expected


def test_coordinates_as_large_as_frames_can_be():
    """Two groups of a box that is 100,000 pixels off: apart, not rounded into each other."""
    boxes = torch.tensor([[99990.0, 5, 100000, 15, 0.9], [99990, 5, 100000, 15, 0.8]]).repeat(400, 1)
    kept = mtcnn_boxes.suppress_whole(boxes, np.repeat(np.arange(400), 2), 0.5)
    assert kept.tolist() == list(range(0, 800, 2))


def test_any_numbers_are_suppressed_one_by_one(groups):
    boxes = boxes_of(np.random.default_rng(1), len(groups), whole=False)
    expected = one_by_one(lambda mine: nms(mine[:, :4], mine[:, 4], 0.7), boxes, groups)
    assert mtcnn_boxes.suppress_each(boxes, groups, 0.7).tolist() == expected
    by_share = one_by_one(
        lambda mine: nms_numpy(mine[:, :4].numpy(), mine[:, 4].numpy(), 0.7, "Min").astype(int), boxes, groups
    )
    assert mtcnn_boxes.suppress_contained(boxes, groups, 0.7).tolist() == by_share


def test_nothing_to_suppress():
    empty, none = torch.zeros(0, 5), np.zeros(0, np.int64)
    for suppress in (mtcnn_boxes.suppress_whole, mtcnn_boxes.suppress_each, mtcnn_boxes.suppress_contained):
        assert suppress(empty, none, 0.5).tolist() == []
    boxes, numbers = mtcnn_boxes.proposals(np.zeros((0, 9), np.float32), 0.7)
    assert boxes.shape == (0, 5) and numbers.shape == (0,)


def test_proposals_by_hand():
    """Of two cells of a scale that overlap by more than half the likelier is left, and both of those at another scale;
    the box is moved by its regression and made square."""
    rows = np.zeros((3, 9), np.float32)
    rows[:, 0] = 4  # the image
    rows[:, 1] = 0.6, 0.6, 0.3
    rows[:, 2:4] = [[10, 20], [11, 20], [30, 0]]
    rows[:, 4] = 3, 4, 5
    rows[1, 5:] = 0.5, 0, 0.5, 1
    boxes, numbers = mtcnn_boxes.proposals(rows, 0.7)
    assert numbers.tolist() == [4, 4]
    # x: floor((2 * 30 + 1) / 0.3) = 203, floor((61 + 11) / 0.3) = 240 (fp32); a square already
    np.testing.assert_allclose(boxes[0, :4].numpy(), [203, 3, 240, 40], atol=1)
    # x: floor(23 / 0.6) = 38 to floor(34 / 0.6) = 56; y: 68 to 86; moved by (9, 0, 9, 18): 47, 68, 65, 104
    np.testing.assert_allclose(boxes[1, :4].numpy(), [38, 68, 74, 104], atol=1e-4)
    np.testing.assert_allclose(boxes[:, 4].numpy(), 1 / (1 + np.exp([-5.0, -4.0])), rtol=1e-6)
