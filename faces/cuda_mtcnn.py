"""MTCNN's networks on a GPU, in fp32: all scales of an image side by side on one canvas, which PNet sees at once.

Shapes are few, whatever the sizes of images and the numbers of boxes, because cuDNN prepares each of them anew: the
sides of canvases are multiples of 64, batches are filled up. Only the cells that may show a face leave the GPU. Area
averages are our kernel's (`engines/native/area_pool.cu`).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import nn
from torch.nn import functional as F

from engines.gpu import GpuThread, Graph, HostCopy, forbid_tf32, staged
from engines.native.cuda_kernels import CudaKernels
from faces.area_pool import TorchImages
from faces.mtcnn import DenseProposals, Networks, Outputs, Pyramid, least_logit

_STEP = 64  # canvases' sides are multiples of it
_PIXELS = 2**22  # of canvases that PNet sees at a time, unless one has more: 0.5 GB of activations
_MOST_CANVASES = 32
_MAP_BYTES = 2**27  # of PNet's results that are looked through at a time: 32 frames of 1080p have 100 MB
_BOXES = 512  # of the second and third network at a time
_THREADS = 256


def on_gpu(device: torch.device, engine: str) -> "CudaNetworks | OnOneThread":
    """The networks on a GPU: by our kernels and PyTorch ("native"), or by PyTorch alone."""
    forbid_tf32()
    if engine == "native":
        return CudaNetworks(device, CudaKernels("area_pool", device).launch)
    return OnOneThread(Networks(device, engine, threads=1, any_size=False), device)


class OnOneThread(DenseProposals):
    """Networks of which all calls are made by one thread."""

    def __init__(self, networks: Networks, device: torch.device):
        self._networks, self._call = networks, GpuThread(device)
        self.together = networks.together

    def load(self, images: Sequence[np.ndarray]) -> TorchImages:
        """As `Networks.load`."""
        return self._call(self._networks.load, images)

    def candidates(self, images: TorchImages, pyramid: Pyramid, threshold: float) -> np.ndarray:
        """As `DenseProposals.candidates`."""
        return self._call(self._networks.candidates, images, pyramid, threshold)

    def refine(self, images: TorchImages, numbers: np.ndarray, boxes: np.ndarray, size: int) -> Outputs:
        """As `Networks.refine`."""
        return self._call(self._networks.refine, images, numbers, boxes, size)


@dataclass(frozen=True, kw_only=True)
class GpuImages:
    """Images of any sizes on the GPU: their pixels one after another, where each begins (in pixels), and its width."""

    sizes: list[tuple[int, int]]
    pixels: torch.Tensor
    starts: torch.Tensor
    widths: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where the scales of an image lie on its canvas: (scale, top, left, height, width), corners at even places.

    valid: bool (tall - 2, wide - 2), the results of the first convolution that lie inside a scale; cells: int8, for
    each of PNet's cells the number of its scale, -1 where it has none.
    """

    places: tuple[tuple[float, int, int, int, int], ...]
    shape: tuple[int, int]
    valid: np.ndarray
    cells: np.ndarray


class CudaNetworks:
    """The three networks on a GPU. `launch` runs the kernels of `area_pool.cu` (`CudaKernels.launch`); `record` makes a
    graph of a refining network; it is another on a CPU, for tests."""

    def __init__(self, device: torch.device, launch: Callable[..., None], record: Callable[..., Graph] = Graph):
        self._device, self._launch, self._call = device, launch, GpuThread(device)
        pnet, rnet, onet = (net().eval().requires_grad_(False) for net in (PNet, RNet, ONet))
        heads = nn.Conv2d(32, 6, 1)
        heads.weight.data = torch.cat([pnet.conv4_1.weight, pnet.conv4_2.weight])
        heads.bias.data = torch.cat([pnet.conv4_1.bias, pnet.conv4_2.bias])
        self._first = nn.Sequential(pnet.conv1, pnet.prelu1).to(device)
        rest = [pnet.conv2, pnet.prelu2, pnet.conv3, pnet.prelu3, heads.requires_grad_(False)]
        self._rest = nn.Sequential(*rest).to(device)
        # pixels lie in -1 to 1: no result of the first convolution is lower than this
        bound = (pnet.conv1.weight.abs().sum((1, 2, 3)) + pnet.conv1.bias.abs()) * pnet.prelu1.weight.abs().clamp(min=1)
        self._floor = -float(bound.max())
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the weights were loaded on another stream
        self._refining = {
            size: self._call(self._recorded, net.to(device), size, record) for size, net in ((24, rnet), (48, onet))
        }

    @torch.inference_mode()
    def _recorded(self, net: nn.Module, size: int, record: Callable[..., Graph]) -> tuple[torch.Tensor, Graph]:
        """Where a refining network's images are put, and the graph that gives (_BOXES, 5 or 15): probability of a face,
        box regression, landmarks."""
        images = torch.zeros(_BOXES, 3, size, size, device=self._device)

        def forward() -> torch.Tensor:
            box, *points, probability = net(images)
            return torch.cat([probability[:, 1:], box, *points], dim=1)

        stream = pool = None
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            stream, pool = torch.cuda.current_stream(), torch.cuda.graph_pool_handle()
        return images, record(forward, stream, pool)

    def together(self, height: int, width: int, pyramid: Pyramid) -> Hashable:
        """As `DenseProposals.together`."""
        return _layout(height, width, tuple(pyramid(min(height, width)))).shape

    def load(self, images: Sequence[np.ndarray]) -> GpuImages:
        """Make the images ready for `candidates` and `refine`."""
        sizes = [image.shape[:2] for image in images]
        starts = np.cumsum([0] + [height * width for height, width in sizes])
        pixels = staged([3 * int(starts[-1])], self._device)
        for image, start in zip(images, starts, strict=False):
            pixels.numpy()[3 * start : 3 * start + image.size] = image.reshape(-1)
        return self._call(self._upload, sizes, pixels, starts[:-1])

    def _upload(self, sizes: list[tuple[int, int]], pixels: torch.Tensor, starts: np.ndarray) -> GpuImages:
        widths = self._sent(np.array([width for _, width in sizes], np.int32))
        pixels, starts = pixels.to(self._device, non_blocking=True), self._sent(starts.astype(np.int64))
        return GpuImages(sizes=sizes, pixels=pixels, starts=starts, widths=widths)

    def candidates(self, images: GpuImages, pyramid: Pyramid, threshold: float) -> np.ndarray:
        """As `DenseProposals.candidates`. The images' canvases have one shape."""
        layouts = [_layout(*size, tuple(pyramid(min(size)))) for size in images.sizes]
        if not layouts[0].places:
            return np.zeros((0, 9), np.float32)
        rows = self._call(self._propose, images, layouts, least_logit(threshold))
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]  # stable: within a scale they stay in the order of rows
        before = np.cumsum([0] + [len(layout.places) for layout in layouts])
        places = np.array([place[:3] for layout in layouts for place in layout.places], np.float32)
        scale, top, left = places[before[rows[:, 0].astype(np.int64)] + rows[:, 1].astype(np.int64)].T
        found = rows.copy()
        found[:, 1], found[:, 2], found[:, 3] = scale, rows[:, 3] - left // 2, rows[:, 2] - top // 2
        return found

    @torch.inference_mode()
    def _propose(self, images: GpuImages, layouts: list[_Layout], least: float) -> np.ndarray:
        """Float32 (m, 9): image, number of the scale, row and column on the map, logit, regression."""
        tall, wide = layouts[0].shape
        batch = min(max(1, _PIXELS // (tall * wide)), _MOST_CANVASES)
        together = max(batch, _MAP_BYTES // (6 * 4 * layouts[0].cells.size) // batch * batch)
        rows = [
            self._found(images, layouts[first : first + together], first, batch, least)
            for first in range(0, len(layouts), together)
        ]
        return np.concatenate(rows)

    def _found(self, images: GpuImages, layouts: list[_Layout], first: int, batch: int, least: float) -> np.ndarray:
        """Those of some images, from number `first` on. The host waits twice, whatever the number of batches: for how
        many cells there are, and for these."""
        valid, cells = (self._of_all(layouts, name) for name in ("valid", "cells"))
        rectangles = [
            (first + i, 0, 0, *images.sizes[first + i][::-1], i % batch, *place[1:])
            for i, layout in enumerate(layouts)
            for place in layout.places
        ]
        where, largest = self._rectangles(np.array(rectangles, np.int32))
        ends = np.cumsum([0] + [len(layout.places) for layout in layouts])
        maps = torch.empty(len(layouts), 6, *cells.shape[1:], device=self._device)
        for start in range(0, len(layouts), batch):
            some = slice(start, min(start + batch, len(layouts)))
            canvases = torch.zeros(batch, 3, *layouts[0].shape, device=self._device)
            self._pool(images, where[ends[some.start] : ends[some.stop]], largest, canvases)
            inside = valid[some] if len(valid) > 1 else valid
            features = torch.where(inside[:, None], self._first(canvases)[: some.stop - start], self._floor)
            maps[some] = self._rest(F.max_pool2d(_filled(features, batch), 2))[: some.stop - start]
        logits = maps[:, 1] - maps[:, 0]
        number, y, x = ((logits > least) & (cells >= 0)).nonzero(as_tuple=True)
        columns = [number + first, cells.expand_as(logits)[number, y, x], y, x, logits[number, y, x]]
        regression = maps.permute(0, 2, 3, 1)[number, y, x, 2:]
        found = torch.cat([torch.stack([column.float() for column in columns], dim=1), regression], dim=1)
        return HostCopy(found).read().numpy()

    def _of_all(self, layouts: list[_Layout], name: str) -> torch.Tensor:
        """An array of each layout, or of one for all."""
        alike = all(layout is layouts[0] for layout in layouts)
        return self._sent(np.stack([getattr(layout, name) for layout in (layouts[:1] if alike else layouts)]))

    def _sent(self, array: np.ndarray) -> torch.Tensor:
        """On its way to the GPU, from memory that it reads by itself: for any other the host would wait."""
        host = staged(array.shape, self._device, torch.from_numpy(array).dtype)
        host.numpy()[...] = array
        return host.to(self._device, non_blocking=True)

    def _rectangles(self, rectangles: np.ndarray) -> tuple[torch.Tensor, int]:
        """Sent, and the number of pixels of the largest that is made."""
        return self._sent(rectangles), int((rectangles[:, 8].astype(np.int64) * rectangles[:, 9]).max())

    def _pool(self, images: GpuImages, where: torch.Tensor, largest: int, canvases: torch.Tensor) -> None:
        """Put area averages of rectangles onto canvases (see area_pool.cu)."""
        grid = (-(-largest // _THREADS), len(where), 1)
        arguments = (images.pixels, images.starts, images.widths, where, canvases, *canvases.shape[2:])
        self._launch("pool", grid, (_THREADS, 1, 1), *arguments)

    def refine(self, images: GpuImages, numbers: np.ndarray, boxes: np.ndarray, size: int) -> Outputs:
        """As `Networks.refine`."""
        outputs = self._call(self._refine, images, numbers, boxes, size)
        return [outputs[:, 0], outputs[:, 1:5], outputs[:, 5:]][: 2 if size == 24 else 3]

    @torch.inference_mode()
    def _refine(self, images: GpuImages, numbers: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
        canvases, graph = self._refining[size]
        rectangles = np.zeros((len(boxes), 10), np.int32)
        rectangles[:, 0], rectangles[:, 1:5] = numbers, boxes
        rectangles[:, 5], rectangles[:, 8:] = np.arange(len(boxes)) % _BOXES, size
        where, largest = self._rectangles(rectangles)
        parts = []
        for some in where.split(_BOXES):
            self._pool(images, some, largest, canvases)
            graph.replay()
            parts.append(graph.result[: len(some)].clone())
        return HostCopy(torch.cat(parts)).read().numpy()


def _filled(x: torch.Tensor, count: int) -> torch.Tensor:
    return x if len(x) == count else torch.cat([x, x.new_zeros(count - len(x), *x.shape[1:])])


@lru_cache(maxsize=512)
def _layout(height: int, width: int, scales: tuple[float, ...]) -> _Layout:
    """Scales in rows from left to right, the largest first, on the narrowest canvas of several that has least area."""
    sizes = [(int(height * scale + 1), int(width * scale + 1)) for scale in scales]
    if not sizes:
        return _Layout(places=(), shape=(0, 0), valid=np.zeros((0, 0), bool), cells=np.zeros((0, 0), np.int8))
    tries = [_in_rows(sizes, sum(_even(wide) for _, wide in sizes[:count])) for count in range(1, len(sizes) + 1)]
    corners, (tall, wide) = min(tries, key=lambda found: found[1][0] * found[1][1])
    valid = np.zeros((tall - 2, wide - 2), bool)
    cells = np.full(((tall - 2) // 2 - 4, (wide - 2) // 2 - 4), -1, np.int8)
    for number, ((top, left), (high, across)) in enumerate(zip(corners, sizes, strict=True)):
        valid[top : top + high - 2, left : left + across - 2] = True
        rows, columns = (-(-(side - 2) // 2) - 4 for side in (high, across))
        cells[top // 2 : top // 2 + max(rows, 0), left // 2 : left // 2 + max(columns, 0)] = number
    places = tuple((scale, *corner, *size) for scale, corner, size in zip(scales, corners, sizes, strict=True))
    return _Layout(places=places, shape=(tall, wide), valid=valid, cells=cells)


def _in_rows(sizes: list[tuple[int, int]], wide: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """(top, left) of each rectangle on a canvas `wide` pixels wide, and the canvas's sides, rounded up."""
    corners, top, left, bottom = [], 0, 0, 0
    for high, across in sizes:
        if left + across > wide and left:
            top, left = bottom, 0
        corners.append((top, left))
        left, bottom = left + _even(across), max(bottom, top + _even(high))
    return corners, (-(-bottom // _STEP) * _STEP, -(-wide // _STEP) * _STEP)


def _even(side: int) -> int:
    return side + side % 2
