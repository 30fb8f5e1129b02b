"""What the tests of NtechLab's system share: the golden data of `../shared`, and small detections."""

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systems.ntechlab.checkpoints import PUBLISHED_FILE, PUBLISHED_NAMES
from systems.ntechlab.detections import Detections
from tests import data, media, processes
from tests.media import SHARED
from tests.once import made_once

GOLDEN = SHARED / "golden" / "ntechlab"


def golden(name: str) -> Any:
    """A JSON file of the golden data."""
    return json.loads((GOLDEN / name).read_text())


def fixed_checkpoint(factory: pytest.TempPathFactory, role: str) -> Path:
    """The golden data's classifier of a role, made once for all test files and for all of pytest-xdist's workers."""

    def make(folder: Path) -> None:
        # the statistics in it are those of the golden data where one thread computes them
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, GOLDEN / "make_checkpoints.py", folder, role]
        processes.run(command, check=True, capture_output=True, env=environment)

    return made_once(factory, f"ntechlab_{role}", make) / PUBLISHED_NAMES[role] / PUBLISHED_FILE


def video_path(name: str) -> Path:
    """A video of the golden data: the pair lies in a part, the others are test videos."""
    return next((SHARED / "videos").glob(f"*/{name}"))


def found(*faces: tuple[tuple[float, ...], float]) -> Detections:
    """The detections of a frame, from (box, score) of each face."""
    return Detections(
        bboxes=np.array([bbox for bbox, _ in faces], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score in faces], np.float32),
    )


def recorded(frames: list[dict]) -> list[Detections]:
    """Detections as the golden files list them."""
    return [found(*zip(map(tuple, frame["boxes"]), frame["scores"], strict=True)) for frame in frames]


# small data roots for its stages

WIDTH, HEIGHT, COUNT = 320, 180, 66  # of each video; faces are searched in 11 of its frames
FACE = (100.0, 40.0, 160.0, 100.0)  # a box of every searched frame
CUT = (85, 25, 175, 115)  # what is cut out: half as large again
PART = "dfdc_train_part_0"
REAL, FAKE, ALONE = (f"{PART}/{name}.mp4" for name in ("real", "fake", "alone"))


def entry(boxes: list, *, scores: float = 0.95, **changes: Any) -> dict:
    """A video's recorded detections: `boxes` of frames 0, 6, 12, ..."""
    detections = [
        {"frame": 6 * number, "boxes": each, "scores": [scores] * len(each)} for number, each in enumerate(boxes)
    ]
    return {"width": WIDTH, "height": HEIGHT, "frames": COUNT, "detections": detections, **changes}


def entries() -> dict[str, dict]:
    """What is recorded of the videos of `write_root`."""
    return {Path(video).name: entry([[FACE]] * 11) for video in (REAL, FAKE, ALONE)}


def write_detections(path: Path, recorded: dict[str, dict]) -> Path:
    path.write_text(json.dumps(recorded))
    return path


def write_metadata(root: Path, metadata: dict[str, dict], part: str = PART) -> None:
    (root / part).mkdir(parents=True, exist_ok=True)
    (root / part / "metadata.json").write_text(json.dumps(metadata))


def write_root(root: Path) -> Path:
    """A real video, a fake of it, and a real one without a fake, which is the same video."""
    write_metadata(
        root,
        {
            "real.mp4": {"label": "REAL"},
            "fake.mp4": {"label": "FAKE", "original": "real.mp4"},
            "alone.mp4": {"label": "REAL"},
        },
    )
    frames = media.face_frames(COUNT, WIDTH, HEIGHT, 90)
    media.write_video(root / REAL, frames)
    media.write_video(root / FAKE, [255 - frame for frame in frames])
    shutil.copy(root / REAL, root / ALONE)
    return root


def invented_root(root: Path) -> tuple[Path, Path]:
    """The data root of the golden invented detections, whose videos are black, and the file of these detections."""
    made = golden("synthetic_detections.json")
    black = np.zeros((720, 1280, 3), np.uint8)
    video = media.write_video(root / "black.mp4", [black] * 300, options={"preset": "ultrafast", "g": "50"})
    size = {"width": 1280, "height": 720, "frames": 300}
    for part, metadata in made["metadata"].items():
        write_metadata(root / "data", metadata, part)
        for name in metadata:
            (root / "data" / part / name).symlink_to(video)
    recorded = {video.split("/")[1]: {**size, "detections": found} for video, found in made["detections"].items()}
    return root / "data", write_detections(root / "detections.json", recorded)


def golden_root(root: Path) -> Path:
    """A data root with the golden real pair."""
    part = root / PART
    part.mkdir(parents=True)
    for path in (SHARED / "videos" / PART).iterdir():
        shutil.copyfile(path, part / path.name)
    return root


def killed_and_started_again(command: list[str], output: Path, kills: int) -> None:
    """A stage ends with the same files, and nothing besides, after SIGKILL at random moments. `output` is what is
    removed before each run."""
    root = output.parent
    draw = random.Random(output.name)
    started = time.time()
    assert processes.run(command, capture_output=True).returncode == 0
    whole, expected, names = time.time() - started, data.files(output), sorted(path.name for path in root.iterdir())
    assert expected
    for _ in range(kills):
        shutil.rmtree(output)
        process = processes.Popen(command, stdout=processes.DEVNULL, stderr=processes.DEVNULL)
        time.sleep(whole * draw.uniform(0.3, 0.95))
        process.kill()
        process.wait()
        finished = processes.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert data.files(output) == expected
        assert sorted(path.name for path in root.iterdir()) == names
