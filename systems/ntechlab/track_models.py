"""The three classifiers as what scores samples: each sample goes to the one model that it is for."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch

from engines.device import DTYPES
from engines.gpu import Lane, failures_are_told, forbid_tf32
from engines.native.cuda_encoder import KernelSteps
from engines.onnxruntime_engine import OnnxRuntimeNetwork
from engines.openvino_engine import ChannelsLast, OpenVinoNetwork
from systems.imagenet import SCALE, SHIFT
from systems.ntechlab.checkpoints import LoadedClassifier
from systems.ntechlab.cuda_classifier import CudaClassifier
from systems.ntechlab.models import HEIGHT, SEQUENCE, WIDTH, Classifier
from systems.sample import Sample
from systems.system import Machine

_BATCH = {"cuda": 32, "cpu": 2}  # on a CPU two images stay in the cache of a core
_REMEDY = "give a smaller --batch-size, or end what else runs on it"

Probabilities = Callable[[Sequence[np.ndarray]], np.ndarray]  # of samples, uint8 RGB (t, 224, 192, 3) each
Shape = tuple[int, int, int, int]


class TrackModels:
    """As `systems.sample.Models`. Batches have one size, filled up with blank images, and on a CPU hold samples of one
    video alone, so that its score does not depend on what else is scored. There sequences are computed one by one: each
    is seven images. On a GPU one batch is made ready while another is computed."""

    def __init__(self, classifiers: Sequence[LoadedClassifier], machine: Machine):
        device = machine.device
        self.batch_size = machine.batch_size or default_batch_size(device)
        self.group = self.batch_size if device.type == "cpu" else 1
        self.lanes = machine.lanes if device.type == "cpu" else 1 if machine.engine == "onnxruntime" else 2
        if device.type == "cuda":
            forbid_tf32()
        self._lane = Lane(device)
        alone = device.type == "cpu"
        self._at_a_time = [1 if alone and each.role == "seq" else self.batch_size for each in classifiers]
        self._probabilities = [
            self._ready(each, machine, count) for each, count in zip(classifiers, self._at_a_time, strict=True)
        ]
        if self._lane.full:
            for classifier in self._probabilities:
                classifier.give_up_graph()

    def kind(self, sample: Sample) -> Hashable:
        """The model that it is for."""
        return sample.model

    def prepare(self, sample: Sample) -> np.ndarray:
        """Its pixels, which are as the model wants them."""
        return sample.pixels

    def size_of(self, prepared: np.ndarray) -> int:
        """Bytes of its images."""
        return prepared.nbytes

    def score(self, kind: Hashable, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """A probability for each image of each sample, float32 (1,) or (7,)."""
        probabilities, count = self._probabilities[kind], self._at_a_time[kind]
        scores: list[np.ndarray] = []
        for start in range(0, len(batch), count):
            with failures_are_told(_REMEDY):
                scores += list(probabilities(batch[start : start + count]))
        return scores

    def _ready(self, loaded: LoadedClassifier, machine: Machine, count: int) -> Probabilities:
        """A function of up to `count` samples that returns float32 (n, t)."""
        if machine.engine in ("openvino", "onnxruntime"):
            return _filled(_converted(loaded, machine, count), count)
        if machine.device.type == "cuda":
            dtype = DTYPES[machine.precision]
            ours = machine.engine == "native" and dtype == torch.float16
            steps = KernelSteps(machine.device) if ours else None
            return CudaClassifier(loaded, device=machine.device, dtype=dtype, count=count, steps=steps, lane=self._lane)
        classifier = Classifier(loaded.network, loaded.role, machine.device, DTYPES[machine.precision])

        def probabilities(images: np.ndarray) -> np.ndarray:
            return classifier.p_fake(images) if loaded.role == "seq" else classifier.p_fake(images[:, 0])[:, None]

        return _filled(probabilities, count)


def default_batch_size(device: torch.device) -> int:
    """Samples to a batch where the user did not say."""
    return _BATCH[device.type]


def _filled(of_batch: Callable[[np.ndarray], np.ndarray], count: int) -> Probabilities:
    """A function of a batch (count, t, 224, 192, 3) as one of fewer samples."""

    def probabilities(samples: Sequence[np.ndarray]) -> np.ndarray:
        images = np.zeros((count, *samples[0].shape), np.uint8)
        images[: len(samples)] = samples
        return of_batch(images)[: len(samples)]

    return probabilities


def _converted(loaded: LoadedClassifier, machine: Machine, count: int) -> Callable[[np.ndarray], np.ndarray]:
    length = SEQUENCE if loaded.role == "seq" else 1
    shape = (count * length, HEIGHT, WIDTH, 3)
    network = _on_openvino(loaded, machine, shape) if machine.engine == "openvino" else _on_onnx(loaded, machine, shape)

    def probabilities(images: np.ndarray) -> np.ndarray:
        # normalised outside the network: inside, reduced precision would round the pixels
        logits = torch.from_numpy(network(images.reshape(shape) * SCALE + SHIFT))
        return logits.double().sigmoid().float().reshape(count, length).numpy()

    return probabilities


def _on_openvino(loaded: LoadedClassifier, machine: Machine, shape: Shape) -> Callable[[np.ndarray], np.ndarray]:
    network = OpenVinoNetwork(
        ChannelsLast(loaded.network),
        torch.zeros(shape),
        precision=machine.precision,
        streams=machine.lanes,
        input_shape=shape,
    )
    return lambda images: network(images)[0]


def _on_onnx(loaded: LoadedClassifier, machine: Machine, shape: Shape) -> Probabilities:
    network = ChannelsLast(loaded.network)
    return OnnxRuntimeNetwork(network, torch.zeros(shape), device=machine.device, precision=machine.precision)
