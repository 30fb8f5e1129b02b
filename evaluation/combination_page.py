"""Combined scores as one HTML page, in the style of predict_folder.py's report, that needs nothing beside itself.

What comes from outside (names of files and systems) goes through `html_text`, and the page's own policy lets a browser
run nothing but the script that sorts the table.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from string import Template

from evaluation.combination import FARTHEST, Combination, Combined, Submission
from inference.score_bars import bar, level
from runtime.files import whole_file
from runtime.html_text import counted, html_text, policy_hash

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
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
        videos=counted(len(videos), "video"),
        systems=counted(len(submissions), "system"),
        disputed=len(combination.disputed),
        mark="disputed" if combination.disputed else "agreed",
        unknown=sum(not any(video.counted) for video in videos),
        submissions="".join(
            f"<li>{html_text(each.name)}, weight {weight:g} <small>{html_text(each.path)}</small></li>\n"
            for each, weight in zip(submissions, combination.weights, strict=True)
        ),
        how=_MEANS[combination.way],
        disagreement=f"{combination.disagreement:g}",
        heads="".join(f"{_head(each.name)}\n" for each in submissions),
        rows="".join(_row(video, submissions, combination.disagreement) for video in ordered),
    )


def _head(name: str) -> str:
    return f'<th scope="col" class="number"><button type="button" disabled>{html_text(name)}</button></th>'


def _row(video: Combined, submissions: Sequence[Submission], disagreement: float) -> str:
    is_disputed = video.spread > disagreement
    mark = ' <span class="status disputed">systems disagree</span>' if is_disputed else ""
    group = '<tbody class="disputed">' if is_disputed else "<tbody>"
    known = any(video.counted)
    score = f"{video.score:.3f}{bar(video.score)}" if known else "0.5 <small>unknown</small>"
    cells = [
        _cell(each, video.video, score, counts)
        for each, score, counts in zip(submissions, video.scores, video.counted, strict=True)
    ]
    return (
        f'{group}\n<tr><th scope="row">{html_text(video.video)}{mark}</th>'
        f'<td class="number" data-key="{video.score if known else ""}">{score}</td>{"".join(cells)}'
        f'<td class="number" data-key="{video.spread}">{video.spread:.3f}</td></tr>\n</tbody>\n'
    )


def _cell(submission: Submission, video: str, score: float | None, counts: bool) -> str:
    """A system's score; what is not in the mean has no key, and so comes last, whichever way it is sorted."""
    if counts:
        return f'<td class="number {level(score)}" data-key="{score}">{score:.3f}</td>'
    reason = "missing" if score is None else submission.unknown[video]
    return f'<td class="number" data-key=""><small>{reason}</small></td>'


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
