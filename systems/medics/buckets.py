"""Which videos an epoch shows, and which frames of a clip: as many fakes as reals, all drawn anew in each epoch.

Every draw comes from (seed, epoch, index) alone, so that it does not matter which process makes it, nor when.
"""

from dataclasses import dataclass

import numpy as np

from systems.medics.models import FAKE, REAL


def generator_of(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The draws of one sample of one epoch."""
    return np.random.default_rng([seed, epoch, index])


@dataclass(frozen=True, kw_only=True)
class RealFakeBuckets:
    """An epoch of 2 * `reals` samples: first a fake out of each bucket, then each real once.

    The fakes, in order, are cut into as many buckets as there are reals. The published rule, in floating point, never
    draws 0.1 % of them; this one is in integers. Raises ValueError where there is no real or no fake.
    """

    reals: int
    fakes: int

    def __post_init__(self):
        if self.reals < 1 or self.fakes < 1:
            raise ValueError(f"{self.reals} reals and {self.fakes} fakes: training needs one of each at least")

    def __len__(self) -> int:
        return 2 * self.reals

    def bucket(self, number: int) -> range:
        """The fakes of a bucket: of N fakes and n reals, those from ceil(number * N / n) to before that of the next.
        Where reals are more than fakes, a bucket that would be empty has the fake before."""
        first = -(-number * self.fakes // self.reals)
        end = -(-(number + 1) * self.fakes // self.reals)
        return range(first, end) if first < end else range(end - 1, end)

    def sample(self, index: int, generator: np.random.Generator) -> tuple[int, int]:
        """(class, index among the class's videos) of a sample of the epoch; FAKE is 0, REAL 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        if index >= self.reals:
            return REAL, index - self.reals
        bucket = self.bucket(index)
        return FAKE, int(generator.integers(bucket.start, bucket.stop))


def epoch_of_frames(reals: int, fakes: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """(class, index) of one pass of the 2D model, shuffled: all reals, and half as many fakes, all different where
    there are enough. It counts for 1.5 of the published "epochs"."""
    wanted = reals // 2
    chosen = generator.choice(fakes, wanted, replace=wanted > fakes)
    samples = [(FAKE, int(index)) for index in chosen] + [(REAL, index) for index in range(reals)]
    return [samples[place] for place in generator.permutation(len(samples))]


def clip_window(length: int, frames: int, generator: np.random.Generator | None) -> np.ndarray:
    """`frames` indices, int64, in sequence out of a clip of `length`: from a random start, or without a generator (in
    validation) the first ones. A shorter clip is looped (published: it fails, but for those that were dropped before).
    """
    if length < 1:
        raise ValueError("a clip without frames: extract it again")
    start = int(generator.integers(max(length - frames, 0) + 1)) if generator else 0
    return (start + np.arange(frames)) % length
