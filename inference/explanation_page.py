"""The page of an explanation: one HTML file for a person, that needs nothing beside itself and no network.

It runs no script. What comes from outside (names of files and models, notes) goes through `html_text`.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Template

import numpy as np

from inference.explained_faces import ExplainedFace
from inference.explanation_pictures import FRAMES, face_picture, heat_picture
from inference.heat import SHARE, Deletion
from runtime.files import whole_file
from runtime.html_text import html_text, policy_hash

GRADCAM, OCCLUSION = METHODS = ("gradcam", "occlusion")
_HEAT = {
    GRADCAM: "Grad-CAM of the models' last convolutional features, computed in PyTorch in fp32, of the face and of its "
    "mirror image; the mean over the models that saw it, each model's hottest place as 1, weighted as the models are "
    "in the score",
    OCCLUSION: "occlusion: by how much a black square, a quarter of the face wide and high, lowers the score where it "
    "lies; the mean over the squares on a pixel, of a clip in all frames alike",
}
FAKE = 0.5  # a face above it looks rather fake than real


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A face with its heat, float32 (t, h, w) from 0 to 1. `deletion` is None where there is no heat to be tested;
    `frame`: a picture (WebP) of its first frame, with its box."""

    face: ExplainedFace
    heat: np.ndarray
    deletion: Deletion | None
    frame: bytes


@dataclass(frozen=True, kw_only=True)
class About:
    """What was explained and how: `video` is the file's name, `models` maps names to SHA-256, `score` is the video's
    and `verdict` says how it comes from the faces'; `faces` counts those of which the highest were chosen."""

    video: str
    digest: str
    score: float
    verdict: str
    models: Mapping[str, str]
    faces: int
    method: str
    draws: int
    precision: str
    engine: str
    notes: Sequence[str] = ()


def write_explanation(path: str | os.PathLike, about: About, explanations: Sequence[Explanation]) -> None:
    """Write the page, whole or not at all. Raises OutputError."""
    with whole_file(path, "choose another --out, or free some space") as temporary:
        temporary.write_text(page(about, explanations), encoding="utf-8", newline="\n")


def page(about: About, explanations: Sequence[Explanation]) -> str:
    folder = Path(__file__).parent
    style = "".join((folder / name).read_text(encoding="utf-8") for name in ("report.css", "explanation.css"))
    names = list(about.models)
    return Template((folder / "explanation.html").read_text(encoding="utf-8")).substitute(
        style=style,
        style_hash=policy_hash(style),
        video=html_text(about.video),
        digest=html_text(about.digest),
        summary=" ".join(summary(explanations)),
        notes="".join(f'<p class="note">Note: {html_text(note)}.</p>\n' for note in about.notes),
        score=f"{about.score:.4f}",
        verdict=html_text(about.verdict),
        models="".join(
            f"<li>{html_text(name)} <small>SHA-256 {html_text(digest)}</small></li>\n"
            for name, digest in about.models.items()
        ),
        chosen=f"the {len(explanations)} with the highest scores of {about.faces}, a face's score being the mean of "
        "its models' probabilities that it is fake",
        method=_HEAT[about.method],
        test=f"the hottest {SHARE:.0%} of a face's pixels are blacked out, and for comparison the same shape at "
        f"{about.draws} other places, drawn with a fixed seed",
        precision=html_text(f"{about.precision} ({about.engine}) for scores"),
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
        faces="".join(_face(number, each, names, about.method) for number, each in enumerate(explanations, start=1)),
    )


def summary(explanations: Sequence[Explanation]) -> list[str]:
    """What came out, in sentences."""
    held = sum(each.deletion is not None and each.deletion.holds for each in explanations)
    sentences = [f"The heat of {held} of {len(explanations)} faces passes the deletion test."]
    highest = max(each.face.score for each in explanations)
    if highest <= FAKE:
        sentences.append(
            f"No face looks fake to the models: the highest score is {highest:.3f}. The heat shows what little speaks "
            "for a fake."
        )
    return sentences


def _face(number: int, explanation: Explanation, models: Sequence[str], method: str) -> str:
    face = explanation.face
    when = _when(face)
    clip = " clip" if len(face.pixels) > 1 else ""
    x1, y1, x2, y2 = face.scored[0].bbox
    return f"""<section class="explained">
<h2>Face {number}: {when}, score {face.score:.3f}</h2>
<p class="where">Box from {x1}, {y1} to {x2}, {y2} in pixels of the frame{_mirrored(face)}.</p>
<div class="sides">
<div>
<div class="pictures{clip}">
{_pictures(explanation)}</div>
<p class="scale" aria-hidden="true"><span>coolest</span><i></i><span>hottest</span></p>
{_test(explanation, method)}
</div>
<div>
<figure class="frame"><img alt="The frame with the face's box" src="{_data(explanation.frame)}">
<figcaption>The frame, and where the face is in it</figcaption></figure>
{_by_model(face, models)}</div>
</div>
</section>
"""


def _when(face: ExplainedFace) -> str:
    frames, seconds = face.frames, face.scored[0].seconds
    if len(frames) == 1:
        return f"frame {frames[0]}" + (f", at {seconds[0]:.2f} s" if seconds else "")
    return f"frames {frames[0]} to {frames[-1]}" + (f", {seconds[0]:.2f} to {seconds[-1]:.2f} s" if seconds else "")


def _mirrored(face: ExplainedFace) -> str:
    return "; the models saw it mirrored, it is shown as it is in the video" if face.samples[0].flipped else ""


def _pictures(explanation: Explanation) -> str:
    face, test = explanation.face, explanation.deletion
    flipped = face.samples[0].flipped
    count = min(len(face.pixels), FRAMES)
    of_clip = f", {count} of {len(face.pixels)} frames" if len(face.pixels) > 1 else ""
    shown = {
        f"The face as the models get it{of_clip}": face_picture(face.pixels, flipped=flipped),
        "Heat over it": heat_picture(face.pixels, explanation.heat, flipped=flipped),
    }
    if test:
        shown[f"The hottest {test.share:.0%} blacked out"] = face_picture(test.pixels, flipped=flipped)
    return "".join(
        f'<figure><img alt="{caption}" src="{_data(picture)}"><figcaption>{caption}</figcaption></figure>\n'
        for caption, picture in shown.items()
    )


def _test(explanation: Explanation, method: str) -> str:
    test = explanation.deletion
    if test is None:
        return (
            '<p class="test fails"><strong>No heat, no test.</strong> Nothing in this face speaks for a fake that the '
            "method can show.</p>"
        )
    hottest, elsewhere = (_moved(test.before - after) for after in (test.hottest, test.random))
    numbers = (
        f"Blacking out the hottest {test.share:.0%} {hottest}, from {test.before:.3f} to {test.hottest:.3f}; blacking "
        f"out as many pixels elsewhere {elsewhere} on the mean of {test.draws} draws, to {test.random:.3f}."
    )
    if test.holds:
        return f'<p class="test holds"><strong>Deletion test passed.</strong> {numbers}</p>'
    other = f" Try --method {OCCLUSION}." if method == GRADCAM else ""
    return (
        f'<p class="test fails"><strong>Deletion test not passed: don’t rely on this heat.</strong> {numbers} The '
        f"score hangs no more on the hot pixels than on others.{other}</p>"
    )


def _moved(drop: float) -> str:
    return f"lowers the score by {drop:.3f}" if drop >= 0 else f"raises the score by {-drop:.3f}"


def _by_model(face: ExplainedFace, models: Sequence[str]) -> str:
    """A table of what each model that saw the face says of it."""
    if face.scored[0].model is None:
        rows = list(zip(models, face.scored[0].probabilities, strict=True))
    else:
        rows = [(models[each.model], float(np.mean(each.probabilities))) for each in face.scored]
    body = "".join(
        f'<tr><th scope="row">{html_text(name)}</th><td class="number">{score:.4f}</td></tr>\n' for name, score in rows
    )
    head = '<tr><th scope="col">Model</th><th scope="col" class="number">P(fake) of this face</th></tr>'
    return f'<table class="by-model">\n<thead>{head}</thead>\n<tbody>\n{body}</tbody>\n</table>\n'


def _data(picture: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"
