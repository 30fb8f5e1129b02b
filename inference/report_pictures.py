"""Thumbnails of faces for the report: the few frames that they are on are read again.

The pipeline keeps boxes and no pixels: a run over any number of videos needs little memory, its journal is text, and a
report can be made of videos that an earlier run scored.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool

import cv2
import numpy as np
from tqdm import tqdm

from faces.crop import crop_face
from faces.fit import isotropically_resize_image
from faces.sampling import evenly_spaced
from faces.video import VideoError, iter_frames
from inference.pipeline import VideoResult
from inference.video_people import Person
from runtime.files import file_identity
from systems.sample import ScoredFace

_FACES = 10  # of a video that are shown, from the first to the last of each person
_HIGHEST = 2  # that are shown in any case, as a few faces that stand out would be missed
_PEOPLE = 8  # who have pictures, those with the highest scores
_STRIP = 5  # frames of a clip that are shown
_SIDE = 96  # pixels of a thumbnail's longer side
_QUALITY = 75  # WebP: 2 kB a face
_VIDEOS = 1000  # with thumbnails: a page of 30 MB still opens in a browser


@dataclass(kw_only=True)
class Pictures:
    """Which faces of a video are shown, as places in its list of faces, and their thumbnails (WebP) as far as there
    are any; `problem` says why none could be made."""

    shown: list[int] = field(default_factory=list)
    images: dict[int, bytes] = field(default_factory=dict)
    problem: str | None = None


def with_pictures(
    results: Sequence[VideoResult], paths: Mapping[str, str], people: Mapping[str, Sequence[Person]], workers: int
) -> Iterator[tuple[VideoResult, Pictures]]:
    """Yield each result with its pictures, in the order given, with a progress bar. `paths` are the files by name of
    the video, `people` who is in it; `workers` threads read one video each, and hold one frame of it at a time."""

    def pictures_of(item: tuple[int, VideoResult]) -> Pictures:
        number, result = item
        return read_pictures(paths[result.video], result, people[result.video], wanted=number < _VIDEOS)

    # not concurrent.futures: its threads would keep a run that is stopped alive until their videos are read
    with ThreadPool(workers) as pool:
        pictures = pool.imap(pictures_of, enumerate(results))
        yield from zip(results, tqdm(pictures, desc="Report", total=len(results), unit="video"), strict=True)


def read_pictures(path: str, result: VideoResult, people: Sequence[Person], wanted: bool = True) -> Pictures:
    """Thumbnails of the faces that are shown. What can't be read any more has none."""
    pictures = Pictures(shown=choose_faces(result, people))
    if not result.faces:
        return pictures
    if not wanted:
        pictures.problem = f"only the first {_VIDEOS} videos of a report have them"
    elif file_identity(path) != result.identity:
        pictures.problem = "the file was changed or removed after it was scored"
    else:
        try:
            _read_images(path, result, pictures)
        except VideoError as error:
            pictures.problem = error.reason
    return pictures


def scores_of_faces(result: VideoResult) -> dict[int, float]:
    """The mean probability of each face of each frame, by the place in the result where it comes first: what is for one
    model alone comes once for each."""
    samples: dict[tuple[int, int], list[int]] = {}
    for place, face in enumerate(result.faces):
        samples.setdefault((face.frame, face.face), []).append(place)
    return {
        places[0]: float(np.mean([score for place in places for score in result.faces[place].probabilities]))
        for places in samples.values()
    }


def choose_faces(result: VideoResult, people: Sequence[Person]) -> list[int]:
    """Places of the faces to show, ascending: evenly spaced ones of each person, and the highest scores; of all faces
    where nobody could be followed."""
    scores = scores_of_faces(result)
    highest = sorted(people, key=lambda person: -person.score)[:_PEOPLE]
    groups = [[place for place in person.places if place in scores] for person in highest] or [list(scores)]
    chosen: set[int] = set()
    for places in groups:
        by_score = sorted(places, key=lambda place: -scores[place])[: _HIGHEST if len(groups) == 1 else 1]
        chosen |= {places[number] for number in evenly_spaced(len(places), max(2, _FACES // len(groups)))}
        chosen.update(by_score)
    return sorted(chosen)


def _read_images(path: str, result: VideoResult, pictures: Pictures) -> None:
    places: dict[int, list[int]] = {}
    for place in pictures.shown:
        for index in frames_shown(result.faces[place]):
            places.setdefault(index, []).append(place)
    strips: dict[int, list[np.ndarray]] = {}
    for index, frame in iter_frames(path, lambda count: sorted(places)):
        for place in places[index]:
            crop = crop_face(frame, result.faces[place].bbox)
            if crop is None:
                continue
            strip = strips.setdefault(place, [])
            image = isotropically_resize_image(crop, _SIDE)
            if not strip or image.shape == strip[0].shape:  # a video may change its size
                strip.append(image)
    pictures.images = {place: _encode(np.hstack(strips[place])) for place in pictures.shown if place in strips}


def frames_shown(face: ScoredFace) -> list[int]:
    """The frame of a face, or some of a clip's, from its first to its last: they stand side by side."""
    return [face.frames[place] for place in evenly_spaced(len(face.frames), _STRIP)] or [face.frame]


def _encode(image: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()
