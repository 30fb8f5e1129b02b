"""Several systems' scores of the same videos, made one: means, and where the systems are at odds.

A system that knows nothing of a video gives it 0.5, which would pull the others' mean towards 0.5. So what its summary
(<submission>.summary.json, which predict_folder.py writes beside it) names as without a face, unreadable or failed does
not count in that video's mean. Without a summary every 0.5 counts: what it stands for can't be told.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.special import expit, logit
from scipy.stats import spearmanr

from evaluation.origin import summary_path
from evaluation.submissions import UNKNOWN, read_submission
from runtime import limits
from runtime.errors import InputError
from runtime.files import parse_json
from systems import DEFAULT

WAYS = ("probability", "logit")
FARTHEST = 1e-6  # logits are of scores kept so far from 0 and 1: no system alone decides, however sure it is
OPPOSED = -0.3  # Spearman's correlation below which two submissions are told to contradict each other,
OPPOSED_VIDEOS = 8  # where they have that many videos in common
OPPOSED_CHANCE = 0.01  # and chance gives such a correlation as rarely as that
_STATUSES = {"no_face": "no face", "unreadable": "unreadable", "failed": "failed"}


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One system's scores by the names of videos. `unknown` says why it knows nothing of some of them."""

    name: str
    path: str
    scores: dict[str, float]
    unknown: dict[str, str]
    has_summary: bool


@dataclass(frozen=True, kw_only=True)
class Combined:
    """A video's score by all systems.

    `scores` are the systems' own, in their order, None where it is missing from one's submission. `counted` says which
    of them are in the mean, and `spread` is the largest of these less the smallest.
    """

    video: str
    score: float
    scores: tuple[float | None, ...]
    counted: tuple[bool, ...]
    spread: float


@dataclass(frozen=True, kw_only=True)
class Opposed:
    """Two submissions, by name, that put their common videos in opposite orders."""

    names: tuple[str, str]
    spearman: float
    videos: int


@dataclass(frozen=True, kw_only=True)
class Combination:
    """Submissions and what they make together. `disagreement` is the spread above which systems disagree; `missing`
    are the videos that a submission lacks, by its name, where it lacks some."""

    submissions: Sequence[Submission]
    weights: Sequence[float]
    way: str
    disagreement: float
    videos: list[Combined]
    missing: dict[str, list[str]]
    opposed: list[Opposed]

    @property
    def disputed(self) -> list[Combined]:
        """The videos on which systems disagree, the most disputed first."""
        disputed = [video for video in self.videos if video.spread > self.disagreement]
        return sorted(disputed, key=lambda video: -video.spread)


def read_submissions(paths: Sequence[str]) -> list[Submission]:
    """The submissions, and what the summaries beside them tell. Each is named by its system, where its summary tells
    that and no other is of it, or by its file. Raises InputError."""
    read = [(path, read_submission(path, "submission"), _read_summary(path)) for path in paths]
    systems = Counter(system for _, _, (system, _, _) in read)
    names = []
    for path, _, (system, _, _) in read:
        is_only = system is not None and systems[system] == 1
        names.append(system if is_only else Path(path).name.removesuffix(".csv"))
    submissions = []
    for name, (path, scores, (_, unknown, has_summary)) in zip(_made_unique(names), read, strict=True):
        unknown = {video: reason for video, reason in unknown.items() if video in scores}
        for video in unknown:
            if scores[video] != UNKNOWN:
                raise InputError(
                    f"{summary_path(path)}: says that nothing is known of {video}, whose label in {path} is "
                    f"{scores[video]:g}: it is not this submission's; remove it or put the right one there"
                )
        submissions.append(Submission(name=name, path=path, scores=scores, unknown=unknown, has_summary=has_summary))
    return submissions


def _read_summary(path: str) -> tuple[str | None, dict[str, str], bool]:
    """The system, the videos of which it knows nothing, and whether there is a summary. Raises InputError."""

    def parse(content: dict) -> tuple[str | None, dict[str, str], bool]:
        if "nothing_known" in content:  # of a combination of others
            return None, dict.fromkeys(_names_in(content["nothing_known"]), "unknown"), True
        unknown = {video: reason for status, reason in _STATUSES.items() for video in _names_in(content[status])}
        system = content["settings"].get("system", DEFAULT)
        return system if isinstance(system, str) and system.isidentifier() else None, unknown, True

    place = summary_path(path)
    if not Path(place).exists():
        return None, {}, False
    return parse_json(
        place,
        limits.LABELS,
        InputError,
        unreadable="can't be read ({}); mend that, or move it away",
        damaged="is no summary of predict_folder.py ({}); move it away",
        parse=parse,
    )


def _names_in(videos: object) -> list[str]:
    """The names in a list, or those that an object's values are of."""
    if not isinstance(videos, list | dict) or not all(isinstance(video, str) for video in videos):
        raise ValueError("its videos are no names")
    return list(videos)


def _made_unique(names: Sequence[str]) -> list[str]:
    """The same names, numbered where they were there before or are a submission's own columns."""
    taken = {"filename", "label"}
    unique = []
    for name in names:
        number = 2
        other = name
        while other in taken:
            other = f"{name} ({number})"
            number += 1
        taken.add(other)
        unique.append(other)
    return unique


def combine(
    submissions: Sequence[Submission], weights: Sequence[float], *, way: str, disagreement: float
) -> Combination:
    """Every video that is in any of the submissions, in the order in which they come. `weights` are above 0, `way` is
    one of WAYS."""
    videos = list(dict.fromkeys(video for each in submissions for video in each.scores))
    lacking = {each.name: [video for video in videos if video not in each.scores] for each in submissions}
    return Combination(
        submissions=submissions,
        weights=weights,
        way=way,
        disagreement=disagreement,
        videos=[_combined(video, submissions, weights, way) for video in videos],
        missing={name: those for name, those in lacking.items() if those},
        opposed=list(_opposed(submissions)),
    )


def _combined(video: str, submissions: Sequence[Submission], weights: Sequence[float], way: str) -> Combined:
    scores = tuple(each.scores.get(video) for each in submissions)
    counted = tuple(video in each.scores and video not in each.unknown for each in submissions)
    known = [(score, weight) for score, weight, counts in zip(scores, weights, counted, strict=True) if counts]
    values = [score for score, _ in known]
    return Combined(
        video=video,
        score=mean(values, [weight for _, weight in known], way) if known else UNKNOWN,
        scores=scores,
        counted=counted,
        spread=max(values) - min(values) if known else 0.0,
    )


def mean(scores: Sequence[float], weights: Sequence[float], way: str) -> float:
    """The weighted mean of probabilities, or the probability of the weighted mean of their logits."""
    if way == "probability":
        return float(np.average(scores, weights=weights))
    logits = logit(np.clip(scores, FARTHEST, 1 - FARTHEST))
    return float(expit(np.average(logits, weights=weights)))


def _opposed(submissions: Sequence[Submission]) -> Iterator[Opposed]:
    """The pairs of submissions of which one seems to hold the probability that a video is real."""
    for first, second in combinations(submissions, 2):
        unknown = first.unknown.keys() | second.unknown.keys()
        common = [video for video in first.scores if video in second.scores and video not in unknown]
        if len(common) < OPPOSED_VIDEOS:
            continue
        columns = [[each.scores[video] for video in common] for each in (first, second)]
        if any(len(set(column)) == 1 for column in columns):
            continue  # of scores that are all the same there is no order
        found = spearmanr(*columns)
        if found.statistic < OPPOSED and found.pvalue < OPPOSED_CHANCE:
            yield Opposed(names=(first.name, second.name), spearman=float(found.statistic), videos=len(common))
