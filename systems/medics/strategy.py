"""From a track's pictures to the probability that its face is fake, and from those to the score of a video."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from systems.medics.models import FaceModel
from systems.medics.settings import Settings

Model = TypeVar("Model")


@dataclass(frozen=True, kw_only=True)
class VideoScore:
    """`model_scores`: the mean over the faces, by model, of those that have scored one. `score`: the video's."""

    model_scores: dict[Any, float]
    score: float


def as_tensor(pictures: np.ndarray) -> torch.Tensor:
    """The pictures where they are, unless they lie backwards."""
    return torch.from_numpy(np.ascontiguousarray(pictures))


@torch.inference_mode()
def p_fake_of_faces(
    model: FaceModel, faces: Sequence[np.ndarray], to_tensor: Callable[[np.ndarray], torch.Tensor] = as_tensor
) -> np.ndarray:
    """What one model says of some tracks, float32 (n,): a 3D model of their clips, the 2D model of their squares, all
    uint8 RGB (t, 256, 256, 3), of one length. The mean of a 3D model's probabilities for a clip and its mirror image;
    the 2D model sees every frame once, the even ones mirrored. `to_tensor` may bring them to the model's device.
    Raises ValueError where the pictures are fewer than the model can take."""
    pictures = torch.stack([to_tensor(face) for face in faces]).to(model.device)  # where mirrors cost nothing, on a GPU
    if model.spec.is_3d:
        return model.p_fake(with_mirrors(pictures)).view(-1, 2).mean(dim=1).cpu().numpy()
    pictures[:, ::2] = pictures[:, ::2].flip(3)  # as `even_mirrored`; they are a copy
    return model.p_fake(pictures).cpu().numpy()


def with_mirrors(clips: torch.Tensor) -> torch.Tensor:
    """Clips (n, t, h, w, 3), each with its mirror image behind it, (2 n, t, h, w, 3)."""
    return torch.stack([clips, clips.flip(3)], dim=1).flatten(0, 1)


def even_mirrored(pictures: np.ndarray) -> np.ndarray:
    """Pictures (t, h, w, 3), of which the first, third, ... are mirrored."""
    mirrored = pictures.copy()
    mirrored[::2] = pictures[::2, :, ::-1]
    return mirrored


def score_video(
    p_fake: Mapping[Model, Sequence[float]], settings: Settings, names: Mapping[Model, str] | None = None
) -> VideoScore:
    """`p_fake`: by model the probability of each face; a model that has none (it failed) does not count. `names` are
    those that `settings.model_weights` knows models by, where they are not the keys themselves.

    The published rule is the plain mean of the models' means over the faces; the second submission's weights are not
    known. Without any face, or where the models that count weigh nothing, the score is `settings.no_face`.
    """
    model_scores = {model: float(np.mean(faces)) for model, faces in p_fake.items() if len(faces)}
    weights = [settings.model_weights.get(names[model] if names else model, 1.0) for model in model_scores]
    if not sum(weights):
        return VideoScore(model_scores=model_scores, score=settings.no_face)
    mean = np.average(list(model_scores.values()), weights=weights)
    return VideoScore(model_scores=model_scores, score=float(np.clip(mean, *settings.clamp)))
