"""People: which faces of a video are one person's, told by where and when they are, not by how they look.

Faces are linked through time as an IOU tracker does it: each goes on the track whose last box, moved on as it moved
before, lies where the face is. A track that was lost is taken up again within a second. Where two tracks could go on
with a face about equally well, or one with two faces, such tracks end and the faces begin new ones: a person may then
have several tracks, but no track has two people.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from systems.sample import GiveVerdict, HowScored, ScoredFace, Verdict
from systems.system import Predictor

PERSON = "person"  # the strategy
LEAST_FACES = 3  # of a track, where a system finds faces one by one: less may be a mistake of the detector

_GAP = 1.0  # seconds for which a lost track may be taken up again
_FAR_APART = 2.0  # seconds from one look to the next from which on boxes must overlap by half, wherever they moved
_LEAST_OVERLAP, _LEAST_OVERLAP_FAR = 0.2, 0.5  # intersection over union of a face and the place where it is expected
_SIZES = 1.7  # ratio of the sides of two boxes from which on they are not one face's
_MARGIN = 0.35  # sides of a face by which the nearest must be nearer than any other
_SPEED_SECONDS = 0.3  # over which a track's speed is averaged
_ASSUMED_RATE = 30  # frames a second, where nothing tells when a frame is shown

BBox = Sequence[float]  # x1, y1, x2, y2 in pixels of the frame


@dataclass(frozen=True, kw_only=True)
class PersonTrack:
    """The faces of one person, as places in the list that was linked, and the system's verdict on these alone."""

    number: int
    places: list[int]
    verdict: Verdict


@dataclass(kw_only=True)
class Piece:
    """What is known to be one person's: a face, or faces that a system has followed. `first` and `last` are seconds,
    with the box at each; `speed` is that of the centre at the end, x and y in pixels a second."""

    first: float
    last: float
    begins: BBox
    ends: BBox
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))


@dataclass(kw_only=True)
class _Track:
    """The end of a track as far as it has come."""

    number: int
    last: float
    bbox: BBox
    speed: np.ndarray
    links: int = 0

    def expected(self, second: float) -> BBox:
        """Where its face would be if it moved on as before."""
        passed = second - self.last
        dx, dy = self.speed * passed if passed <= _FAR_APART else (0, 0)
        x1, y1, x2, y2 = self.bbox
        return x1 + dx, y1 + dy, x2 + dx, y2 + dy

    def go_on(self, piece: Piece) -> None:
        if piece.last > piece.first:
            self.speed = piece.speed
        else:
            passed = piece.first - self.last
            self.links += 1
            share = max(1 - math.exp(-passed / _SPEED_SECONDS), 1 / self.links)
            self.speed = self.speed + share * ((_centre(piece.begins) - _centre(self.bbox)) / passed - self.speed)
        self.last, self.bbox = piece.last, piece.ends


class Tracker:
    """Links what is seen of people in a video. `step`: seconds from one look at the video to the next, where `look` is
    not given all of them."""

    def __init__(self, step: float = 0.0):
        self._longest = max(_GAP, 1.5 * step)
        self._looked: float | None = None
        self._open: list[_Track] = []
        self._begun = 0

    def look(self, second: float, bboxes: Sequence[BBox]) -> list[int]:
        """The number of the track of each face of a frame that is shown at `second`, later than those before; frames
        without faces are looked at, too."""
        if self._looked is not None:
            self._longest = max(_GAP, 1.5 * (second - self._looked))
        self._looked = second
        return self.add(second, [Piece(first=second, last=second, begins=bbox, ends=bbox) for bbox in bboxes])

    def add(self, second: float, pieces: Sequence[Piece]) -> list[int]:
        """The number of the track of each of some pieces that begin at `second`, later than those before."""
        self._open = [track for track in self._open if second - track.last <= self._longest]
        linked = self._link(second, pieces)
        numbers = []
        for place, piece in enumerate(pieces):
            track = linked.get(place)
            if track is None:
                track = _Track(number=self._begun, last=piece.last, bbox=piece.ends, speed=piece.speed)
                self._open.append(track)
                self._begun += 1
            else:
                track.go_on(piece)
            numbers.append(track.number)
        return numbers

    def _link(self, second: float, pieces: Sequence[Piece]) -> dict[int, _Track]:
        """The track that each piece goes on, by the place of the piece. Tracks of which that is in doubt end."""
        tracks = [track for track in self._open if track.last < second]
        if not tracks or not pieces:
            return {}
        distances = np.array([[_distance(track, second, piece.begins) for piece in pieces] for track in tracks])
        linked = {}
        for row, track in enumerate(tracks):
            column = int(distances[row].argmin())
            if not np.isfinite(distances[row, column]):
                continue
            limit = distances[row, column] + _MARGIN
            if (distances[row] <= limit).sum() + (distances[:, column] <= limit).sum() == 2:
                linked[column] = track
            else:
                self._open.remove(track)
        return linked


def tracks_of(faces: Sequence[ScoredFace], *, followed: bool) -> list[int | None]:
    """The number of the track of each face of a video, None for one in no track.

    `followed`: whether the system's number of a face is that of one person through time, rather than of a face in its
    frame. Tracks have `LEAST_FACES` at least and are counted as they begin; those of faces that the system has followed
    are all kept, and have the lowest of the system's numbers.
    """
    by_piece: dict[tuple, list[int]] = {}
    for place, face in enumerate(faces):
        by_piece.setdefault((face.face,) if followed else (face.frame, face.face), []).append(place)
    pieces = [(_piece([faces[place] for place in places]), places) for places in by_piece.values()]
    pieces.sort(key=lambda each: each[0].first)
    starts = sorted({piece.first for piece, _ in pieces})
    tracker = Tracker(step=0.0 if followed else min(np.diff(starts), default=0.0))
    by_track: dict[int, list[int]] = {}
    for second, group in groupby(pieces, key=lambda each: each[0].first):
        beginning = list(group)
        for number, (_, places) in zip(tracker.add(second, [each[0] for each in beginning]), beginning, strict=True):
            by_track.setdefault(number, []).extend(places)
    long_enough = [places for _, places in sorted(by_track.items()) if followed or len(places) >= LEAST_FACES]
    numbers: list[int | None] = [None] * len(faces)
    for count, places in enumerate(long_enough):
        for place in places:
            numbers[place] = min(faces[each].face for each in places) if followed else count
    return numbers


def person_tracks(faces: Sequence[ScoredFace], rule: GiveVerdict, *, followed: bool) -> list[PersonTrack]:
    """The tracks of a video, each with the system's verdict on its faces. `followed` as in `tracks_of`."""
    places: dict[int, list[int]] = {}
    for place, number in enumerate(tracks_of(faces, followed=followed)):
        if number is not None:
            places.setdefault(number, []).append(place)
    return [
        PersonTrack(number=number, places=of_track, verdict=rule([faces[place] for place in of_track]))
        for number, of_track in sorted(places.items())
    ]


def worst_track(tracks: Iterable[PersonTrack]) -> PersonTrack | None:
    """The track with the highest score, the first of equal ones; None where there is none."""
    return max(tracks, key=lambda track: track.verdict.score, default=None)


def verdict_by_person(rule: GiveVerdict, *, followed: bool) -> GiveVerdict:
    """The verdict on the worst track; on all faces where not one track is long enough."""

    def of_worst(faces: Sequence[ScoredFace]) -> Verdict:
        worst = worst_track(person_tracks(faces, rule, followed=followed))
        return worst.verdict if worst else rule(faces)

    return of_worst


def verdict_of(predictor: Predictor, models: Sequence[str], strategy: str | None) -> GiveVerdict:
    """From a video's faces to its score, by the strategy that was asked for."""
    rule = predictor.verdict(models)
    return verdict_by_person(rule, followed=predictor.follows_faces) if strategy == PERSON else rule


def how_scored(predictor: Predictor, strategy: str | None) -> HowScored:
    """The same for a person to read."""
    return how_by_person(predictor.how) if strategy == PERSON else predictor.how


def how_by_person(how: HowScored) -> HowScored:
    """That, for a person to read."""
    return HowScored(
        strategy=PERSON,
        verdict=f"the highest of its people's, each scored by the faces of one track alone: {how.verdict}",
        frames=how.frames,
    )


def seconds_of(face: ScoredFace) -> tuple[float, float]:
    """When the first and the last frame of a face are shown; by their number where nothing tells it."""
    if face.seconds:
        return face.seconds[0], face.seconds[-1]
    return assumed_second(face.frame), assumed_second(face.frames[-1] if face.frames else face.frame)


def assumed_second(frame: int) -> float:
    """When a frame is shown, of a video that does not tell."""
    return frame / _ASSUMED_RATE


def overlap(first: BBox, second: BBox) -> float:
    """Intersection over union of two boxes; 0 where they don't overlap."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def _piece(faces: Sequence[ScoredFace]) -> Piece:
    """What a system has followed, or one face."""
    seen = sorted({(*seconds_of(face), face.bbox) for face in faces})
    first, (_, last, ends) = seen[0], max(seen, key=lambda each: each[1])
    before = [each for each in seen if each[0] <= last - _SPEED_SECONDS]
    speed = np.zeros(2)
    if before:
        speed = (_centre(ends) - _centre(before[-1][2])) / (last - before[-1][0])
    return Piece(first=first[0], last=last, begins=first[2], ends=ends, speed=speed)


def _distance(track: _Track, second: float, bbox: BBox) -> float:
    """How far a box is from where a track would have its face, in sides of the face; infinite where it can't be its."""
    expected = track.expected(second)
    least = _LEAST_OVERLAP_FAR if second - track.last > _FAR_APART else _LEAST_OVERLAP
    sides = _side(expected), _side(bbox)
    if max(sides) > _SIZES * min(sides) or overlap(expected, bbox) < least:
        return math.inf
    return float(np.linalg.norm(_centre(expected) - _centre(bbox))) * 2 / sum(sides) + abs(
        math.log(sides[0] / sides[1])
    )


def _centre(bbox: BBox) -> np.ndarray:
    return np.array([bbox[0] + bbox[2], bbox[1] + bbox[3]], np.float64) / 2


def _side(bbox: BBox) -> float:
    return max(1.0, float((bbox[2] - bbox[0]) * (bbox[3] - bbox[1]))) ** 0.5
