"""Which videos are drawn together."""

import pytest

from evaluation.clusters import clusters_of
from evaluation.labels import Truth


def real(**columns):
    return Truth(is_fake=False, columns=columns)


def fake(original=None, **columns):
    return Truth(is_fake=True, original=original, columns=columns)


def clusters(truth, by):
    found = clusters_of(list(truth), truth, by)
    return found.index.tolist(), found.untold


def test_by_original():
    """A fake may be of another container than its original, and its original need not be among the videos."""
    truth = {
        "a.mp4": real(),
        "b.mp4": real(),
        "f1.mp4": fake("a.mp4"),
        "f2.avi": fake("a.MOV"),
        "f3.mp4": fake("gone.mp4"),
        "f4.mp4": fake("gone"),
        "f5.mp4": fake(),
        "f6.mp4": fake("f1.mp4"),
    }
    assert clusters(truth, "original") == ([0, 1, 0, 0, 2, 2, 3, 0], ["f5.mp4"])
    assert clusters(truth, "video") == ([0, 1, 2, 3, 4, 5, 6, 7], [])


def test_an_original_of_a_real_video_counts():
    """As of one that was encoded again, and of folds.csv, where it is the video itself."""
    truth = {
        "a_c40.mp4": Truth(is_fake=False, original="a.mp4"),
        "a.mp4": Truth(is_fake=False, original="a.mp4"),
        "b.mp4": real(),
    }
    assert clusters(truth, "original") == ([0, 0, 1], [])


@pytest.mark.parametrize("column", ["identity", "person"])
def test_by_a_column_of_people(column):
    """Several of a video with ";" between them; who is not told is with the original."""
    truth = {
        "a.mp4": real(**{column: "ann"}),
        "b.mp4": real(**{column: "ben"}),
        "c.mp4": real(**{column: "cy; ann"}),
        "d.mp4": real(**{column: ""}),
        "e.mp4": fake("d.mp4"),
        "f.mp4": fake("b.mp4", **{column: " dan "}),
    }
    assert clusters(truth, "identity") == ([0, 1, 0, 2, 2, 1], ["d.mp4", "e.mp4"])


def test_by_people_of_names():
    """FaceForensics++ and Celeb-DF: a fake shows its original's scene and someone else's face."""
    truth = {
        "000.mp4": real(),
        "003.mp4": real(),
        "Deepfakes_000_003.mp4": fake("000.mp4"),
        "id0_0001.mp4": real(),
        "id0_0002.mp4": real(),
        "id1_id2_0001.mp4": fake("id1_0001.mp4"),
        "id2_0009.mp4": real(),
    }
    assert clusters(truth, "identity") == ([0, 0, 0, 1, 1, 2, 2], [])
    assert clusters(truth, "original") == ([0, 1, 0, 2, 3, 4, 5], [])
