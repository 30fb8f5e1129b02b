"""systems/tracks.py: people by where and when their faces are."""

import numpy as np
import pytest

from systems.sample import HowScored, ScoredFace, Verdict
from systems.tracks import (
    LEAST_FACES,
    Tracker,
    how_by_person,
    overlap,
    person_tracks,
    tracks_of,
    verdict_by_person,
    worst_track,
)

SIDE = 60


def face(frame, x, y=100, *, number=0, score=0.5, rate=30, side=SIDE, **more):
    second = frame / rate
    return ScoredFace(
        frame=frame,
        face=number,
        bbox=(round(x), round(y), round(x) + side, round(y) + side),
        detector_score=0.99,
        probabilities=[score],
        seconds=(second, second),
        **more,
    )


def mean_rule(faces):
    score = float(np.mean([each.probabilities for each in faces]))
    return Verdict(score=score, model_scores=[score])


def walk(places, frames=range(0, 300, 10)):
    """Faces of people whose x is a function of the frame (None: not seen), those of a frame numbered from 0."""
    faces, who = [], []
    for frame in frames:
        seen = [(person, place(frame)) for person, place in enumerate(places) if place(frame) is not None]
        for number, (person, x) in enumerate(seen):
            faces.append(face(frame, x, number=number))
            who.append(person)
    return faces, who


def people_by_track(faces, who):
    found = {}
    for track, person in zip(tracks_of(faces, followed=False), who, strict=True):
        if track is not None:
            found.setdefault(track, set()).add(person)
    return found


def test_people_who_sit_side_by_side_a_third_of_a_second_apart():
    faces, who = walk([lambda f: 100, lambda f: 190, lambda f: 280])
    assert people_by_track(faces, who) == {0: {0}, 1: {1}, 2: {2}}


def test_one_who_walks_is_one_person():
    faces, who = walk([lambda f: 50 + 3 * f])  # half a face from look to look
    assert people_by_track(faces, who) == {0: {0}}


def test_one_who_hides_for_less_than_a_second_is_taken_up_again():
    faces, who = walk([lambda f: None if 100 <= f < 120 else 100])
    assert people_by_track(faces, who) == {0: {0}}
    faces, who = walk([lambda f: None if 100 <= f < 140 else 100])
    assert people_by_track(faces, who) == {0: {0}, 1: {0}}


@pytest.mark.parametrize("speed", [0.7, 1.1, 1.9, 2.6])
@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("step", [3, 10])
def test_no_track_has_two_of_those_who_cross(speed, hidden, step):
    """The one behind is not seen while the faces overlap."""

    def there(frame):
        return 50 + speed * frame

    def back(frame):
        x = 50 + speed * 290 - speed * frame
        return None if hidden and abs(x - there(frame)) < 0.7 * SIDE else x

    faces, who = walk([there, back], range(0, 300, step))
    found = people_by_track(faces, who)
    assert all(len(people) == 1 for people in found.values())
    assert {person for people in found.values() for person in people} == {0, 1}


@pytest.mark.parametrize("step", [3, 10])
def test_no_track_has_two_of_those_who_meet_and_turn_back(step):
    def there(frame):
        return 100 + 1.2 * min(frame, 290 - frame)

    def back(frame):
        x = 450 - 1.2 * min(frame, 290 - frame)
        return None if abs(x - there(frame)) < 0.7 * SIDE else x

    faces, who = walk([there, back], range(0, 300, step))
    assert all(len(people) == 1 for people in people_by_track(faces, who).values())


def test_boxes_that_lie_apart_are_two_people():
    faces = [face(frame, 100 if frame < 150 else 400) for frame in range(0, 300, 10)]
    assert tracks_of(faces, followed=False) == [0] * 15 + [1] * 15


def test_a_box_of_another_size_is_another_person():
    faces = [face(frame, 100, side=60 if frame < 150 else 130) for frame in range(0, 300, 10)]
    assert tracks_of(faces, followed=False) == [0] * 15 + [1] * 15


def test_looks_that_are_far_apart_link_what_stays():
    """Ten seconds from look to look: half of the boxes must be the same."""
    faces = [face(frame, 100 + (frame // 300) % 2 * 10) for frame in range(0, 3000, 300)]
    assert tracks_of(faces, followed=False) == [0] * 10
    faces = [face(frame, 100 + (frame // 300) % 2 * 35) for frame in range(0, 3000, 300)]
    assert tracks_of(faces, followed=False) == [None] * 10


def test_a_face_or_two_are_no_track():
    faces = [face(frame, 100) for frame in (0, 10, 20)] + [face(frame, 400, number=1) for frame in (10, 20)]
    faces.sort(key=lambda each: each.frame)
    assert LEAST_FACES == 3
    assert tracks_of(faces, followed=False) == [0, 0, None, 0, None]


def test_without_times_frames_are_a_thirtieth_of_a_second():
    with_times, _ = walk([lambda f: None if 100 <= f < 120 else 100, lambda f: 300])
    without = [ScoredFace(**{**vars(each), "seconds": ()}) for each in with_times]
    assert tracks_of(without, followed=False) == tracks_of(with_times, followed=False)


def test_what_a_system_has_followed_stays_together_and_is_joined():
    """Faces 3 and 5 are one person's, with a gap; 4 is seen at the same time elsewhere, and moves."""
    faces = [face(frame, 100, number=3) for frame in range(0, 60, 2)]
    faces += [face(frame, 300 + frame, number=4) for frame in range(0, 120, 2)]
    faces += [face(frame, 104, number=5) for frame in range(70, 120, 2)]
    numbers = tracks_of(faces, followed=True)
    assert numbers == [3] * 30 + [4] * 60 + [3] * 25


def test_followed_faces_that_overlap_in_time_are_not_joined():
    faces = [face(frame, 100, number=0) for frame in range(0, 60, 2)]
    faces += [face(frame, 104, number=1) for frame in range(51, 120, 2)]
    assert set(tracks_of(faces, followed=True)) == {0, 1}


def test_clips_of_the_parts_of_a_video_are_joined():
    """A clip a part and a model, as one sample of many frames."""
    faces = [
        ScoredFace(
            frame=first,
            face=number,
            bbox=(100, 100, 200, 200),
            detector_score=0.9,
            probabilities=[0.5],
            frames=tuple(range(first, first + 99)),
            model=model,
            seconds=(first / 30, (first + 98) / 30),
        )
        for number, first in enumerate((0, 100, 200))
        for model in (0, 1)
    ]
    assert tracks_of(faces, followed=True) == [0] * 6


def test_the_worst_person_counts():
    faces, who = walk([lambda f: 100, lambda f: 300, lambda f: 500])
    fake = {0: 0.02, 1: 0.99, 2: 0.02}
    faces = [ScoredFace(**{**vars(each), "probabilities": [fake[w]]}) for each, w in zip(faces, who, strict=True)]
    assert mean_rule(faces).score == pytest.approx(0.343, abs=0.001)
    verdict = verdict_by_person(mean_rule, followed=False)(faces)
    assert verdict.score == pytest.approx(0.99) and verdict.model_scores == [verdict.score]
    tracks = person_tracks(faces, mean_rule, followed=False)
    assert [round(track.verdict.score, 6) for track in tracks] == [0.02, 0.99, 0.02]
    assert worst_track(tracks).number == 1 and [faces[place].bbox[0] for place in tracks[1].places] == [300] * 30


def test_where_nobody_can_be_followed_all_faces_count():
    faces = [face(0, 100, score=0.2), face(10, 500, score=0.6)]
    assert verdict_by_person(mean_rule, followed=False)(faces).score == pytest.approx(0.4)
    assert worst_track([]) is None


def test_a_tracker_that_is_given_every_look_knows_how_far_they_are_apart():
    tracker = Tracker()
    box = (100, 100, 160, 160)
    assert tracker.look(0.0, [box]) == [0] and tracker.look(4.0, [box]) == [0]
    assert tracker.look(8.0, []) == [] and tracker.look(12.0, [box]) == [1]


def test_overlap_by_hand():
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0 == overlap((0, 0, 10, 10), (30, 30, 40, 40))


def test_how_it_is_told():
    how = how_by_person(HowScored(strategy="mean", verdict="the mean", frames="all"))
    assert how.strategy == "person" and "the mean" in how.verdict and how.frames == "all"
