"""Which faces of a scored video are explained, and how a face's score is made again from other pixels.

A face is explained as its models see it: samples of the same pixels belong together, one for each model where the
system makes a sample for each, and are scored together, by the mean of the models' probabilities.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from inference.heat import Score
from runtime.errors import InputError
from systems.heat import WeightOf
from systems.sample import Account, Models, Sample, Sampler, ScoredFace


@dataclass(frozen=True, kw_only=True)
class ExplainedFace:
    """`samples` are those of the same pixels, without them; `scored` the same as they were scored, `score` their mean
    by `weights`. pixels: uint8 RGB (t, h, w, 3)."""

    samples: Sequence[Sample]
    scored: Sequence[ScoredFace]
    weights: Sequence[float]
    pixels: np.ndarray

    @property
    def score(self) -> float:
        return mean_of(self.scored, self.weights)

    @property
    def frames(self) -> tuple[int, ...]:
        return self.samples[0].frames

    def with_pixels(self) -> list[Sample]:
        """The samples as the models take them."""
        return [replace(sample, pixels=self.pixels) for sample in self.samples]


def mean_of(scored: Sequence[ScoredFace], weights: Sequence[float]) -> float:
    """The weighted mean of a face's probabilities; of a model that gives several, their mean."""
    return float(np.average([np.mean(each.probabilities) for each in scored], weights=weights))


def places_by_score(faces: Sequence[ScoredFace], weight_of: WeightOf) -> list[list[int]]:
    """The places, among a video's scored samples, of each face, the highest score first, of equal ones the earlier.
    What only models that count nothing have seen is left out."""
    by_face: dict[tuple, list[int]] = {}
    for place, face in enumerate(faces):
        own = place if face.model is None else None
        by_face.setdefault((face.face, face.frame, face.frames, face.flipped, own), []).append(place)

    def score(places: list[int]) -> float:
        return mean_of([faces[place] for place in places], [weight_of(faces[place].role) for place in places])

    counted = [places for places in by_face.values() if any(weight_of(faces[place].role) for place in places)]
    return sorted(counted, key=score, reverse=True)


def read_faces(
    sampler: Sampler, path: str, scored: Sequence[ScoredFace], chosen: Sequence[Sequence[int]], weight_of: WeightOf
) -> list[ExplainedFace]:
    """The faces at these places, in their order, with their pixels: the video is read and searched again, as far as the
    last of them. Raises VideoError, and InputError where it is another than the one that was scored."""
    wanted = {place for places in chosen for place in places}
    samples: dict[int, Sample] = {}
    with closing(sampler.samples(path, Account())) as found:
        for place, sample in enumerate(found):
            if place in wanted:
                samples[place] = sample
                if len(samples) == len(wanted):
                    break
    if any(place not in samples or samples[place].frames[0] != scored[place].frame for place in wanted):
        raise InputError(f"--video {path}: was changed while it was read; run this again")
    return [
        _face([samples[place] for place in same], [scored[place] for place in same], weight_of)
        for places in chosen
        for same in _of_same_pixels(places, samples)
    ]


def score_of(models: Models, face: ExplainedFace) -> Score:
    """What the models make of other pixels in the face's place."""

    def score(pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.average([_scores(models, sample, pictures) for sample in face.samples], axis=0, weights=face.weights)

    return score


def _scores(models: Models, sample: Sample, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Float64 (n,), in batches as the models take them."""
    rows: list[np.ndarray] = []
    for start in range(0, len(pictures), models.batch_size):
        batch = [replace(sample, pixels=pixels) for pixels in pictures[start : start + models.batch_size]]
        rows += list(models.score(models.kind(batch[0]), [models.prepare(each) for each in batch]))
    return np.mean(rows, axis=1, dtype=np.float64)


def _face(samples: Sequence[Sample], scored: Sequence[ScoredFace], weight_of: WeightOf) -> ExplainedFace:
    return ExplainedFace(
        samples=[sample.without_pixels() for sample in samples],
        scored=scored,
        weights=[weight_of(sample.role) for sample in samples],
        pixels=samples[0].pixels.copy(),  # a crop would keep its whole frame
    )


def _of_same_pixels(places: Sequence[int], samples: dict[int, Sample]) -> list[list[int]]:
    """Places whose samples have the very same pixels: a clip, and squares cut from the same frames, may have not."""
    groups: dict[int, list[int]] = {}
    for place in places:
        groups.setdefault(id(samples[place].pixels), []).append(place)
    return list(groups.values())
