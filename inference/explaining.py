"""From a video to the heat of its faces with the highest scores."""

import os
from collections.abc import Iterable, Sequence

import numpy as np
from tqdm import tqdm

from faces.video import VideoError
from inference.explained_faces import ExplainedFace, places_by_score, read_faces, score_of
from inference.heat import OCCLUSIONS, grad_cam, occlusion, together
from inference.pipeline import FAILED, NO_FACE, OK, Pipeline, VideoResult
from runtime.errors import InputError
from systems.heat import HeatModel, WeightOf
from systems.sample import GiveVerdict
from systems.system import Opened


def score_video(path: str, opened: Opened, verdict: GiveVerdict) -> VideoResult:
    """The scores of a video and its faces. Raises InputError where it can't be read, or has no face."""
    pipeline = Pipeline(opened.sampler, opened.models, verdict, workers=1)
    (result,) = pipeline.run([(os.path.basename(path), path)])
    if result.status == NO_FACE:
        raise InputError(f"--video {path}: no face was found in it, so that there is nothing to explain")
    if result.status == FAILED:
        raise InputError(f"--video {path}: can't be scored ({result.error.splitlines()[-1]})")
    if result.status != OK:
        raise InputError(f"--video {path}: {result.error}; name another file")
    return result


def highest_faces(
    path: str, opened: Opened, result: VideoResult, weight_of: WeightOf, count: int
) -> tuple[list[ExplainedFace], int]:
    """The `count` faces with the highest scores, the highest first, with their pixels, and of how many they are. Raises
    InputError."""
    places = places_by_score(result.faces, weight_of)
    if not places:
        raise InputError("--clip-settings: its model_weights are 0 for all models, so that no score is to be explained")
    try:
        return read_faces(opened.sampler, path, result.faces, places[:count], weight_of)[:count], len(places)
    except VideoError as error:
        raise InputError(f"--video {path}: can't be read again ({error.reason})") from error


def heats_by_gradients(
    faces: Sequence[ExplainedFace], models: Iterable[HeatModel], *, quiet: bool = False
) -> list[np.ndarray]:
    """Grad-CAM of each face, float32 (t, h, w), over the models of a run in their order. They are drawn from one by
    one, each for all faces, so that only one needs to be in memory."""
    heats: list[list[np.ndarray]] = [[] for _ in faces]
    weights: list[list[float]] = [[] for _ in faces]
    for place, model in enumerate(tqdm(models, desc="Heat", unit="model", disable=quiet)):
        for face, of_face, weighted in zip(faces, heats, weights, strict=True):
            for sample, weight in zip(face.with_pixels(), face.weights, strict=True):
                if sample.model in (None, place):
                    of_face.append(grad_cam(model, sample))
                    weighted.append(weight)
    return [together(of_face, weighted) for of_face, weighted in zip(heats, weights, strict=True)]


def heats_by_occlusion(faces: Sequence[ExplainedFace], opened: Opened, *, quiet: bool = False) -> list[np.ndarray]:
    """The heat of each face by occlusion, float32 (t, h, w)."""
    with tqdm(desc="Heat", total=OCCLUSIONS * len(faces), unit="score", disable=quiet) as bar:
        return [together([occlusion(score_of(opened.models, face), face.pixels, bar.update)], [1]) for face in faces]
