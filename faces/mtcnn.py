"""MTCNN's three networks, with facenet-pytorch's weights, behind one call each (Zhang et al., 2016, arXiv:1604.02878).

Each network takes images as they come from area pooling, float32 (n, h, w, 3) RGB in 0 to 255, and returns arrays:
the first one maps of logits and box regression, the others the probability of a face, box regression, and (the last)
landmarks. They always run in fp32: lower precision moves boxes by several pixels.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import nn

from engines.native.mtcnn import NativeMtcnn
from engines.openvino_engine import OpenVinoNetwork
from faces.area_pool import NumpyImages, TorchImages

_BATCH = 512  # boxes to a batch of the second and third network, as in facenet-pytorch
Outputs = list[np.ndarray]
Pyramid = Callable[[int], Iterable[float]]  # from an image's shorter side to the scales at which it is searched


class _Proposals(nn.Module):
    """PNet with its two 1x1 heads as one convolution: (n, h, w, 3) to maps (n, h', w', 6): 2 logits, 4 box."""

    def __init__(self):
        super().__init__()
        net = PNet()
        self.body = nn.Sequential(net.conv1, net.prelu1, net.pool1, net.conv2, net.prelu2, net.conv3, net.prelu3)
        self.heads = nn.Conv2d(32, 6, 1)
        self.heads.weight.data = torch.cat([net.conv4_1.weight, net.conv4_2.weight]).detach()
        self.heads.bias.data = torch.cat([net.conv4_1.bias, net.conv4_2.bias]).detach()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.heads(self.body(_normalise(images))).permute(0, 2, 3, 1)


class _Refinement(nn.Module):
    """RNet or ONet: (n, size, size, 3) to probability (n,), box (n, 4) and, from ONet, landmarks (n, 10)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        box, *points, probability = self.net(_normalise(images))
        return probability[:, 1], box, *points


def _normalise(images: torch.Tensor) -> torch.Tensor:
    return (images.permute(0, 3, 1, 2) - 127.5) * 0.0078125


def least_logit(threshold: float) -> float:
    """What sorts out most of PNet's cells before their probability is computed; a margin covers rounding."""
    return np.log(threshold / (1 - threshold)) - 0.01


class DenseProposals:
    """For networks whose `propose` gives PNet's maps: the cells that may show a face."""

    def together(self, height: int, width: int, pyramid: Pyramid) -> Hashable:
        """Images for which this is the same may be searched at a time."""
        return None

    def candidates(self, images: NumpyImages | TorchImages, pyramid: Pyramid, threshold: float) -> np.ndarray:
        """The cells whose logit is at least about that of `threshold`: float32 (m, 9): number of the image, scale, x
        and y of the cell, logit, regression; image by image, scale by scale, in the order of rows."""
        least = least_logit(threshold)
        found: list[list[np.ndarray]] = [[] for _ in images.sizes]
        for number, scale, maps in self.propose(images, pyramid):
            logits = maps[..., 1] - maps[..., 0]
            y, x = np.nonzero(logits > least)
            rows = np.empty((len(y), 9), np.float32)
            rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = number, scale, x, y
            rows[:, 4], rows[:, 5:] = logits[y, x], maps[y, x, 2:]
            found[number].append(rows)
        return np.concatenate([np.zeros((0, 9), np.float32), *(rows for by_scale in found for rows in by_scale)])


class Networks(DenseProposals):
    """The three networks on one device.

    `engine` is "torch" or "openvino" (CPU only); `threads` is how many threads may call at once. With `any_size` images
    may come in ever other sizes: OpenVINO then keeps PNet's dimensions free instead of compiling it for each.
    """

    def __init__(self, device: torch.device, engine: str, threads: int, any_size: bool):
        self.device = device
        modules = {"pnet": _Proposals(), "rnet": _Refinement(RNet()), "onet": _Refinement(ONet())}
        examples = {"pnet": (96, 96), "rnet": (24, 24), "onet": (48, 48)}
        self._run: dict[str, Callable] = {}
        for name, module in modules.items():
            module.eval().requires_grad_(False)
            if engine == "openvino":
                shape = (-1, *examples[name], 3)
                if name == "pnet":
                    shape = (1, -1, -1, 3) if any_size else None
                example = torch.zeros(2, *examples[name], 3)
                self._run[name] = OpenVinoNetwork(module, example, streams=threads, input_shape=shape)
            else:
                module = module.to(device, memory_format=torch.channels_last)
                self._run[name] = _torch_runner(module)

    def together(self, height: int, width: int, pyramid: Pyramid) -> Hashable:
        """As `DenseProposals.together`: on a GPU images of one size."""
        return None if self.device.type == "cpu" else (height, width)

    def load(self, images: Sequence[np.ndarray]) -> NumpyImages | TorchImages:
        """Make the images ready for `propose` and `refine`."""
        return NumpyImages(images) if self.device.type == "cpu" else TorchImages(images, self.device)

    def propose(self, images: NumpyImages | TorchImages, pyramid: Pyramid) -> Iterator[tuple[int, float, np.ndarray]]:
        """PNet over every image at every scale that `pyramid` gives for its shorter side: (number of the image, scale,
        maps (h', w', 6)). For each image the scales come in order."""
        run = self._run["pnet"]
        if isinstance(images, TorchImages):
            height, width = images.sizes[0]
            for scale in pyramid(min(height, width)):
                maps = run(images.pool_all(int(height * scale + 1), int(width * scale + 1)))[0]
                yield from ((number, scale, each) for number, each in enumerate(maps))
        else:  # one image at a time stays in the processor's cache
            for number, (height, width) in enumerate(images.sizes):
                for scale in pyramid(min(height, width)):
                    pooled = images.pool(number, int(height * scale + 1), int(width * scale + 1))
                    yield number, scale, run(pooled)[0][0]

    def refine(self, images: NumpyImages | TorchImages, numbers: np.ndarray, boxes: np.ndarray, size: int) -> Outputs:
        """RNet (size 24) or ONet (size 48) over boxes (int, (n, 4)) of the images `numbers`; n must not be 0."""
        run = self._run["rnet" if size == 24 else "onet"]
        batches = [slice(start, start + _BATCH) for start in range(0, len(boxes), _BATCH)]
        parts = [run(images.pool_boxes(numbers[batch], boxes[batch], size)) for batch in batches]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


class NativeNetworks(NativeMtcnn, DenseProposals):
    """The networks on kernels of our own. Raises NativeError where they can't be had."""

    def load(self, images: Sequence[np.ndarray]) -> NumpyImages:
        """Make the images ready for `propose` and `refine`."""
        return NumpyImages(images)


def _torch_runner(module: nn.Module) -> Callable[[np.ndarray | torch.Tensor], Outputs]:
    @torch.inference_mode()
    def run(images: np.ndarray | torch.Tensor) -> Outputs:
        outputs = module(torch.as_tensor(images))
        return [output.cpu().numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run
