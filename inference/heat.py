"""Where in a face the evidence lies: heat by gradients (Grad-CAM) or by occlusion, and a test of either by deletion.

Heat is float32 (t, h, w) for pixels uint8 (t, h, w, 3), 0 or more: 0 where nothing speaks for "fake", where no place
speaks less for it, or where nothing is known. Scores are probabilities "fake"; a `Score` takes faces in place of the
one that is explained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from systems.heat import Features, HeatModel
from systems.sample import Sample

SHARE = 0.2  # of the pixels that the deletion test blacks out
_CELLS = 8  # along each side, of which an occluded square covers two by two

Score = Callable[[Sequence[np.ndarray]], np.ndarray]  # pixels (t, h, w, 3) of n faces to probabilities (n,)


def grad_cam(model: HeatModel, sample: Sample) -> np.ndarray:
    """Where a model's last features speak for a fake: the mean over its last layers, of the sample and of its mirror
    image, as networks are trained on both. Each has its highest value as 1. Raises DeviceError."""
    mirrored = replace(sample, pixels=np.ascontiguousarray(sample.pixels[:, :, ::-1]))
    heats = [of_features(each) for each in model.features(sample)]
    heats += [of_features(each)[:, :, ::-1] for each in model.features(mirrored)]
    return np.mean([_to_one(heat) for heat in heats], axis=0)


def of_features(features: Features) -> np.ndarray:
    """Grad-CAM of one layer (Selvaraju et al., ICCV 2017): the sum of the channels, each times its gradient, cut off
    below 0. The gradient is each place's own (HiResCAM, Draelos and Carin, 2020): the mean over all places, which
    Grad-CAM takes, is the same where the network averages the layer, and misleads where it does not. What all places
    have in common is taken off, as it points to none."""
    heat = np.maximum((features.activations * features.gradients).sum(axis=0), 0)
    return features.place(heat - heat.min())


def occlusion(score: Score, pixels: np.ndarray, tell: Callable[[int], object] = lambda done: None) -> np.ndarray:
    """By how much a black square over a pixel lowers the score, in all frames alike: the mean over the squares that
    cover it, 0 where they raise it. The sides are cut into eight; a square takes two of them and moves by one. `tell`
    is told of squares that are done."""
    rows, columns = (_edges(side) for side in pixels.shape[1:3])
    (whole,) = score([pixels])
    drops, covers = (np.zeros(pixels.shape[1:3]) for _ in range(2))
    for top, bottom in zip(rows, rows[2:], strict=False):
        places = [np.s_[top:bottom, left:right] for left, right in zip(columns, columns[2:], strict=False)]
        hidden = [_hidden(pixels, np.s_[:, place[0], place[1]]) for place in places]
        for place, left_over in zip(places, score(hidden), strict=True):
            drops[place] += whole - left_over
            covers[place] += 1
        tell(len(places))
    heat = np.maximum(drops / covers, 0).astype(np.float32)
    return np.repeat(heat[None], len(pixels), axis=0)


OCCLUSIONS = (_CELLS - 1) ** 2  # scores that it takes, besides the face's own


def together(heats: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The mean of models' heats, each with its highest value as 1, weighted as the models are; the highest value of the
    result is 1. Where all is 0 it stays so."""
    return _to_one(np.average([_to_one(heat) for heat in heats], axis=0, weights=weights)).astype(np.float32)


def centre_of(heat: np.ndarray) -> tuple[float, float]:
    """Column and row of the heat's centre, from 0 to 1 of width and height, over all frames; not for heat of 0."""
    by_place = heat.sum(axis=0, dtype=np.float64)
    middles = [(np.arange(side) + 0.5) / side for side in by_place.shape]
    row, column = (float(np.average(middles[axis], weights=by_place.sum(axis=1 - axis))) for axis in (0, 1))
    return column, row


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What blacking out does to a face's score: `before` it, `hottest` with the hottest pixels black, `random` with as
    many elsewhere, the mean of some draws. `share`: how many, of 1. `pixels`: the face with the hottest ones black."""

    share: float
    before: float
    hottest: float
    random: float
    draws: int
    pixels: np.ndarray

    @property
    def holds(self) -> bool:
        """Whether the hottest pixels lower the score more than others do."""
        return self.before - self.hottest > self.before - self.random


def deletion(
    score: Score,
    pixels: np.ndarray,
    heat: np.ndarray,
    *,
    draws: int,
    seed: tuple[int, ...],
    tell: Callable[[int], object] = lambda done: None,
) -> Deletion | None:
    """Black out the hottest fifth of a face's pixels, and, for comparison, the same shape at `draws` other places.

    It is moved within the picture's part that is not black anyway, in time too, and comes back in on the other side.
    Fewer pixels than a fifth are blacked out where fewer have any heat; None where none has. Each move is drawn from
    `seed` and its number.
    """
    window = _not_black(pixels)
    hottest = _hottest(heat[window])
    if not hottest.any():
        return None
    before, after = score([pixels, _hidden(pixels, window, hottest)])
    tell(2)
    moved = []
    for number in range(draws):
        draw = np.random.default_rng((*seed, number))
        shift = [int(draw.integers(side)) for side in hottest.shape]
        moved.extend(score([_hidden(pixels, window, np.roll(hottest, shift, axis=(0, 1, 2)))]))
        tell(1)
    return Deletion(
        share=float(hottest.mean()),
        before=float(before),
        hottest=float(after),
        random=float(np.mean(moved)),
        draws=draws,
        pixels=_hidden(pixels, window, hottest),
    )


def _hottest(heat: np.ndarray) -> np.ndarray:
    """Which pixels are a hottest fifth, bool of the heat's shape: of equally hot ones the first, none without heat."""
    count = min(round(SHARE * heat.size), int(np.count_nonzero(heat)))
    mask = np.zeros(heat.size, bool)
    mask[np.argsort(-heat, axis=None, kind="stable")[:count]] = True
    return mask.reshape(heat.shape)


def _not_black(pixels: np.ndarray) -> tuple[slice, slice, slice]:
    """All frames, and the rows and columns between those at the edges that are black throughout."""
    lit = pixels.any(axis=(0, 3))
    bounds = []
    for axis in (1, 0):
        places = np.flatnonzero(lit.any(axis=axis))
        bounds.append(slice(places[0], places[-1] + 1) if len(places) else slice(None))
    return slice(None), *bounds


def _hidden(pixels: np.ndarray, window, mask=...) -> np.ndarray:
    """A copy, black in the part `mask` of a window."""
    copy = pixels.copy()
    copy[window][mask] = 0
    return copy


def _edges(side: int) -> list[int]:
    return np.rint(np.linspace(0, side, _CELLS + 1)).astype(int).tolist()


def _to_one(heat: np.ndarray) -> np.ndarray:
    return heat / heat.max() if heat.max() > 0 else heat
