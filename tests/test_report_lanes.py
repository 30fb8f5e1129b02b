"""inference/report_lanes.py: who is in a video, when, and whose score counts."""

import re
from xml.etree import ElementTree

import pytest

from inference.pipeline import OK, VideoResult
from inference.report_lanes import lanes
from inference.video_people import people_of
from systems.sample import ScoredFace, Verdict


def mean_rule(faces):
    score = sum(face.probabilities[0] for face in faces) / len(faces)
    return Verdict(score=score, model_scores=[score])


def result_of(scores, frames=range(0, 300, 10)):
    """A face for each score at each frame, side by side; a score may be a function of the frame."""
    faces = [
        ScoredFace(
            frame=frame,
            face=number,
            bbox=(100 * number, 0, 100 * number + 60, 60),
            detector_score=0.9,
            probabilities=[score(frame) if callable(score) else score],
            seconds=(frame / 30, frame / 30),
        )
        for frame in frames
        for number, score in enumerate(scores)
    ]
    return VideoResult(video="a.mp4", status=OK, faces=faces)


def drawn(result, strategy="person"):
    people = people_of(result, mean_rule, followed=False, threshold=0.5)
    return "".join(lanes(result, people, strategy))


def test_nobody_no_lanes():
    assert drawn(VideoResult(video="a.mp4", status="no_face")) == ""


def test_one_person_is_told_without_disagreement():
    page = drawn(result_of([0.9]))
    assert "One person was followed; the video's score is that of person 0." in page and "disagree" not in page
    assert "never high" not in page and "high from 0.0 to 9.7 s" in page


def test_people_who_disagree_and_whose_score_counts():
    page = drawn(result_of([0.1, 0.9, 0.2]))
    assert "3 people were followed; the video's score is that of person 1" in page
    assert "<strong>They disagree</strong>: 1 of them above 0.5, from 0.100 to 0.900." in page
    assert re.findall(r'class="lane( counts)?"', page) == ["", " counts", ""]


def test_by_another_strategy_nobody_counts():
    page = drawn(result_of([0.1, 0.9]), strategy="confident")
    assert "the video's score is of all faces together" in page and "lane counts" not in page


def test_an_interval_is_drawn_where_it_is():
    """From 3.167 to 6.5 of 9.667 seconds: 328 to 672 of a thousand."""
    page = drawn(result_of([lambda frame: 0.9 if 100 <= frame < 200 else 0.1]))
    assert 'class="seen" d="M0 0h1000v10h-1000z"' in page
    assert 'class="high" d="M328 0h345v10h-345z"' in page and "high from 3.2 to 6.5 s" in page


def test_only_twenty_lanes_and_the_rest_is_told():
    page = drawn(result_of([number / 100 for number in range(23)]))
    assert page.count('class="lane') == 20 + page.count('class="lanes"')
    assert "3 more people, of lower scores, are in --tracks-csv." in page and "Person 2</span>" not in page


@pytest.mark.parametrize("scores", [[0.5], [0.1, 0.99, 0.5]])
def test_it_is_well_formed(scores):
    ElementTree.fromstring(f"<div>{drawn(result_of(scores))}</div>")
