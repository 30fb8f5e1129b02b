"""Data roots and boxes for the tests of The Medics' stages."""

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from preprocessing.data_root import read_data_root
from preprocessing.face_boxes import BoxFinder
from runtime.errors import ItemError
from tests import media

WIDTH, HEIGHT = 160, 96
FACE = [10.0, 8.0, 34.0, 36.0]  # in pixels at half size


def frames(count: int, seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """RGB frames of smooth noise that moves."""
    draw = np.random.default_rng(seed)
    large = cv2.resize(draw.integers(0, 255, (12, 20, 3), dtype=np.uint8), (width + count // 4 + 1, height))
    return [large[:, n // 4 : n // 4 + width] for n in range(count)]


def write_video(path: Path, count: int, seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> None:
    options = {"crf": "20", "preset": "ultrafast", "g": "50"}
    media.write_video(path, frames(count, seed, width, height), options=options)


def make_root(root: Path, videos: dict[str, int], fakes: dict[str, str] | None = None, part: int = 7) -> Path:
    """A data root of videos by id, with how many frames each has; `fakes` are those that are, and of which."""
    folder = root / f"dfdc_train_part_{part}"
    folder.mkdir(parents=True)
    fakes = fakes or {}
    metadata = {f"{id_}.mp4": {"label": "REAL", "split": "train"} for id_ in videos}
    for fake, original in fakes.items():
        metadata[f"{fake}.mp4"] = {"label": "FAKE", "split": "train", "original": f"{original}.mp4"}
    for seed, (id_, count) in enumerate(videos.items()):
        write_video(folder / f"{id_}.mp4", count, seed)
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return root


def write_boxes(folder: Path, video_id: str, rows: list) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{video_id}.boxes.json").write_text(json.dumps({"boxes": rows}))


def cut(stage, root: Path, given: Path, settings: dict) -> dict[str, object]:
    """What a stage makes of each video, or the line that says why not, without its processes."""
    finder = partial(BoxFinder, root, given, device="cpu", local_rank=0)
    work = stage.make_work(finder, settings)
    made = {}
    for item in stage.list_items(root, given, settings, read_data_root(root)):
        try:
            made[item.key] = work(item.task)
        except ItemError as error:
            made[item.key] = str(error)
    return made
