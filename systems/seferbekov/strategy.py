"""From the probabilities of a video's faces, by one model, to that model's score of the video.

A strategy takes float probabilities (n,), n > 0, that the faces are fake, in reading order, and returns a float.
"""

from collections.abc import Callable, Sequence

import numpy as np

from systems.sample import GiveVerdict, ScoredFace, Verdict

Strategy = Callable[[Sequence[float]], float]


def confident_strategy(pred: Sequence[float], t: float = 0.8) -> float:
    """The winning heuristic: trust confident fakes when they are many, confident reals when they are nearly all.

    With n faces: if more than n // 2.5 and more than 11 exceed `t`, their mean; else if more than 90 % are below 0.2,
    the mean of those; else the mean of all.
    """
    pred = np.asarray(pred)
    fakes = np.count_nonzero(pred > t)
    if fakes > len(pred) // 2.5 and fakes > 11:
        return float(np.mean(pred[pred > t]))
    if np.count_nonzero(pred < 0.2) > 0.9 * len(pred):
        return float(np.mean(pred[pred < 0.2]))
    return float(np.mean(pred))


def mean_strategy(pred: Sequence[float]) -> float:
    """The plain mean."""
    return float(np.mean(pred))


STRATEGIES: dict[str, Strategy] = {"confident": confident_strategy, "mean": mean_strategy}


def verdict_by(strategy: Strategy) -> GiveVerdict:
    """Each model's score of a video by the strategy, and the mean of the models' as the video's."""

    def verdict(faces: Sequence[ScoredFace]) -> Verdict:
        probabilities = np.array([face.probabilities for face in faces], np.float32)
        model_scores = [float(strategy(column)) for column in probabilities.T]
        return Verdict(score=float(np.mean(model_scores)), model_scores=model_scores)

    return verdict
