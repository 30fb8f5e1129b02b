"""The reference's inference, step by step as published, as the baseline of `benchmarks.predict`.

OpenCV reads in sequence; each frame is halved by Pillow and searched by `MTCNN.detect` alone; each face is resized and
normalised in a loop; eager models see all faces of a video in one batch; six threads take a video each. Today's
libraries, any device; fp16 on a GPU and fp32 on a CPU as there.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from torch import nn

from faces.fit import isotropically_resize_image, put_to_center
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.seferbekov.strategy import confident_strategy

THREADS = 6


class Recipe:
    """Scores videos one by one; `times` collects (decode, detect, classify) seconds of each."""

    def __init__(self, models: Sequence[nn.Module], device: torch.device, frames: int = 32, size: int = 380):
        self.models = [model.to(device).half() if device.type == "cuda" else model for model in models]
        self.device, self.frames, self.size = device, frames, size
        self.detector = MTCNN(margin=0, thresholds=[0.7, 0.8, 0.8], device=device)
        self.mean = torch.tensor(IMAGENET_MEAN, device=device).view(3, 1, 1)
        self.std = torch.tensor(IMAGENET_STD, device=device).view(3, 1, 1)
        self.times: list[tuple[float, float, float]] = []

    def predict_set(self, paths: Sequence[str]) -> list[float]:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(self.predict, paths))

    def predict(self, path: str) -> float:
        start = time.perf_counter()
        frames = self.read(path)
        decoded = time.perf_counter()
        faces = [face for frame in frames for face in self.crop(frame)]
        detected = time.perf_counter()
        score = self.classify(faces)
        self.times.append((decoded - start, detected - decoded, time.perf_counter() - detected))
        return score

    def read(self, path: str) -> list[np.ndarray]:
        capture = cv2.VideoCapture(path)
        indices = np.linspace(0, capture.get(cv2.CAP_PROP_FRAME_COUNT) - 1, self.frames, endpoint=True, dtype=int)
        frames: list[np.ndarray] = []
        for index in range(indices[-1] + 1):
            if not capture.grab():
                break
            if index == indices[len(frames)]:
                frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
        return frames

    def crop(self, frame: np.ndarray) -> list[np.ndarray]:
        image = Image.fromarray(frame)
        boxes, _ = self.detector.detect(image.resize([side // 2 for side in image.size]), landmarks=False)
        crops = []
        for box in [] if boxes is None else boxes:
            x1, y1, x2, y2 = (int(value * 2) for value in box)
            pad_y, pad_x = (y2 - y1) // 3, (x2 - x1) // 3
            crops.append(frame[max(y1 - pad_y, 0) : y2 + pad_y, max(x1 - pad_x, 0) : x2 + pad_x])
        return crops

    @torch.no_grad()
    def classify(self, faces: list[np.ndarray]) -> float:
        if not faces:
            return 0.5
        batch = np.zeros((4 * self.frames, self.size, self.size, 3), np.uint8)
        count = min(len(faces), len(batch) - 1)
        for i in range(count):
            batch[i] = put_to_center(isotropically_resize_image(faces[i], self.size), self.size)
        x = torch.tensor(batch, device=self.device).float().permute(0, 3, 1, 2)
        for i in range(len(x)):
            x[i] = (x[i] / 255.0 - self.mean) / self.std
        x = x[:count].half() if self.device.type == "cuda" else x[:count]
        return float(
            np.mean([confident_strategy(model(x).sigmoid().reshape(-1).float().cpu().numpy()) for model in self.models])
        )
