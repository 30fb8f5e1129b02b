"""The people of a video: who is in it from when to when, how each scores, and when a score stays high.

A person is a track of faces (systems/tracks.py). A score over time is smoothed before it is held against a threshold:
of each moment the median of what is scored within `SMOOTH` seconds before and after it counts, which takes out single
faces and keeps the edges of what goes on for longer. An interval begins and ends half-way between two moments of which
one is above the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.pipeline import VideoResult
from systems.sample import GiveVerdict, ScoredFace
from systems.tracks import PersonTrack, person_tracks, seconds_of

SMOOTH = 0.4  # seconds


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What is scored of a person at once: a frame, or several. Frames are indices, times seconds from the video's first
    frame; `score` is the mean of all probabilities that it has."""

    first_frame: int
    last_frame: int
    first: float
    last: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """When a smoothed score is above a threshold: seconds, the first and last frame that is, and the highest score."""

    start: float
    end: float
    start_frame: int
    end_frame: int
    peak: float


@dataclass(frozen=True, kw_only=True)
class Person:
    """`track` is its number, `places` those of its faces in the result, `faces` how many these are (one for all models
    that saw it), `bbox` the median of their boxes."""

    track: int
    places: list[int]
    faces: int
    bbox: tuple[int, int, int, int]
    moments: list[Moment]
    intervals: list[Interval]
    model_scores: list[float]
    score: float

    @property
    def first_frame(self) -> int:
        return self.moments[0].first_frame

    @property
    def last_frame(self) -> int:
        return max(moment.last_frame for moment in self.moments)

    @property
    def first_second(self) -> float:
        return self.moments[0].first

    @property
    def last_second(self) -> float:
        return max(moment.last for moment in self.moments)


def people_of(result: VideoResult, rule: GiveVerdict, *, followed: bool, threshold: float) -> list[Person]:
    """The people of a video, in the order of their tracks' numbers. `rule` is the system's, from faces to a score;
    `followed` as in `systems.tracks.tracks_of`; `threshold` is that of intervals."""
    tracks = person_tracks(result.faces, rule, followed=followed)
    return [_person(track, [result.faces[place] for place in track.places], threshold) for track in tracks]


def intervals_above(moments: Sequence[Moment], threshold: float) -> list[Interval]:
    """When the smoothed score of some moments, in order, is above a threshold."""
    scores = smoothed(moments)
    intervals, begun = [], None
    for place, score in enumerate(scores):
        if score > threshold and begun is None:
            begun = place
        ends = begun is not None and (place + 1 == len(scores) or scores[place + 1] <= threshold)
        if ends:
            intervals.append(
                Interval(
                    start=_edge(moments, begun - 1, begun),
                    end=_edge(moments, place, place + 1),
                    start_frame=moments[begun].first_frame,
                    end_frame=moments[place].last_frame,
                    peak=max(scores[begun : place + 1]),
                )
            )
            begun = None
    return intervals


def smoothed(moments: Sequence[Moment]) -> list[float]:
    """The median of the scores that lie within `SMOOTH` seconds of each moment's middle."""
    middles = np.array([(moment.first + moment.last) / 2 for moment in moments])
    scores = np.array([moment.score for moment in moments])
    order = np.argsort(middles, kind="stable")
    ranked = middles[order]
    begins = np.searchsorted(ranked, middles - SMOOTH - 1e-6)
    ends = np.searchsorted(ranked, middles + SMOOTH + 1e-6)
    return [float(np.median(scores[order[begin:end]])) for begin, end in zip(begins, ends, strict=True)]


def _edge(moments: Sequence[Moment], before: int, after: int) -> float:
    """The time half-way between two moments that follow each other, or where the first begins and the last ends."""
    if before < 0:
        return moments[after].first
    if after == len(moments):
        return moments[before].last
    return round((moments[before].last + moments[after].first) / 2, 6)


def _person(track: PersonTrack, faces: Sequence[ScoredFace], threshold: float) -> Person:
    boxes = list({(face.frame, face.face): face.bbox for face in faces}.values())
    moments = moments_of(faces)
    return Person(
        track=track.number,
        places=track.places,
        faces=len(boxes),
        bbox=tuple(int(value) for value in np.median(boxes, axis=0)),
        moments=moments,
        intervals=intervals_above(moments, threshold),
        model_scores=track.verdict.model_scores,
        score=track.verdict.score,
    )


def moments_of(faces: Sequence[ScoredFace]) -> list[Moment]:
    """What is scored of one person's faces, in order of time: a face in several frames is one moment, unless each of
    its frames has a probability of its own."""
    scores: dict[tuple[int, int], list[float]] = {}
    seconds: dict[tuple[int, int], tuple[float, float]] = {}
    for face in faces:
        first, last = seconds_of(face)
        if len(face.frames) > 1 and len(face.frames) == len(face.probabilities) and face.model is not None:
            times = np.interp(face.frames, [face.frames[0], face.frames[-1]], [first, last]).round(6).tolist()
            for frame, second, score in zip(face.frames, times, face.probabilities, strict=True):
                scores.setdefault((frame, frame), []).append(score)
                seconds.setdefault((frame, frame), (second, second))
        else:
            frames = face.frame, face.frames[-1] if face.frames else face.frame
            scores.setdefault(frames, []).extend(face.probabilities)
            seconds.setdefault(frames, (first, last))
    return [
        Moment(
            first_frame=frames[0],
            last_frame=frames[1],
            first=seconds[frames][0],
            last=seconds[frames][1],
            score=float(np.mean(scores[frames])),
        )
        for frames in sorted(scores)
    ]
