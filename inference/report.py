"""The report: one HTML page for a person, that needs nothing beside itself and no network.

A table of the videos, and for each its faces, as thumbnails, and their scores over time. What comes from outside (names
of files and models, errors) goes through `html_text`, and the page's own policy lets a browser run nothing but
report.js.
"""

import base64
import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from string import Template

import numpy as np

from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, VideoResult
from inference.report_lanes import lanes, name_of
from inference.report_pictures import Pictures, scores_of_faces, with_pictures
from inference.score_bars import bar, level
from inference.video_people import Person
from runtime.files import whole_file
from runtime.html_text import counted, html_text, policy_hash
from systems.sample import HowScored, ScoredFace

_STATUSES = {OK: "scored", NO_FACE: "no face", UNREADABLE: "unreadable", FAILED: "failed"}  # in the order of the page
_ROWS = "<!-- rows -->"
_STYLES = 8  # of lines, in report.css
_HEIGHT = _WIDTH = 1000  # of a plot, in its own units


def write_report(
    path: str | os.PathLike,
    results: Sequence[VideoResult],
    paths: Mapping[str, str],
    people: Mapping[str, Sequence[Person]],
    *,
    settings: dict,
    how: HowScored,
    said: Mapping[str, str] | None = None,
    workers: int = 1,
) -> None:
    """Write the page, whole or not at all: scored videos first, the highest score on top.

    `paths` are the files by name of the video: the frames of a few faces are read again, by `workers` threads. `people`
    are those in each video. `settings` are the journal's, `how` the system's own words, `said` a sentence on some of
    the videos' scores. The page is written video by video, as it may be large.
    Raises OutputError.
    """
    order = list(_STATUSES)
    results = sorted(results, key=lambda result: (order.index(result.status), -result.score, result.video))
    head, tail = _page(results, settings, how).split(_ROWS)
    models = [name for name, _ in settings["models"]]
    with (
        whole_file(path, "the scores are kept in the journal") as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(head)
        with contextlib.closing(with_pictures(results, paths, people, workers)) as pictured:
            for result, pictures in pictured:
                wanted = settings.get("frames_per_video", result.frames_wanted)
                more = (said or {}).get(result.video)
                file.write(_video(result, pictures, people[result.video], models, wanted, how.strategy, more))
        file.write(tail)


def _page(results: Sequence[VideoResult], settings: dict, how: HowScored) -> str:
    """The page around the rows."""
    folder = Path(__file__).parent
    template, style, script = (
        (folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    counts = Counter(result.status for result in results)
    return Template(template).substitute(
        style=style,
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
        videos=counted(len(results), "video"),
        statuses="".join(
            f'<li class="{status}"><b>{counts[status]}</b> {word}</li>\n' for status, word in _STATUSES.items()
        ),
        models="".join(
            f"<li>{html_text(name)} <small>SHA-256 {html_text(digest)}…</small></li>\n"
            for name, digest in settings["models"]
        ),
        verdict=html_text(how.verdict),
        precision=html_text(settings["precision"]),
        engine=html_text(f"{settings['engine']} on {settings['device']}"),
        detector=html_text(", ".join(sorted({_detector_of(result) for result in results})) or "nothing"),
        frames=html_text(how.frames),
        date=html_text(datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")),
        rows=_ROWS,
    )


def _detector_of(result: VideoResult) -> str:
    """As it was told when the video was scored."""
    return f"{result.environment.get('detector') or 'a detector that was not recorded'!s:.80}"


def _video(
    result: VideoResult,
    pictures: Pictures,
    people: Sequence[Person],
    models: list[str],
    frames_wanted: int,
    strategy: str,
    said: str | None,
) -> str:
    """A video's line of the table, and the one below it that opens."""
    score = f"{result.score:.4f}{bar(result.score)}" if result.status == OK else "0.5 <small>unknown</small>"
    key = result.score if result.status == OK else ""  # without one it comes last, whichever way it is sorted
    faces = scores_of_faces(result)
    parts = [f"<p>{_account(result, frames_wanted)}</p>\n"]
    if said:
        parts.append(f'<p class="said">{html_text(said)}</p>\n')
    parts += [f'<p class="note">Note: {html_text(note)}.</p>\n' for note in result.notes]
    if result.error:
        parts.append("<pre>" + "\n".join(map(html_text, result.error.splitlines())) + "</pre>\n")
    if result.faces:
        parts += [
            _plot(result, len(models), faces),
            _scores(result, models, strategy, faces),
            *lanes(result, people, strategy),
            _thumbnails(result, pictures, people, faces),
        ]
    return (
        f'<tbody>\n<tr><th scope="row"><details><summary>{html_text(result.video)}</summary></details></th>'
        f'<td class="number" data-key="{key}">{score}</td>'
        f'<td data-key="{list(_STATUSES).index(result.status)}"><span class="status {result.status}">'
        f"{_STATUSES[result.status]}</span></td>"
        f'<td class="number" data-key="{len(faces)}">{len(faces)}</td></tr>\n'
        f'<tr class="more"><td colspan="4">\n{"".join(parts)}</td></tr>\n</tbody>\n'
    )


def _account(result: VideoResult, frames_wanted: int) -> str:
    """What was looked at, in a sentence or two."""
    if result.status == UNREADABLE:
        return "The file can't be read, and nothing is known of it:"
    if result.status == FAILED:
        return "Something went wrong, and nothing is known of this video:"
    account = f"{result.frames} of {counted(frames_wanted, 'frame')} read; "
    if result.status == NO_FACE:
        account += "no face was found, and nothing is known of this video."
    else:
        with_face = len({face.frame for face in result.faces})
        account += f"{counted(len(scores_of_faces(result)), 'face')} found, on {with_face} of them."
    if result.at_face_limit:
        if result.left_out:
            account += f" {counted(result.left_out, 'face')} more left out, as the limit of faces was reached."
        if result.frames != result.frames_wanted:
            account += f" Later frames were not looked at: the limit was reached at frame {result.last_frame}."
    elif result.frames == result.frames_wanted < frames_wanted:
        account += " The video has no more frames."
    elif result.frames < frames_wanted:
        account += " The video is short, cut or damaged."
    return account


def _points(face: ScoredFace) -> list[tuple[int, int, float]]:
    """Each probability of a face, with its frame and the number of its model: (frame, model, probability)."""
    if face.model is None:
        return [(face.frame, number, score) for number, score in enumerate(face.probabilities)]
    frames = face.frames if len(face.frames) == len(face.probabilities) else (face.frame,) * len(face.probabilities)
    return [(frame, face.model, score) for frame, score in zip(frames, face.probabilities, strict=True)]


def _plot(result: VideoResult, models: int, faces: dict[int, float]) -> str:
    """Scores over frames: a line for each model, a dot for each face, and a line across for the video's score.

    Letters stand outside of the drawing, which is stretched to the width that there is.
    """
    points = [point for face in result.faces for point in _points(face)]
    frames = sorted({frame for frame, _, _ in points})
    span = max(frames[-1] - frames[0], 1)
    across = {frame: round(_WIDTH * (frame - frames[0]) / span) for frame in frames}
    by_frame: list[dict[int, list[float]]] = [{} for _ in range(models)]
    for frame, number, score in points:
        by_frame[number].setdefault(frame, []).append(score)
    lines = "".join(
        f'<polyline class="line{number % _STYLES}" points="'
        + " ".join(f"{across[frame]},{_height(np.mean(scores))}" for frame, scores in sorted(of_model.items()))
        + '"/>\n'
        for number, of_model in enumerate(by_frame)
    )
    dots = "".join(f"M{across[result.faces[place].frame]} {_height(score)}h0" for place, score in faces.items())
    label = f"Scores from frame {frames[0]} to frame {frames[-1]}; the video's is {result.score:.4f}"
    return f"""<div class="plot">
<div class="scale" aria-hidden="true"><span>1</span><span>0.5</span><span>0</span></div>
<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">
<path class="grid" d="M0 0h{_WIDTH}M0 {_HEIGHT // 2}h{_WIDTH}M0 {_HEIGHT}h{_WIDTH}"/>
<path class="score" d="M0 {_height(result.score)}h{_WIDTH}"/>
{lines}<path class="dots" d="{dots}"/>
</svg>
<div class="frames" aria-hidden="true"><span>frame {frames[0]}</span><span>frame {frames[-1]}</span></div>
</div>
"""


def _height(score: float) -> int:
    return round(_HEIGHT * (1 - score))


def _scores(result: VideoResult, models: list[str], strategy: str, faces: dict[int, float]) -> str:
    """The plot's legend, with the numbers: what each model, and all of them, make of the video."""
    by_model: list[list[float]] = [[] for _ in models]
    for face in result.faces:
        for _, number, score in _points(face):
            by_model[number].append(score)
    rows = [("score", "all models, mean", result.score, list(faces.values()))]
    rows += [
        (f"line{number % _STYLES}", name, score, scores)
        for number, (name, score, scores) in enumerate(zip(models, result.model_scores, by_model, strict=True))
        if scores
    ]
    body = "".join(
        f'<tr><th scope="row"><svg viewBox="0 0 32 8" aria-hidden="true"><path class="{line}" d="M0 4h32"/></svg>'
        f'{html_text(name)}</th><td class="number">{score:.4f}</td>'
        f'<td class="number">{min(scores):.3f} – {max(scores):.3f}</td></tr>\n'
        for line, name, score, scores in rows
    )
    return (
        f'<table class="scores">\n<thead><tr><th scope="col">Model</th><th scope="col" class="number">'
        f'Video ({html_text(strategy)})</th><th scope="col" class="number">Faces</th></tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table>\n"
    )


def _thumbnails(result: VideoResult, pictures: Pictures, people: Sequence[Person], faces: dict[int, float]) -> str:
    """The faces that are shown, person by person where there are several."""
    note = f'<p class="note">No pictures: {html_text(pictures.problem)}.</p>\n' if pictures.problem else ""
    crowded = any(face.face for face in result.faces)
    if len(people) < 2:
        return note + _faces(result, pictures, pictures.shown, faces, crowded)
    parts = []
    for person in people:
        shown = [place for place in pictures.shown if place in set(person.places)]
        if shown:
            parts += [f"<h3>{name_of(person)}</h3>\n", _faces(result, pictures, shown, faces, crowded)]
    return note + "".join(parts)


def _faces(
    result: VideoResult, pictures: Pictures, shown: Sequence[int], faces: dict[int, float], crowded: bool
) -> str:
    items = []
    for place in shown:
        face = result.faces[place]
        when = f"frames {face.frames[0]} to {face.frames[-1]}" if len(face.frames) > 1 else f"frame {face.frame}"
        name = when + (f", face {face.face + 1}" if crowded else "")
        if place in pictures.images:
            data = base64.b64encode(pictures.images[place]).decode()
            picture = f'<img loading="lazy" alt="{name}" src="data:image/webp;base64,{data}">'
        else:
            picture = '<span class="missing">no picture</span>'
        strip = " strip" if len(face.frames) > 1 else ""
        items.append(
            f'<li class="{level(faces[place])}{strip}">{picture}<span>{name}</span> <b>{faces[place]:.3f}</b></li>\n'
        )
    return f'<ul class="faces">\n{"".join(items)}</ul>\n'
