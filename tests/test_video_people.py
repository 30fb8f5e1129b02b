"""inference/video_people.py: persons, moments, intervals."""

import pytest

from inference.pipeline import OK, VideoResult
from inference.results import write_intervals, write_tracks
from inference.video_people import Moment, intervals_above, moments_of, people_of, smoothed
from systems.sample import ScoredFace, Verdict


def face(frame, score, *, x=100, number=0, models=1, **more):
    return ScoredFace(
        frame=frame,
        face=number,
        bbox=(x, 50, x + 60, 110),
        detector_score=0.9,
        probabilities=[score] * models,
        **{"seconds": (frame / 30, frame / 30), **more},
    )


def moments(scores, step=0.1):
    return [
        Moment(first_frame=3 * place, last_frame=3 * place, first=step * place, last=step * place, score=score)
        for place, score in enumerate(scores)
    ]


def mean_rule(faces):
    means = [sum(scores) / len(faces) for scores in zip(*(each.probabilities for each in faces), strict=True)]
    return Verdict(score=sum(means) / len(means), model_scores=means)


def spans(intervals):
    return [(round(each.start, 6), round(each.end, 6), each.start_frame, each.end_frame) for each in intervals]


def test_smoothing_takes_out_one_face_and_keeps_an_edge():
    """Nine moments lie within 0.4 seconds of one in the middle."""
    assert smoothed(moments([0.1] * 10 + [0.9] + [0.1] * 10)) == pytest.approx([0.1] * 21)
    assert smoothed(moments([0.1] * 10 + [0.9] * 11)) == pytest.approx([0.1] * 10 + [0.9] * 11)


def test_a_third_of_a_second_apart_three_moments_count():
    assert smoothed(moments([0.1, 0.9, 0.2, 0.8, 0.3], step=1 / 3)) == pytest.approx([0.5, 0.2, 0.8, 0.3, 0.55])


def test_an_interval_ends_half_way_between_two_looks():
    found = intervals_above(moments([0.1] * 10 + [0.9] * 10 + [0.1] * 10), 0.5)
    assert spans(found) == [(0.95, 1.95, 30, 57)] and found[0].peak == pytest.approx(0.9)


def test_an_interval_that_begins_with_the_track_or_ends_with_it():
    assert spans(intervals_above(moments([0.9] * 10 + [0.1] * 10), 0.5)) == [(0.0, 0.95, 0, 27)]
    assert spans(intervals_above(moments([0.1] * 10 + [0.9] * 10), 0.5)) == [(0.95, 1.9, 30, 57)]
    assert spans(intervals_above(moments([0.9] * 20), 0.5)) == [(0.0, 1.9, 0, 57)]


def test_the_threshold_itself_is_not_above():
    assert intervals_above(moments([0.5] * 20), 0.5) == [] and intervals_above([], 0.5) == []
    assert len(intervals_above(moments([0.5] * 20), 0.49)) == 1


def test_two_intervals_of_different_peaks():
    found = intervals_above(moments([0.6] * 10 + [0.1] * 10 + [0.7] * 10), 0.5)
    assert [round(each.peak, 6) for each in found] == [0.6, 0.7]


def test_a_face_for_all_models_is_one_moment():
    (moment,) = moments_of([face(30, 0.2, models=2)])
    assert (moment.first_frame, moment.last_frame, moment.first, moment.score) == (30, 30, 1.0, pytest.approx(0.2))


def test_a_sequence_with_a_probability_for_each_frame():
    sequence = face(0, 0, frames=(0, 2, 4), model=2, seconds=(0.0, 4 / 30))
    sequence.probabilities[:] = [0.1, 0.2, 0.3]
    single = face(2, 0.8, model=0)
    found = moments_of([sequence, single])
    assert [each.first_frame for each in found] == [0, 2, 4]
    assert [each.score for each in found] == pytest.approx([0.1, 0.5, 0.3])
    assert found[1].first == pytest.approx(2 / 30, abs=1e-6)


def test_a_clip_is_one_moment_from_its_first_frame_to_its_last():
    (moment,) = moments_of([face(0, 0.7, frames=tuple(range(90)), model=0, seconds=(0.0, 89 / 30))])
    assert (moment.first_frame, moment.last_frame, moment.first, moment.last) == (0, 89, 0.0, 89 / 30)


@pytest.fixture
def result():
    faces = []
    for frame in range(0, 300, 10):
        faces += [
            face(frame, 0.9 if 100 <= frame < 200 else 0.1, models=2),
            face(frame, 0.2, x=300, number=1, models=2),
        ]
    return VideoResult(video="a, b.mp4", status=OK, faces=faces)


def test_people_of_a_video(result):
    first, second = people_of(result, mean_rule, followed=False, threshold=0.5)
    assert (first.track, first.faces, first.bbox) == (0, 30, (100, 50, 160, 110))
    assert (first.first_frame, first.last_frame) == (0, 290) and first.last_second == pytest.approx(29 / 3)
    assert first.score == pytest.approx((10 * 0.9 + 20 * 0.1) / 30) and second.score == pytest.approx(0.2)
    (interval,) = first.intervals
    assert (interval.start_frame, interval.end_frame) == (100, 190) and second.intervals == []
    assert interval.start == pytest.approx(95 / 30, abs=1e-6) and interval.end == pytest.approx(195 / 30, abs=1e-6)


def test_nobody(result):
    nobody = VideoResult(video="b.mp4", status="no_face")
    assert people_of(nobody, mean_rule, followed=False, threshold=0.5) == []


def test_csv_files(result, tmp_path):
    people = {result.video: people_of(result, mean_rule, followed=False, threshold=0.5), "none.mp4": []}
    write_tracks(tmp_path / "t.csv", people, ["m1", "m2"])
    header, first, second = (tmp_path / "t.csv").read_text().splitlines()
    assert header == "video,track,first_frame,last_frame,first_second,last_second,faces,x1,y1,x2,y2,m1,m2,score"
    assert first.startswith('"a, b.mp4",0,0,290,0.0,9.6') and ",30,100,50,160,110," in first
    assert second.split(",")[2] == "1" and float(second.split(",")[-1]) == pytest.approx(0.2)
    write_intervals(tmp_path / "i.csv", people)
    header, row = (tmp_path / "i.csv").read_text().splitlines()
    assert header == "video,track,start,end,peak,start_frame,end_frame"
    assert row.startswith('"a, b.mp4",0,3.166667,6.5,0.9') and row.endswith(",100,190")
