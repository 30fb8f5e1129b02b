"""Two ways from a score to its likelihood ratio: a logistic curve (Platt) and an isotonic one (PAV).

Both are learned from videos weighed so that fakes and real ones count one half each: with prior odds of 1, the
posterior odds of "fake" are the likelihood ratio, whatever the share of fakes in the data. Scores come in as natural
log-odds, (n,) float64; ratios go out as log10, (n,) float64.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy.special import logit

from evaluation.likelihood_ratios import log10_odds, pool
from systems.config import Strict, number

METHODS = ("logistic", "isotonic")  # the first is taken where they are equally good
_NEAREST = 2.0**-24  # to 0 and 1: a probability in single precision can't come nearer to 1 without being 1
_MOST = 1e6  # of log-odds, slopes and intercepts: far beyond what scores can give


class Logistic(Strict):
    """log LR = slope * log-odds + intercept. A slope of 0: the scores of fakes are not higher, and all ratios are 1."""

    method: Literal["logistic"] = "logistic"
    slope: float = number(0, _MOST)
    intercept: float = number(-_MOST, _MOST)

    def log10_lr(self, log_odds: np.ndarray) -> np.ndarray:
        return (self.slope * log_odds + self.intercept) / np.log(10)


class Isotonic(Strict):
    """The share of fakes at some log-odds, where prior odds are 1; between them on straight lines, beyond them as at
    the nearest. Ratios are infinite where videos of one class only were seen."""

    method: Literal["isotonic"] = "isotonic"
    log_odds: list[Annotated[float, number(-_MOST, _MOST)]] = Field(min_length=1)
    fake_share: list[Annotated[float, number(0, 1)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.log_odds) != len(self.fake_share):
            raise ValueError("log_odds and fake_share must be of one length")
        if any(a >= b for a, b in pairwise(self.log_odds)) or any(a > b for a, b in pairwise(self.fake_share)):
            raise ValueError("log_odds must rise, and fake_share must not fall")
        return self

    def log10_lr(self, log_odds: np.ndarray) -> np.ndarray:
        return log10_odds(np.interp(log_odds, self.log_odds, self.fake_share))


Calibrator = Logistic | Isotonic


def log_odds_of(scores: np.ndarray) -> np.ndarray:
    """Natural log-odds (n,) of probabilities (n,), which are kept 2**-24 from 0 and 1."""
    return logit(np.clip(np.asarray(scores, np.float64), _NEAREST, 1 - _NEAREST))


def fit_calibrator(method: str, log_odds: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> Calibrator:
    """Learn from videos: log-odds (n,), labels (n,), 1 for fake and 0 for real, and what each video weighs (n,), one
    half for each class (evaluation/likelihood_ratios.py: `balanced`)."""
    return {"logistic": _fit_logistic, "isotonic": _fit_isotonic}[method](log_odds, labels, shares)


def _fit_logistic(log_odds: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> Logistic:
    """scikit-learn's own regularisation keeps the slope finite where a threshold divides the classes."""
    from sklearn.linear_model import LogisticRegression  # It takes seconds to load.

    counted = shares > 0
    regression = LogisticRegression(solver="newton-cholesky", tol=1e-8)
    weights = shares[counted] * counted.sum()
    regression.fit(log_odds[counted, None], labels[counted], sample_weight=weights)
    slope, intercept = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    return Logistic(slope=slope, intercept=intercept) if slope > 0 else Logistic(slope=0.0, intercept=0.0)


def _fit_isotonic(log_odds: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> Isotonic:
    values, ranks = np.unique(log_odds, return_inverse=True)
    pooled, taken = pool(ranks, labels, shares)
    seen = values[taken]
    ends = np.union1d(pooled.blocks[:-1], pooled.blocks[1:] - 1)  # the first and the last of each block
    return Isotonic(log_odds=seen[ends].tolist(), fake_share=pooled.x[ends].tolist())
