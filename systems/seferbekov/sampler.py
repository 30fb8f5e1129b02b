"""The faces of a video's frames as samples."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from faces.crop import crop_face
from faces.video import VideoInfo, iter_frames
from systems.sample import Account, Sample
from systems.seferbekov.faces import Face, FaceExtractor, FoundFaces
from systems.seferbekov.sampling import spread_in_time
from systems.tracks import Tracker, assumed_second


class FaceSampler:
    """The faces that an extractor finds, in reading order.

    `max_faces` bounds those of one video, None not at all: frames after the last of them are not looked at. With
    `spread_faces` all frames are, and as many faces are chosen evenly in time; their frames are read a second time.
    `by_track`: all frames are, and as many faces of each person are taken.
    """

    def __init__(
        self,
        extractor: FaceExtractor,
        *,
        max_faces: int | None = 127,
        spread_faces: bool = False,
        by_track: bool = False,
    ):
        self.extractor = extractor
        self.max_faces = max_faces
        self.spread_faces = spread_faces
        self.by_track = by_track

    def samples(self, path: str, account: Account) -> Iterator[Sample]:
        """As `systems.sample.Sampler.samples`."""
        frames = self.extractor.iter_frames_with_faces(path)
        try:
            if self.max_faces is None:
                chosen = (_sample(face, face.crop) for faces in self._looked_at(frames, account) for face in faces)
            elif self.by_track:
                chosen = self._of_tracks(frames, account)
            else:
                chosen = (self._spread if self.spread_faces else self._in_order)(path, frames, account)
            yield from chosen
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

    def _of_tracks(self, frames: FoundFaces, account: Account) -> Iterator[Sample]:
        tracker, taken = Tracker(), Counter()
        for faces in self._looked_at(frames, account):
            for face, number in zip(faces, tracker.look(_second(account), [face.bbox for face in faces]), strict=True):
                taken[number] += 1
                if taken[number] <= self.max_faces:
                    yield _sample(face, face.crop)
                else:
                    account.left_out += 1
        account.at_face_limit = account.left_out > 0

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
        account.notes, account.info = info.notes, info
        for index, _, faces in frames:
            account.frames_wanted = info.wanted
            account.looked_at(index)
            yield faces
        account.frames_wanted = info.wanted


def _second(account: Account) -> float:
    """When the frame that was looked at last is shown."""
    told = account.info.seconds_of(account.last_frame)
    return assumed_second(account.last_frame) if told is None else told


def _sample(face: Face, crop: np.ndarray) -> Sample:
    return Sample(pixels=crop[None], frames=(face.frame,), track=face.number, bbox=face.bbox, detector_score=face.score)
