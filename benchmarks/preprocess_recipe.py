"""The reference's data preparation, step by step as published, as the baseline of `benchmarks.preprocess`.

    python -m benchmarks.preprocess_recipe boxes DATA_ROOT

Same outputs, in the same folders, on today's libraries: OpenCV reads, one process searches faces with `MTCNN.detect` in
batches of 32 frames halved by Pillow; the other stages run in a pool of a process for each core, one thread in each.
"clips" are The Medics': one process searches every tenth frame, halved by OpenCV, reads the video again, whole, into
memory, and gives pictures to ffmpeg, or where there is none to PyAV, which both use all cores.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.pool import Pool
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from preprocessing.data_root import DataRoot, Video, read_data_root

FRAMES = range(0, 320, 10)
ACTORS = 2


def boxes(root: Path, data: DataRoot) -> None:
    import torch
    from facenet_pytorch import MTCNN

    detector = MTCNN(
        margin=0,
        thresholds=[0.85, 0.95, 0.95],
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    (root / "boxes").mkdir(exist_ok=True)
    for video in data.sources:
        frames = read_half_size(video.path)
        found = {}
        for start in range(0, len(frames), 32):
            for number, each in enumerate(detector.detect(frames[start : start + 32], landmarks=False)[0], start):
                found[number] = None if each is None else each.tolist()
        (root / "boxes" / f"{video.id}.json").write_text(json.dumps(found))


def read_half_size(path: str) -> list[Image.Image]:
    capture = cv2.VideoCapture(path)
    frames = []
    for _ in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
        success, frame = capture.read()
        if not success:
            continue
        image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        frames.append(image.resize(size=[side // 2 for side in image.size]))
    return frames


def crops_of(task: tuple[Path, Video]) -> None:
    root, video = task
    found = json.loads((root / "boxes" / f"{video.source}.json").read_text())
    capture = cv2.VideoCapture(video.path)
    folder = root / "crops" / video.id
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
        capture.grab()
        if number % 10:
            continue
        success, frame = capture.retrieve()
        if not success:
            continue
        for actor, box in enumerate(found.get(str(number)) or []):
            x1, y1, x2, y2 = (int(side * 2) for side in box)
            pad_y, pad_x = (y2 - y1) // 3, (x2 - x1) // 3
            crop = frame[max(y1 - pad_y, 0) : y2 + pad_y, max(x1 - pad_x, 0) : x2 + pad_x]
            cv2.imwrite(str(folder / f"{number}_{actor}.png"), crop)


def landmarks_of(task: tuple[Path, Video]) -> None:
    root, video = task
    folder = root / "landmarks" / video.id
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f"{number}_{actor}" for number in FRAMES for actor in range(ACTORS)):
        path = root / "crops" / video.id / f"{name}.png"
        if path.exists():
            image = Image.fromarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])
            points = landmark_detector.detect(image, landmarks=True)[2]
            if points is not None:
                np.save(folder / name, np.around(np.asarray(points[0], np.float32)).astype(np.int16))


def diffs_of(task: tuple[Path, Video]) -> None:
    from skimage.metrics import structural_similarity

    root, video = task
    folder = root / "diffs" / video.id
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f"{number}_{actor}" for number in FRAMES for actor in range(ACTORS)):
        paths = [root / "crops" / each / f"{name}.png" for each in (video.original, video.id)]
        if all(path.exists() for path in paths):
            first, second = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
            if first.shape == second.shape:
                _, similarity = structural_similarity(first, second, channel_axis=2, full=True)
                mask = np.clip((1 - similarity) * 255, 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{name}_diff.png"), cv2.cvtColor(mask, cv2.COLOR_BGR2GRAY))


def clips(root: Path, data: DataRoot) -> None:
    import torch
    from facenet_pytorch import MTCNN

    from systems.medics.clip_files import BY_PART
    from systems.medics.clips import cut_face, plan_clips

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    detector = MTCNN(margin=0, keep_all=True, post_process=False, thresholds=[0.6, 0.7, 0.7], device=device)
    for video in data.videos:
        capture = cv2.VideoCapture(video.path)
        halves = []
        for number in range(min(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 300)):
            capture.grab()
            if number % 10 == 0:
                frame = cv2.resize(capture.retrieve()[1], None, fx=0.5, fy=0.5)
                halves.append(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
        found = detector.detect(halves, landmarks=False)[0]
        capture = cv2.VideoCapture(video.path)
        frames = []
        while (read := capture.read())[0]:
            frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
        height, width = frames[0].shape[:2]
        folder = root / BY_PART / video.part
        folder.mkdir(parents=True, exist_ok=True)
        for plan in plan_clips(found, frame_count=len(frames), width=width, height=height):
            pictures = [cut_face(frames[index], plan.rows, plan.cols) for index in plan.video_frames]
            encode(folder / plan.file_name(video.name), pictures)


def encode(path: Path, pictures: Sequence[np.ndarray]) -> None:
    if not shutil.which("ffmpeg"):
        import av

        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "23"})
            stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv444p"
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return
    size = f"{pictures[0].shape[1]}x{pictures[0].shape[0]}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "25", "-i", "-"]
    target = ["-c:v", "libx264", "-crf", "23", "-pix_fmt", "yuv444p", str(path)]
    command = ["ffmpeg", "-nostdin", "-y", "-loglevel", "error", *source, *target]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        for picture in pictures:
            process.stdin.write(picture.tobytes())
        process.stdin.close()
    if process.returncode:
        raise SystemExit(f"{path}: ffmpeg failed")


def start_landmarks() -> None:
    global landmark_detector
    from facenet_pytorch import MTCNN

    landmark_detector = MTCNN(margin=0, thresholds=[0.65, 0.75, 0.75], device="cpu")


def in_pool(work, videos: list[Video], root: Path, initializer=None) -> None:
    with Pool(os.cpu_count(), initializer) as pool:
        for _ in pool.imap_unordered(work, [(root, video) for video in videos]):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description="The reference's data preparation")
    parser.add_argument("stage", choices=["boxes", "crops", "landmarks", "diffs", "clips"])
    parser.add_argument("root", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    data = read_data_root(args.root)
    if args.stage == "boxes":
        boxes(args.root, data)
    elif args.stage == "clips":
        clips(args.root, data)
    elif args.stage == "crops":
        in_pool(crops_of, data.videos, args.root)
    elif args.stage == "landmarks":
        in_pool(landmarks_of, data.sources, args.root, start_landmarks)
    else:
        in_pool(diffs_of, data.fakes_with_original, args.root)


if __name__ == "__main__":
    sys.exit(main())
