"""The ensemble as what scores samples: each face at every size that a model wants, in one batch through all models."""

from collections.abc import Hashable, Sequence

import numpy as np

from systems.sample import Sample
from systems.seferbekov.ensemble import Ensemble
from systems.seferbekov.faces import compress_face, prepare_face

Prepared = dict[int, np.ndarray]  # a face at each size


class FaceModels:
    """As `systems.sample.Models`. `apply_compression` scores faces after JPEG compression."""

    def __init__(self, ensemble: Ensemble, *, apply_compression: bool = False):
        self.ensemble = ensemble
        self.batch_size, self.group, self.lanes = ensemble.batch_size, ensemble.group, ensemble.lanes
        self._apply_compression = apply_compression

    def kind(self, sample: Sample) -> Hashable:
        """All faces may share a batch."""
        return None

    def prepare(self, sample: Sample) -> Prepared:
        """The face as the models see it."""
        images = {size: prepare_face(sample.pixels[0], size) for size in self.ensemble.sizes}
        if self._apply_compression:
            images = {size: compress_face(image) for size, image in images.items()}
        return images

    def size_of(self, prepared: Prepared) -> int:
        """Bytes of its images."""
        return sum(image.nbytes for image in prepared.values())

    def score(self, kind: Hashable, batch: Sequence[Prepared]) -> np.ndarray:
        """Float32 (n, models)."""
        return self.ensemble.score({size: [images[size] for images in batch] for size in self.ensemble.sizes})
