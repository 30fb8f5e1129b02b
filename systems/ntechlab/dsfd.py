"""DSFD with a ResNet-152, the face detector of NtechLab's system (Li et al., CVPR 2019): network, boxes, files.

Attributes are named as the published weights name their tensors. Frames are RGB here; the network was trained on BGR.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet152
from torchvision.ops import nms

from engines.gpu import GpuThread, forbid_tf32, in_halves
from engines.native import libraries
from engines.native.winograd import on_winograd
from runtime.errors import InputError
from systems.checkpoints import check_weights, read_checkpoint, state_dict_of
from systems.ntechlab.detections import Detections
from systems.ntechlab.detector import DSFD_FILE

_STRIDES = (4, 8, 16, 32, 64, 128)
_PRIOR_SIZES = (16, 32, 64, 128, 256, 512)  # pixels of the network's input
_BGR_MEAN = (104.0, 117.0, 123.0)
_LEAST_SCORE = 0.01  # of what is compared with others
_MOST_BOXES = 5000
_MOST_OVERLAP = 0.3
CONFIDENT = 0.3  # score of a detection that counts
_SIDE = 512  # pixels: the side of a square with a training frame's area; the longest side of an inference frame
_MULTIPLE = 32  # of which an inference frame's sides are made, by padding
_BATCH = 16  # inference frames
_REMEDY = "end what else runs on it"
_COUNTER = "num_batches_tracked"  # nothing depends on it, and the released file may lack it


class DSFD(nn.Module):
    """Input: float32 BGR (n, 3, h, w), 0 to 255 minus the mean. Output: where the faces lie relative to the priors,
    (n, priors, 4), their scores (n, priors), and the sizes (height, width) of the six maps that these come from."""

    def __init__(self):
        super().__init__()
        backbone = resnet152()
        self.layer1 = nn.Sequential(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool, backbone.layer1)
        self.layer2 = nn.Sequential(backbone.layer2)
        self.layer3 = nn.Sequential(backbone.layer3)
        self.layer4 = nn.Sequential(backbone.layer4)
        self.layer5 = _downward(2048, 512, 512)
        self.layer6 = _downward(512, 128, 256)
        self.latlayer3, self.smooth3 = nn.Conv2d(2048, 1024, 1), nn.Conv2d(1024, 1024, 1)
        self.latlayer2, self.smooth2 = nn.Conv2d(1024, 512, 1), nn.Conv2d(512, 512, 1)
        self.latlayer1, self.smooth1 = nn.Conv2d(512, 256, 1), nn.Conv2d(256, 256, 1)
        self.cpm3_3 = FeatureEnhancement(256)
        self.cpm4_3 = FeatureEnhancement(512)
        self.cpm5_3 = FeatureEnhancement(1024)
        self.cpm7 = FeatureEnhancement(2048)
        self.cpm6_2 = FeatureEnhancement(512)
        self.cpm7_2 = FeatureEnhancement(256)
        self.loc = nn.ModuleList(_Head(outputs) for outputs in (4, 8, 12, 12, 12, 12))
        self.conf = nn.ModuleList(_Head(outputs) for outputs in (4, 6, 8, 8, 8, 8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]:
        locations, scores, sizes = [], [], []
        for level, features in enumerate(self._sources(x)):
            sizes.append((features.shape[2], features.shape[3]))
            # the heads' other channels were for anchors of the first shot, in training
            locations.append(self.loc[level](features)[:, :4].flatten(2).transpose(1, 2))
            logits = self.conf[level](features)
            three, fourth = logits[:, :3].amax(1), logits[:, 3]
            background, face = (three, fourth) if level == 0 else (fourth, three)
            scores.append(torch.stack([background, face], dim=1).softmax(1)[:, 1].flatten(1))
        return torch.cat(locations, 1), torch.cat(scores, 1), sizes

    def _sources(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """The enhanced features of the six levels, finest first."""
        f1 = self.layer1(x)
        f2 = self.layer2(f1)
        f3 = self.layer3(f2)
        f4 = self.layer4(f3)
        f5 = self.layer5(f4)
        f6 = self.layer6(f5)
        p3 = _enlarged(self.latlayer3(f4), f3) * self.smooth3(f3)
        p2 = _enlarged(self.latlayer2(p3), f2) * self.smooth2(f2)
        p1 = _enlarged(self.latlayer1(p2), f1) * self.smooth1(f1)
        yield self.cpm3_3(p1)
        yield self.cpm4_3(p2)
        yield self.cpm5_3(p3)
        yield self.cpm7(f4)
        yield self.cpm6_2(f5)
        yield self.cpm7_2(f6)


class FeatureEnhancement(nn.Module):
    """The paper's feature enhance module: three fields of view side by side, (n, channels, h, w) to (n, 512, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.cpm1 = _conv(channels, 256)
        self.cpm2 = _conv(channels, 256, dilation=2)
        self.cpm3 = _conv(256, 128)
        self.cpm4 = _conv(256, 128, dilation=2)
        self.cpm5 = _conv(128, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = self.cpm1(x).relu()
        wide = self.cpm2(x).relu()
        wider = self.cpm3(wide).relu()
        widest = self.cpm5(self.cpm4(wide).relu()).relu()
        return torch.cat([near, wider, widest], dim=1)


class _Head(nn.Module):
    def __init__(self, outputs: int):
        super().__init__()
        self.conv1 = _conv(512, 256)
        self.conv2 = _conv(256, 256)
        self.conv3 = _conv(256, 256)
        self.conv4 = nn.Conv2d(256, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = convolution(x).relu()
        return self.conv4(x)


def _conv(inputs: int, outputs: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)


def _downward(inputs: int, inner: int, outputs: int) -> nn.Sequential:
    """A level of half the size below the backbone."""
    return nn.Sequential(
        nn.Conv2d(inputs, inner, 1),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, outputs, 3, stride=2, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _enlarged(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def load_dsfd(path: str | os.PathLike) -> DSFD:
    """The network with the weights of a published file, single or half precision, in eval mode, fp32, on the CPU.

    Keys must match to the letter, but counters of batches may be missing. Raises InputError where there is
    no such file, and CheckpointError where it holds something else.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"{os.fspath(path)}: no such file; the published link to DSFD's weights is dead: bring the file "
            f"({DSFD_FILE}), or use --detector mtcnn"
        )
    with torch.device("meta"):  # no time spent on weights that are replaced at once
        network = DSFD()
    zeros = {key: torch.zeros((), dtype=torch.int64) for key in network.state_dict() if key.endswith(_COUNTER)}
    state = state_dict_of(path, read_checkpoint(path)) | zeros
    check_weights(path, network, state, kind="DSFD with a ResNet-152", remedy=f"name {DSFD_FILE}")
    network.load_state_dict(state, assign=True)
    return network.float().eval().requires_grad_(False)


@lru_cache(maxsize=8)  # videos come in few sizes
def priors(height: int, width: int, sizes: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """One box for each place of the six maps, whose (height, width) are `sizes`: float32 (n, 4), centre x, y, width
    and height, in parts of an input of `height` by `width` pixels."""
    boxes = []
    for (rows, columns), stride, size in zip(sizes, _STRIDES, _PRIOR_SIZES, strict=True):
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) + 0.5
        box_width = np.full_like(x, size / width / math.sqrt(1.5))
        box_height = np.full_like(x, size / height * math.sqrt(1.5))
        boxes.append(np.stack([x * stride / width, y * stride / height, box_width, box_height], axis=1))
    return torch.from_numpy(np.concatenate(boxes).clip(0, 1).astype(np.float32))


def decode(locations: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Boxes x1, y1, x2, y2 (n, 4), from what the network says relative to the priors `boxes`; nothing is clipped."""
    centres = boxes[:, :2] + locations[:, :2] * 0.1 * boxes[:, 2:]
    sides = boxes[:, 2:] * torch.exp(locations[:, 2:] * 0.2)
    corners = centres - sides / 2
    return torch.cat([corners, corners + sides], dim=1)


def best_boxes(bboxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (n, 4) and scores (n,) without those that overlap a better one, best first."""
    likely = scores > _LEAST_SCORE
    bboxes, scores = bboxes[likely], scores[likely]
    order = scores.argsort(descending=True, stable=True)[:_MOST_BOXES]
    bboxes, scores = bboxes[order], scores[order]
    kept = nms(bboxes, scores, _MOST_OVERLAP)
    return bboxes[kept], scores[kept]


class DsfdDetector:
    """DSFD on a device, in fp32; the faces that it finds come best first. On a CPU that has what they need it runs on
    our kernels, each call on one core; on a GPU one thread drives it. Raises as `load_dsfd` does."""

    def __init__(self, path: str | os.PathLike, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        if self.device.type == "cuda":
            forbid_tf32()
        network: nn.Module = load_dsfd(path).to(self.device)
        self.engine = "torch"
        if self.device.type == "cpu" and libraries.why_not("winograd") is None:
            network, self.engine = on_winograd(network, threads=1), "avx512"
        self.network = network
        self._call = GpuThread(self.device) if self.device.type == "cuda" else _at_once
        self._mean = torch.tensor(_BGR_MEAN, device=self.device).view(3, 1, 1)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the weights were loaded on another stream

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """Faces as inference finds them, in frames scaled to a longest side of 512. `frames` are uint8 RGB (h, w, 3).

        Frames are padded to whole multiples of 32, and boxes are told in parts of the padded frame that are taken for
        parts of the frame: those of a frame that had to be padded are a little too small and near the corner, as in the
        published system. Raises DeviceError where a GPU has too little memory for one frame, or fails.
        """
        found = []
        for _, group in itertools.groupby(frames, key=lambda frame: frame.shape):
            alike = list(group)
            for start in range(0, len(alike), _BATCH):
                found += in_halves(partial(self._call, self._detect_batch), alike[start : start + _BATCH], _REMEDY)
        return found

    @torch.inference_mode()
    def _detect_batch(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        height, width = frames[0].shape[:2]
        factor = _SIDE / max(height, width)
        size = max(math.floor(height * factor), 1), max(math.floor(width * factor), 1)
        padding = [end for side in reversed(size) for end in (0, -side % _MULTIPLE)]
        images = torch.cat(
            [
                F.interpolate(self._image(frame)[None], size=size, mode="bilinear", align_corners=False)
                for frame in frames
            ]
        )
        return self._search(F.pad(images, padding), width, height)

    def detect_at_area(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """Faces as the training data's stage finds them, in frames scaled to an area of 512 x 512. Frames and errors as
        with `detect`. Boxes may be a pixel too long where a scaled side was rounded up, as in the published system."""
        return [in_halves(partial(self._call, self._detect_at_area), [frame], _REMEDY)[0] for frame in frames]

    @torch.inference_mode()
    def _detect_at_area(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        found = []
        for frame in frames:
            height, width = frame.shape[:2]
            factor = math.sqrt(_SIDE * _SIDE / (height * width))
            small = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            found += self._search(self._image(small)[None], small.shape[1] / factor, small.shape[0] / factor)
        return found

    def _image(self, frame: np.ndarray) -> torch.Tensor:
        """A uint8 RGB frame as the network wants it, (3, h, w)."""
        image = torch.from_numpy(np.ascontiguousarray(frame)).to(self.device)
        return image.permute(2, 0, 1).flip(0).float() - self._mean

    def _search(self, images: torch.Tensor, width: float, height: float) -> list[Detections]:
        """Confident detections in normalised images (n, 3, h, w), which stand for frames of `width` by `height`."""
        locations, scores, sizes = self.network(images)
        boxes = priors(*images.shape[2:], tuple(sizes)).to(self.device)
        scale = torch.tensor([width, height, width, height], device=self.device)
        found = []
        for location, score in zip(locations, scores, strict=True):
            bboxes, kept_scores = best_boxes(decode(location, boxes), score)
            confident = kept_scores > CONFIDENT
            found.append(
                Detections(
                    bboxes=(bboxes[confident] * scale).cpu().numpy(), scores=kept_scores[confident].cpu().numpy()
                )
            )
        return found


def _at_once(function: Callable[..., list[Detections]], *args) -> list[Detections]:
    return function(*args)
