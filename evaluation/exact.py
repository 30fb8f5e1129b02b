"""Intervals that need no draws: of rates, and of scores that part all fakes from all real videos.

A bootstrap can only draw the errors that were made. Where there was none, each draw is perfect too, and its interval
says nothing; what many videos without an error exclude can be told exactly.
"""

import numpy as np
from scipy.special import betaincinv

from evaluation.bootstrap import LEVEL
from evaluation.figures import PARTIAL


def binomial_interval(successes: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a rate (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return low, high


def separated_intervals(fakes: int, real: int, share_of_fakes: float) -> dict[str, tuple[float, float]]:
    """What is told by so many fakes, all with higher scores than so many real videos, of figures by name.

    Another real video exceeds the highest of `real` scores with a probability that is at most that of 0 errors in as
    many trials, and so for the lowest of the fakes' scores. Both hold together with the confidence asked for, whatever
    the scores' distributions, and bound the ROC curve by one corner. Of clusters one video each is to be counted.
    """
    accused, missed = binomial_interval(0, real)[1], binomial_interval(0, fakes)[1]
    found = 1 - missed
    area = found * max(0.0, PARTIAL - accused)
    chance = PARTIAL**2 / 2
    flagged_per_found = accused * (1 - share_of_fakes) / share_of_fakes
    return {
        "roc_auc": (found * (1 - accused), 1.0),
        "eer": (0.0, max(accused, missed)),
        "partial_auc": ((1 + (area - chance) / (PARTIAL - chance)) / 2, 1.0),
        "average_precision": (found - flagged_per_found * float(np.log1p(found / flagged_per_found)), 1.0),
    }
