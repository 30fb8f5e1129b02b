"""Predict videos from Python, with the names, arguments and results of the reference's `kernel_utils.py`.

    from kernel_utils import FaceExtractor, VideoReader, confident_strategy, predict_on_video
    reader = VideoReader()
    extractor = FaceExtractor(lambda path: reader.read_frames(path, num_frames=32))
    score = predict_on_video(extractor, "video.mp4", batch_size=32, input_size=380, models=models,
                             strategy=confident_strategy)

`models` are classifiers in eval mode (`systems.seferbekov.checkpoints.load_model`), on any device;
half-precision ones get half-precision images. A folder of videos is the work of `predict_folder.py`, which is faster
and resumes.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from faces.fit import isotropically_resize_image, put_to_center
from inference.pipeline import FAILED, UNKNOWN_SCORE, UNREADABLE, Pipeline
from systems.seferbekov.ensemble import Ensemble, Model, default_batch_size, torch_logits
from systems.seferbekov.face_models import FaceModels
from systems.seferbekov.faces import FaceExtractor, VideoReader, prepare_face
from systems.seferbekov.sampler import FaceSampler
from systems.seferbekov.strategy import STRATEGIES, Strategy, confident_strategy, verdict_by

__all__ = [
    "STRATEGIES",
    "FaceExtractor",
    "VideoReader",
    "confident_strategy",
    "isotropically_resize_image",
    "predict_on_video",
    "predict_on_video_set",
    "prepare_face",
    "put_to_center",
]


def predict_on_video(
    face_extractor: FaceExtractor,
    video_path: str,
    batch_size: int,
    input_size: int,
    models: Sequence[nn.Module | Callable[[torch.Tensor], torch.Tensor]],
    strategy: Strategy = np.mean,
    apply_compression: bool = False,
) -> float:
    """Score of one video, the mean over models; 0.5, with the reason printed, where it can't be scored.

    `batch_size` is meant to be the number of frames that the extractor reads: at most 4 * batch_size - 1 faces are
    scored. A model takes float RGB (n, 3, input_size, input_size), normalised, and returns logits (n, 1) or (n,).
    """
    folder, name = os.path.split(video_path)
    return predict_on_video_set(
        face_extractor, [name], input_size, 1, folder, batch_size, models, strategy, apply_compression
    )[0]


def predict_on_video_set(
    face_extractor: FaceExtractor,
    videos: Sequence[str],
    input_size: int,
    num_workers: int,
    test_dir: str,
    frames_per_video: int,
    models: Sequence[nn.Module | Callable[[torch.Tensor], torch.Tensor]],
    strategy: Strategy = np.mean,
    apply_compression: bool = False,
) -> list[float]:
    """Scores of `videos` in `test_dir`, in their order; see `predict_on_video`."""
    placed = [_placed(model) for model in models]
    device = placed[0][1]
    batch_size = default_batch_size(device)
    ensemble = Ensemble(
        [
            Model(name=str(number), size=input_size, logits=torch_logits(model, place, dtype))
            for number, (model, place, dtype) in enumerate(placed)
        ],
        batch_size=batch_size,
        lanes=num_workers,
        group=batch_size if device.type == "cpu" else 1,
    )
    pipeline = Pipeline(
        FaceSampler(face_extractor, max_faces=4 * frames_per_video - 1),
        FaceModels(ensemble, apply_compression=apply_compression),
        verdict_by(strategy),
        workers=num_workers,
    )
    scores = [UNKNOWN_SCORE] * len(videos)
    for result in pipeline.run((str(i), os.path.join(test_dir, name)) for i, name in enumerate(videos)):
        scores[int(result.video)] = result.score
        if result.status in (FAILED, UNREADABLE):
            print(f"Prediction error on video {videos[int(result.video)]}: {result.error}")
    return scores


def _placed(model) -> tuple[Callable, torch.device, torch.dtype]:
    """A model with the device and type of its weights; the CPU and fp32 for a function without weights."""
    weights = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if weights is None:
        return model, torch.device("cpu"), torch.float32
    return model, weights.device, weights.dtype
