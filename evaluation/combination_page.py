"""Combined scores as one HTML page, in the style of predict_folder.py's report, that needs nothing beside itself.

What comes from outside (names of files and systems) goes through `_text`, and the page's own policy lets a browser run
nothing but the script that sorts the table.
"""

import base64
import hashlib
import html
import os
from collections.abc import Sequence
from pathlib import Path
from string import Template

from evaluation.combination import FARTHEST, Combination, Combined, Submission
from runtime.errors import printable
from runtime.files import whole_file

_HERE = Path(__file__).parent
_REPORT = _HERE.parent / "inference"  # whose style and script these pages share
_MEANS = {
    "probability": "weighted mean of the systems' probabilities",
    "logit": f"probability of the weighted mean of the systems' logits, scores kept {FARTHEST:g} from 0 and 1",
}


def write_page(path: str | os.PathLike, combination: Combination) -> None:
    """Write the page, whole or not at all, the highest score on top. Raises OutputError."""
    with whole_file(path, "choose another --report") as temporary:
        temporary.write_text(page(combination), encoding="utf-8")


def page(combination: Combination) -> str:
    style = _read(_REPORT / "report.css") + _read(_HERE / "combination.css")
    script = _read(_REPORT / "report.js")
    videos, submissions = combination.videos, combination.submissions
    ordered = sorted(videos, key=lambda video: (not any(video.counted), -video.score, video.video))
    return Template(_read(_HERE / "combination.html")).substitute(
        style=style,
        style_hash=_digest(style),
        script=script,
        script_hash=_digest(script),
        videos=_count(len(videos), "video"),
        systems=_count(len(submissions), "system"),
        disputed=len(combination.disputed),
        mark="disputed" if combination.disputed else "agreed",
        unknown=sum(not any(video.counted) for video in videos),
        submissions="".join(
            f"<li>{_text(each.name)}, weight {weight:g} <small>{_text(each.path)}</small></li>\n"
            for each, weight in zip(submissions, combination.weights, strict=True)
        ),
        how=_MEANS[combination.way],
        disagreement=f"{combination.disagreement:g}",
        heads="".join(f"{_head(each.name)}\n" for each in submissions),
        rows="".join(_row(video, submissions, combination.disagreement) for video in ordered),
    )


def _head(name: str) -> str:
    return f'<th scope="col" class="number"><button type="button" disabled>{_text(name)}</button></th>'


def _row(video: Combined, submissions: Sequence[Submission], disagreement: float) -> str:
    is_disputed = video.spread > disagreement
    mark = ' <span class="status disputed">systems disagree</span>' if is_disputed else ""
    group = '<tbody class="disputed">' if is_disputed else "<tbody>"
    known = any(video.counted)
    score = f"{video.score:.3f}{_bar(video.score)}" if known else "0.5 <small>unknown</small>"
    cells = [
        _cell(each, video.video, score, counts)
        for each, score, counts in zip(submissions, video.scores, video.counted, strict=True)
    ]
    return (
        f'{group}\n<tr><th scope="row">{_text(video.video)}{mark}</th>'
        f'<td class="number" data-key="{video.score if known else ""}">{score}</td>{"".join(cells)}'
        f'<td class="number" data-key="{video.spread}">{video.spread:.3f}</td></tr>\n</tbody>\n'
    )


def _cell(submission: Submission, video: str, score: float | None, counts: bool) -> str:
    """A system's score; what is not in the mean has no key, and so comes last, whichever way it is sorted."""
    if counts:
        return f'<td class="number {_level(score)}" data-key="{score}">{score:.3f}</td>'
    reason = "missing" if score is None else submission.unknown[video]
    return f'<td class="number" data-key=""><small>{reason}</small></td>'


def _bar(score: float) -> str:
    return (
        f'<svg class="bar {_level(score)}" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M0 0h{100 * score:.1f}v1H0z"/></svg>'
    )


def _level(score: float) -> str:
    """The bounds of the report."""
    return "high" if score > 0.8 else "low" if score < 0.2 else "middle"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _text(value: object) -> str:
    """Text from outside as HTML: no markup, and nothing that can't be seen or turns the direction of writing."""
    return html.escape(printable(str(value)))


def _digest(source: str) -> str:
    """What a browser compares an inline script or style with (Content Security Policy)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
