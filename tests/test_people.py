"""Who is seen in a video, by its id and its original's."""

import pytest

from preprocessing.data_root import Video
from preprocessing.people import people_of


def people(name, original=None, *, fake=True):
    video = Video(id=name, part="p", path=f"p/{name}.mp4", is_fake=fake, original_name=original and f"{original}.avi")
    return people_of(video)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("000", {"000"}),
        ("01__exit_phone_room", {"actor 01"}),
        ("id0_0000", {"id0"}),
        ("00170", {"00170"}),
        ("aaagqkcdis", set()),
        ("clip_000", set()),
        ("000_003", set()),
        ("id0_id1_0000", set()),
    ],
)
def test_real_videos(name, expected):
    assert people(name, fake=False) == expected


@pytest.mark.parametrize(
    "name, original, expected",
    [
        ("Deepfakes_000_003", "000", {"000", "003"}),
        ("000_003", "000", {"000", "003"}),
        ("a_b_000_003", "000", {"000", "003"}),
        ("DeepFakeDetection_01_02__walk__YVGY8LOK", "01__walk", {"actor 01", "actor 02"}),
        ("01_02__walk_03_04__hug__YVGY8LOK", "01__walk_03_04__hug", {"actor 01", "actor 02"}),
        ("01_02__a.b(__X", "01__a.b(", {"actor 01", "actor 02"}),
        ("id0_id1_0000", "id0_0000", {"id0", "id1"}),
    ],
)
def test_fakes(name, original, expected):
    assert people(name, original) == expected


@pytest.mark.parametrize(
    "name, original, expected",
    [
        ("Deepfakes_000_003", "001", {"001"}),
        ("1000_003", "000", {"000"}),
        ("000_fake", "000", {"000"}),
        ("01_02__walk__X", "02__walk", {"actor 02"}),
        ("01_02__walk__X", "01__run", {"actor 01"}),
        ("01_02__aXb__X", "01__a.b", {"actor 01"}),
        ("id0_id1_0000", "id0_0001", {"id0"}),
        ("xid0_id1_0000", "id0_0000", {"id0"}),
        ("Deepfakes_000_003", "abc", set()),
        ("fzqpsxvwnr", "aaagqkcdis", set()),
    ],
)
def test_an_id_that_its_original_does_not_fit_adds_no_one(name, original, expected):
    assert people(name, original) == expected


@pytest.mark.parametrize("name", ["000", "Deepfakes_000_003", "id0_0000", "id0_id1_0000"])
def test_nothing_is_known_of_fakes_of_unknown_origin(name):
    assert people(name) == set()
