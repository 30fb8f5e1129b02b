"""Which crops are extracted, and which folders of them become pairs."""

import random

import numpy as np
import pytest

from systems.ntechlab.alignment import AlignedTrack, align_tracks, fakes_by_original
from systems.ntechlab.enlarged_box import enlarged_box, is_empty
from systems.ntechlab.track_crops import SEED, pair_folders, plan_track_crops
from systems.ntechlab.tracking import track_faces
from tests.ntechlab import GOLDEN, golden, recorded

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


class LoggedDraw:
    """Draws of a seeded generator, noted as the golden files note them."""

    def __init__(self, seed):
        self._draw, self.log = random.Random(seed), []

    def randint(self, low, high):
        value = self._draw.randint(low, high)
        self.log.append(["randint", low, high, value])
        return value

    def choice(self, choices):
        value = self._draw.choice(choices)
        self.log.append(["choice", value])
        return value


def aligned(length, start=2, fake="p/f.mp4", x=100):
    real_bboxes = [(x + i, 50, x + 40 + i, 110) for i in range(length)]
    fake_bboxes = [(x + 1 + i, 50, x + 41 + i, 110) for i in range(length)]
    return AlignedTrack(real="p/r.mp4", fake=fake, start=start, real_bboxes=real_bboxes, fake_bboxes=fake_bboxes)


SIZES = {"p/r.mp4": (320, 240), "p/f.mp4": (320, 240), "p/g.mp4": (320, 240)}


def test_enlarged_box():
    assert enlarged_box((100, 50, 140, 110), 320, 240) == (90, 35, 150, 125)
    assert enlarged_box((0.9, 0.9, 10.9, 10.9), 320, 240) == (0, 0, 13, 13)  # -1.6 to 13.4: truncated, and cut
    assert enlarged_box((300, 200, 340, 260), 320, 240) == (290, 185, 320, 240)
    assert not is_empty((0, 0, 1, 1)) and is_empty(enlarged_box((-90, 0, -50, 60), 320, 240))


def test_plan_of_one_track():
    draw = LoggedDraw(3)
    real, fake = plan_track_crops([aligned(12)], SIZES, draw)
    (_, low, high, start), (_, of_real) = draw.log
    assert (low, high) == (0, 4)
    left = 104 + start + (not of_real) - 10  # of the box four detections on, and a quarter of its width before it
    assert real.corners == fake.corners == (left, 35, left + 60, 125)
    assert real.first_frame == (2 + start) * 6 and list(real.frames) == list(range(real.first_frame, real.frames.stop))
    assert len(real.frames) == 50
    assert (real.folder, fake.folder) == tuple(f"p/{name}.mp4_{real.first_frame}_{left}_35" for name in "rf")
    assert real.bboxes.dtype == np.float32
    np.testing.assert_array_equal(real.bboxes[0], (100 - left, 15, 140 - left, 75))
    np.testing.assert_array_equal(fake.bboxes[11], (112 - left, 15, 152 - left, 75))


def test_short_tracks_draw_nothing():
    draw = LoggedDraw(0)
    assert plan_track_crops([aligned(7)], SIZES, draw) == [] and draw.log == []
    assert len(plan_track_crops([aligned(7), aligned(8)], SIZES, draw)) == 2 and len(draw.log) == 2


def test_the_first_to_name_a_folder_has_it():
    planned = plan_track_crops([aligned(8), aligned(8, fake="p/g.mp4")], SIZES, random.Random(1))
    folders = [crops.folder for crops in planned]
    assert len(folders) == len(set(folders))
    assert {crops.video for crops in planned} == {"p/r.mp4", "p/f.mp4", "p/g.mp4"}


def test_pairs_of_folders():
    folders = ["p/r.mp4_6_1_2", "p/f.mp4_6_1_2", "p/g.mp4_6_1_2", "p/f.mp4_12_1_2", "p/r.mp4_18_1_2", "p/x.mp4_6_1_2"]
    pairs = [("p/r.mp4", "p/g.mp4"), ("p/r.mp4", "p/f.mp4")]
    assert pair_folders(folders, pairs) == [("p/r.mp4_6_1_2", "p/f.mp4_6_1_2"), ("p/r.mp4_6_1_2", "p/g.mp4_6_1_2")]
    assert pair_folders([], pairs) == []


@needs_golden
def test_plan_of_the_real_pair():
    expected, detections = golden("training_stages.json"), golden("detections.json")
    pair = ("dfdc_train_part_0/634.mp4", "dfdc_train_part_0/634_660.mp4")
    tracks = {video: track_faces(recorded(detections[video.split("/")[1]]["detections"])) for video in pair}
    check(align_tracks([pair], tracks), dict.fromkeys(pair, (1280, 720)), [pair], expected)


@needs_golden
def test_plan_of_invented_detections():
    made = golden("synthetic_detections.json")
    tracks = {video: track_faces(recorded(frames)) for video, frames in made["detections"].items()}
    pairs = fakes_by_original(made["metadata"])
    check(align_tracks(pairs, tracks), dict.fromkeys(tracks, (1280, 720)), pairs, golden("synthetic_expected.json"))


def check(tracks, sizes, pairs, expected):
    draw = LoggedDraw(SEED)
    planned = plan_track_crops(tracks, sizes, draw)
    assert draw.log == expected["draws"]
    assert sorted(crops.folder for crops in planned) == sorted(expected["folders"])
    for crops in planned:
        folder = expected["folders"][crops.folder]
        x1, y1, x2, y2 = crops.corners
        assert [y2 - y1, x2 - x1] == folder["size"]
        count, first, last = folder["boxes"]
        assert len(crops.bboxes) == count
        np.testing.assert_allclose(crops.bboxes[[0, -1]], [first, last], rtol=0, atol=1e-4)
    lines = [",".join(pair) for pair in pair_folders([crops.folder for crops in planned], pairs)]
    assert sorted(lines) == expected["pairs"]
