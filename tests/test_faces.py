"""From videos to face images, by the reference's names."""

import cv2
import numpy as np
import pytest

from faces import video
from faces.face_detector import FacenetDetector, Faces
from faces.video import VideoError, iter_frames
from systems.seferbekov.faces import (
    FaceExtractor,
    VideoReader,
    compress_face,
    isotropically_resize_image,
    prepare_face,
    put_to_center,
)
from tests import media


def faces_at(*boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Faces(
        bboxes=boxes, scores=np.linspace(1, 0.9, len(boxes)), landmarks=np.zeros((len(boxes), 5, 2), np.float32)
    )


class ScriptedDetector(FacenetDetector):
    """Answers with given faces and notes how many frames it got at a time."""

    def __init__(self, answer):
        super().__init__(engine="torch")
        self.answer, self.batches = answer, []

    def detect(self, frames):
        self.batches.append(len(frames))
        return [self.answer] * len(frames)


def test_reader_results(face_video, capsys):
    reader = VideoReader()
    frames, indices = reader.read_frames(face_video, num_frames=4)
    assert frames.shape == (4, 360, 640, 3) and indices == [0, 13, 26, 39]
    np.testing.assert_array_equal(frames[1], media.opencv_frames(face_video)[13])
    assert reader.read_frame_at_index(face_video, 7)[1] == [7]
    assert reader.read_middle_frame(face_video)[1] == [20]
    assert reader.read_frames_at_indices(face_video, [1, 2, 99])[1] == [1, 2]
    assert reader.read_frames("gone.mp4", num_frames=4) is None
    assert "gone.mp4: can't be opened" in capsys.readouterr().out
    assert VideoReader(verbose=False).read_frames("gone.mp4", num_frames=4) is None
    assert not capsys.readouterr().out


def test_process_video(face_video):
    extractor = FaceExtractor(lambda path: VideoReader().read_frames(path, num_frames=3))
    results = extractor.process_video(str(face_video))
    assert [result["frame_idx"] for result in results] == [0, 19, 39]
    for result in results:
        assert (result["video_idx"], result["frame_w"], result["frame_h"]) == (0, 640, 360)
        assert len(result["faces"]) == len(result["scores"]) == 1
        assert result["faces"][0].ndim == 3 and result["scores"][0] > 0.9


def test_process_videos_leaves_out_what_cannot_be_read(face_video, capsys):
    extractor = FaceExtractor(lambda path: VideoReader(verbose=False).read_frames(path, num_frames=2))
    results = extractor.process_videos(str(face_video.parent), ["gone.mp4", face_video.name], [0, 1])
    assert {result["video_idx"] for result in results} == {1}
    assert "gone.mp4" in capsys.readouterr().out


def test_crops_and_boxes():
    frame = np.zeros((100, 200, 3), np.uint8)
    detector = ScriptedDetector(faces_at((10.9, 20.9, 40.9, 50.9), (-90, 0, -60, 30), (-10, -10, 20, 20)))
    extractor = FaceExtractor(lambda path: (frame[None], [7]), detector)
    ((index, size, faces),) = extractor.iter_frames_with_faces("x")
    assert (index, size) == (7, (200, 100))
    # the second lies outside even with its margin; the third is cut by the frame
    assert [(face.frame, face.number, face.bbox) for face in faces] == [
        (7, 0, (10, 20, 40, 50)),
        (7, 2, (-10, -10, 20, 20)),
    ]
    assert [face.crop.shape for face in faces] == [(50, 50, 3), (30, 30, 3)]


def test_frames_are_held_a_few_at_a_time(face_video, monkeypatch):
    detector = ScriptedDetector(faces_at())
    extractor = FaceExtractor(lambda path: iter_frames(path, lambda count: range(20)), detector, frames_per_batch=8)
    assert len(list(extractor.iter_frames_with_faces(str(face_video)))) == 20
    assert detector.batches == [8, 8, 4]
    detector.batches.clear()
    monkeypatch.setattr(video, "_CHUNK_BYTES", 3 * 640 * 360 * 3 + 5)  # room for three frames
    list(extractor.iter_frames_with_faces(str(face_video)))
    assert detector.batches == [3] * 6 + [2]
    detector.batches.clear()
    monkeypatch.setattr(video, "_CHUNK_BYTES", 1)
    list(extractor.iter_frames_with_faces(str(face_video)))
    assert detector.batches == [1] * 20


def test_frames_of_several_sizes():
    detector = ScriptedDetector(faces_at())
    frames = [(i, np.zeros((40, 40 + 10 * (i > 1), 3), np.uint8)) for i in range(5)]
    assert len(list(FaceExtractor(lambda path: frames, detector).iter_frames_with_faces("x"))) == 5
    assert detector.batches == [2, 3]


def test_a_read_function_that_gives_nothing():
    with pytest.raises(VideoError, match="x: can't be read"):
        list(FaceExtractor(lambda path: None).iter_frames_with_faces("x"))


def test_isotropic_resize():
    draw = np.random.default_rng(0)
    large, small = (draw.integers(0, 256, shape, dtype=np.uint8) for shape in ((401, 300, 3), (20, 31, 3)))
    # 300 * 380 / 401 = 284.3; 20 * 380 / 31 = 245.2
    np.testing.assert_array_equal(
        isotropically_resize_image(large, 380), cv2.resize(large, (284, 380), interpolation=cv2.INTER_AREA)
    )
    np.testing.assert_array_equal(
        isotropically_resize_image(small, 380), cv2.resize(small, (380, 245), interpolation=cv2.INTER_CUBIC)
    )
    assert isotropically_resize_image(large, 401) is large
    assert isotropically_resize_image(np.zeros((1000, 1, 3), np.uint8), 380).shape == (380, 1, 3)


def test_put_to_center():
    image = put_to_center(np.full((4, 7, 3), 9, np.uint8), 10)
    assert image.shape == (10, 10, 3)
    assert (image[3:7, 1:8] == 9).all() and image.sum() == 4 * 7 * 3 * 9


def test_prepare_and_compress():
    face = prepare_face(media.face_frames(1)[0], 96)
    assert face.shape == (96, 96, 3) and face.dtype == np.uint8
    compressed = compress_face(face)
    assert compressed.shape == face.shape
    assert 0 < np.abs(compressed.astype(int) - face).mean() < 8
