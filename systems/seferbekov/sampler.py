"""The faces of a video's frames as samples."""

from collections.abc import Iterator

import numpy as np

from faces.crop import crop_face
from faces.video import VideoInfo, iter_frames
from systems.sample import Account, Sample
from systems.seferbekov.faces import Face, FaceExtractor, FoundFaces
from systems.seferbekov.sampling import spread_in_time


class FaceSampler:
    """The faces that an extractor finds, in reading order.

    `max_faces` bounds those of one video: frames after the last of them are not looked at. With `spread_faces` all
    frames are, and as many faces are chosen evenly in time; their frames are read a second time.
    """

    def __init__(self, extractor: FaceExtractor, *, max_faces: int = 127, spread_faces: bool = False):
        self.extractor = extractor
        self.max_faces = max_faces
        self.spread_faces = spread_faces

    def samples(self, path: str, account: Account) -> Iterator[Sample]:
        """As `systems.sample.Sampler.samples`."""
        frames = self.extractor.iter_frames_with_faces(path)
        try:
            yield from (self._spread if self.spread_faces else self._in_order)(path, frames, account)
        finally:
            frames.close()

    def _in_order(self, path: str, frames: FoundFaces, account: Account) -> Iterator[Sample]:
        count = 0
        for faces in self._looked_at(frames, account):
            room = self.max_faces - count
            account.left_out += len(faces[room:])
            for face in faces[:room]:
                yield _sample(face, face.crop)
            count += len(faces[:room])
            if count == self.max_faces:
                break
        unseen = count == self.max_faces and account.frames != account.frames_wanted
        account.at_face_limit = account.left_out > 0 or unseen

    def _spread(self, path: str, frames: FoundFaces, account: Account) -> Iterator[Sample]:
        """No pixels are kept while frames are searched, so that memory does not grow with the number of faces."""
        found = [face.without_crop() for faces in self._looked_at(frames, account) for face in faces]
        chosen = spread_in_time([face.frame for face in found], self.max_faces)
        account.left_out = len(found) - len(chosen)
        account.at_face_limit = account.left_out > 0
        by_frame: dict[int, list[Face]] = {}
        for place in chosen:
            by_frame.setdefault(found[place].frame, []).append(found[place])
        for index, frame in iter_frames(path, lambda count: by_frame):
            for face in by_frame[index]:
                yield _sample(face, crop_face(frame, face.bbox))

    def _looked_at(self, frames: FoundFaces, account: Account) -> Iterator[list[Face]]:
        """The faces of each frame, each told of in the account."""
        info = getattr(frames, "info", VideoInfo())
        account.notes = info.notes
        for index, _, faces in frames:
            account.frames_wanted = info.wanted
            account.looked_at(index)
            yield faces
        account.frames_wanted = info.wanted


def _sample(face: Face, crop: np.ndarray) -> Sample:
    return Sample(pixels=crop[None], frames=(face.frame,), track=face.number, bbox=face.bbox, detector_score=face.score)
