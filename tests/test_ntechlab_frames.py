"""Which frames are looked at and what the models see of them, worked by hand and as published."""

import csv
from collections import defaultdict

import numpy as np
import pytest

from faces.video import iter_frames
from systems.ntechlab.face_images import center_crop, large_crop_image, padded, shorter_side_to, tight_image
from systems.ntechlab.frames import InputMaker, ModelInput, find_tracks, keep_frames, plan_inputs
from systems.ntechlab.tracking import FrameTrack
from tests.ntechlab import GOLDEN, found, golden, recorded, video_path

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


@pytest.mark.parametrize(
    ("rate", "step"),
    [(30, 2), (29.97, 2), (25, 2), (23.976, 2), (22.9, 1), (15, 1), (8, 1), (60, 4), (37.5, 2), (38, 3)],
)
def test_about_15_frames_a_second_are_kept(rate, step):
    kept = keep_frames(100, rate)
    assert (kept.step, kept.note) == (step, None)
    assert list(kept.frames) == list(range(0, 100, step)) and list(kept.searched) == list(range(0, 100, 3 * step))


def test_every_frame_of_a_slow_video_is_kept_and_said():
    kept = keep_frames(10, 7.9)
    assert list(kept.frames) == list(range(10)) and "7.9 frames a second" in kept.note
    assert keep_frames(10, 0.5).step == 1


def test_a_video_without_a_rate():
    kept = keep_frames(10, None)
    assert kept.step == 2 and "taken as 30" in kept.note
    assert list(keep_frames(0, 30).searched) == []


def test_tracks_need_seven_detections():
    frames = [found(((0, 0, 10, 10), 0.95))] * 6
    assert find_tracks(frames) == []
    (track,) = find_tracks([found(), *frames, frames[0]])
    assert track.start == 3 and track.bboxes.shape == (19, 4)


def face_track(length, start=0, bbox=(100, 60, 140, 120)):
    return FrameTrack(
        start=start, bboxes=np.float32([(x + i, y, X + i, Y) for x, y, X, Y in [bbox] for i in range(length)])
    )


def test_plan():
    planned = plan_inputs([face_track(22, start=3)], 320, 240)
    sequences = [each for each in planned if each.role == "seq"]
    assert [(each.frames, each.flip) for each in sequences] == [(range(3, 10), True), (range(17, 24), False)]
    assert sequences[0].corners == (93, 45, 153, 135)  # the fourth frame's
    faces = [each for each in planned if each.role != "seq"]
    assert [each.frames.start for each in faces] == list(range(3, 25, 2))
    assert [each.role for each in faces[:8]] == ["large_crop", "large_crop", "re", "re"] * 2
    assert [each.flip for each in faces[:4]] == [True, False, True, False]
    assert faces[1].corners == (92, 45, 152, 135) and len(faces[1].frames) == 1


def test_a_sequence_needs_seven_frames():
    counts = [sum(each.role == "seq" for each in plan_inputs([face_track(n)], 320, 240)) for n in (6, 7, 20, 21)]
    assert counts == [0, 1, 1, 2]


def test_faces_outside_the_frame_are_left_out():
    assert plan_inputs([face_track(19, bbox=(-200, 60, -100, 120))], 320, 240) == []
    assert plan_inputs([], 320, 240) == []


def gradient(width, height):
    row = np.linspace(0, 255, width).astype(np.uint8)
    return np.repeat(row[None, :, None], height, 0).repeat(3, 2)


def test_images_are_fed_frame_by_frame():
    track = face_track(19)
    track.bboxes[:] = track.bboxes[0]
    planned = plan_inputs([track], 320, 240)
    maker = InputMaker(planned, range(0, 40, 2))
    assert maker.source_frames == sorted({2 * number for each in planned for number in each.frames})
    made = [pair for index in maker.source_frames for pair in maker.feed(index, gradient(320, 240))]
    assert {each for each, _ in made} == set(planned)
    for each, images in made:
        assert images.dtype == np.uint8
        assert images.shape == ((7, 224, 192, 3) if each.role == "seq" else (224, 192, 3))
        rises = images[..., -1, 0].astype(int) > images[..., 0, 0]
        assert (rises != each.flip).all()


def test_what_lacks_a_frame_is_left_out():
    planned = plan_inputs([face_track(22)], 320, 240)
    maker = InputMaker(planned, range(22))
    made = [each for index in maker.source_frames if index != 4 for each, _ in maker.feed(index, gradient(320, 240))]
    assert set(planned) - set(made) == {each for each in planned if 4 in each.frames}


def test_frames_that_change_their_size():
    planned = plan_inputs([face_track(19)], 320, 240)
    maker = InputMaker(planned, range(19))
    sizes = [(320, 240) if index < 10 else (80, 60) for index in range(19)]
    made = [each for index in maker.source_frames for each, _ in maker.feed(index, gradient(*sizes[index]))]
    assert {each.frames.start for each in made} == {0, 2, 4, 6, 8}


def test_tracks_beyond_the_video():
    with pytest.raises(ValueError, match="frame 18 of 10"):
        InputMaker(plan_inputs([face_track(19)], 320, 240), range(10))


def test_shorter_side():
    assert shorter_side_to(np.zeros((300, 200, 3), np.uint8), 192).shape == (288, 192, 3)
    assert shorter_side_to(np.zeros((100, 225, 3), np.uint8), 50).shape == (50, 112, 3)  # 112.5
    image = np.zeros((200, 192, 3), np.uint8)
    assert shorter_side_to(image, 192) is image


def test_mirrored_padding():
    image = np.arange(221)[:, None, None].astype(np.uint8).repeat(192, 1).repeat(3, 2)
    assert padded(image)[:, 0, 0].tolist() == [1, *range(221), 219, 218]
    assert padded(np.zeros((230, 200, 3), np.uint8)).shape == (230, 200, 3)


def test_middle():
    image = np.arange(227)[:, None, None].astype(np.uint8).repeat(193, 1).repeat(3, 2)
    assert center_crop(image).shape == (224, 192, 3) and center_crop(image)[0, 0, 0] == 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 500, 3), (900, 1, 3), (300, 200, 3), (200, 300, 3)])
def test_any_crop_becomes_an_image(shape):
    for make in (large_crop_image, tight_image):
        assert make(np.full(shape, 7, np.uint8)).shape == (224, 192, 3)
        assert (make(np.full(shape, 7, np.uint8)) == 7).all()


@pytest.fixture(scope="module")
def planned_videos():
    """Each golden video's kept frames and planned inputs."""
    planned = {}
    for video, entry in golden("detections.json").items():
        info = iter_frames(video_path(video), lambda count: []).look()
        tracks = find_tracks(recorded(entry["detections"]))
        kept = keep_frames(info.frame_count, info.rate)
        planned[video] = kept, tracks, plan_inputs(tracks, info.width, info.height)
    return planned


@needs_golden
def test_published_tracks_and_counts(planned_videos):
    scores, expected = golden("scores.json"), golden("inference_tracks.json")
    for video, (kept, tracks, planned) in planned_videos.items():
        wanted = scores[video]
        assert (len(kept.frames), kept.step, len(kept.searched)) == (
            wanted["frames_kept"],
            wanted["step"],
            wanted["detector_frames"],
        )
        assert sum(each.role == "seq" for each in planned) == wanted["sequences"]
        assert [track.start for track in tracks] == [track["start"] for track in expected[video]]
        for track, published in zip(tracks, expected[video], strict=True):
            np.testing.assert_allclose(track.bboxes, published["boxes"], rtol=0, atol=1e-4)


@needs_golden
def test_published_faces(planned_videos):
    expected = defaultdict(set)
    with open(GOLDEN / "faces.csv", newline="") as file:
        for row in csv.DictReader(file):
            numbers = [int(row[name]) for name in ("track", "frame", "sequence_start", "flip", "x1", "y1", "x2", "y2")]
            expected[row["video"]].add((row["model"], *numbers))
    for video, (_, _, planned) in planned_videos.items():
        rows = {
            (each.role, each.track, frame, each.frames.start, int(each.flip), *each.corners)
            for each in planned
            for frame in each.frames
        }
        assert rows == expected[video]


@needs_golden
def test_published_inputs(planned_videos):
    for video, expected in golden("inputs.json").items():
        kept, _, planned = planned_videos[video]
        first = {role: [each for each in planned if each.role == role and each.track == 0] for role in expected}
        wanted = [each for role, most in (("seq", 1), ("large_crop", 2), ("re", 2)) for each in first[role][:most]]
        made = inputs_of(video, kept, wanted)
        for role in expected:
            images = np.concatenate([made[each].reshape(-1, 224, 192, 3) for each in wanted if each.role == role])
            normalised = (images / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
            means = grid_means(normalised)
            np.testing.assert_allclose(means, expected[role], rtol=0, atol=1e-4)


def grid_means(images):
    """Means of a 4 x 4 grid, (n, 3, 16)."""
    return images.reshape(-1, 4, 56, 4, 48, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(-1, 3, 16)


def inputs_of(video: str, kept, wanted: list[ModelInput]) -> dict[ModelInput, np.ndarray]:
    maker = InputMaker(wanted, kept.frames)
    frames = iter_frames(video_path(video), lambda count: maker.source_frames)
    return {each: images for index, frame in frames for each, images in maker.feed(index, frame)}
