"""How often the 95 % intervals of evaluate.py hold the truth, with videos drawn by original and one by one.

    python -m benchmarks.coverage --sets 1000

Sets of videos are made whose truth is known: each original has three versions that are real, as of three compressions,
and six that are fake. What makes an original hard is the same in all its versions of a kind. Scores are logistic
functions of normal numbers; the truth is that of a million originals. Output: for each figure the share of the sets
whose interval holds it, and the mean width of the intervals, both when whole originals are drawn and when each video is
drawn for itself. 1000 sets take 10 minutes of one core.
"""

import argparse
import sys

import numpy as np
from tqdm import tqdm

from evaluation.bootstrap import DRAWS
from evaluation.estimates import Sample, estimate
from evaluation.figures import NAMES, figures_of
from runtime.command import positive, run_command, whole
from runtime.ranks import Ranks

_REAL, _FAKES = 3, 6  # versions of an original
_MEANS = {0: -1.0, 1: 1.0}  # by label
_ORIGINAL, _VERSION = 1.0, 0.6  # standard deviations
_POPULATION = 1_000_000


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How often intervals hold the truth")
    arg = parser.add_argument
    arg("--sets", type=positive, default=1000, metavar="N", help="of videos (default: 1000)")
    arg("--originals", type=whole(2), default=150, metavar="N", help="in a set (default: 150)")
    arg("--draws", type=whole(100), default=DRAWS, metavar="N", help=f"of an interval (default: {DRAWS})")
    arg("--seed", type=whole(0), default=0, metavar="N", help="(default: 0)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(measure, parse_args(argv))


def measure(args: argparse.Namespace, ranks: Ranks) -> int:
    truth = true_figures(args.seed)
    held, widths = coverage(truth, args.sets, args.originals, args.draws, args.seed)
    print(f"{args.sets} sets of {args.originals} originals, {args.draws} draws; of 95 % intervals hold the truth")
    print(f"{'':22}     truth  by original  width  by video  width")
    for place, name in enumerate(NAMES):
        shares = ["n/a" if np.isnan(each) else f"{100 * each:.1f} %" for each in held[:, place]]
        first, second = ("n/a" if np.isnan(each) else f"{each:.4f}" for each in widths[:, place])
        print(f"{name:22}  {truth[name]:>8.4f}  {shares[0]:>11}  {first:>6}  {shares[1]:>8}  {second:>6}")
    return 0


def true_figures(seed: int, originals: int = _POPULATION) -> dict[str, float | None]:
    """Figures of so many originals that they hardly differ from those of all."""
    sample = simulated(originals, np.random.default_rng((seed, 0)), versions=1)
    return figures_of(sample.labels, sample.scores, np.where(sample.labels == 1, _FAKES, _REAL))


def coverage(
    truth: dict[str, float | None], sets: int, originals: int, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The share of the intervals that hold the truth, and their mean width, (2, figures) each: by original, and by
    video. NaN for a figure that the sets are too small for."""
    held, widths, told = np.zeros((3, 2, len(NAMES)))
    for number in tqdm(range(sets), unit="set"):
        sample = simulated(originals, np.random.default_rng((seed, 1, number)))
        alone = Sample(labels=sample.labels, scores=sample.scores, clusters=np.arange(len(sample)))
        for kind, each in enumerate((sample, alone)):
            for place, figure in enumerate(estimate(each, draws=draws, seed=number).values()):
                if figure.low is not None and figure.high is not None:
                    told[kind, place] += 1
                    held[kind, place] += figure.low <= truth[NAMES[place]] <= figure.high
                    widths[kind, place] += figure.high - figure.low
    with np.errstate(invalid="ignore"):
        return held / told, widths / told


def simulated(originals: int, draw: np.random.Generator, versions: int | None = None) -> Sample:
    """`versions` of each kind, of each original; three real and six fake ones where it is not given."""
    labels, scores, clusters = [], [], []
    for label, count in ((0, versions or _REAL), (1, versions or _FAKES)):
        hardness = draw.normal(_MEANS[label], _ORIGINAL, (originals, 1))
        logits = hardness + draw.normal(0, _VERSION, (originals, count))
        scores.append(1 / (1 + np.exp(-logits.ravel())))
        labels.append(np.full(logits.size, label))
        clusters.append(np.repeat(np.arange(originals), count))
    return Sample(labels=np.concatenate(labels), scores=np.concatenate(scores), clusters=np.concatenate(clusters))


if __name__ == "__main__":
    sys.exit(main())
