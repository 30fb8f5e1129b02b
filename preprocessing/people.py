"""Who is seen in a video, where its id says so: no person should be on both sides of a split.

    dataset             a real video     its fake                              its people
    FaceForensics++     000              Deepfakes_000_003 or 000_003          000 and 003: each video shows another
    DeepFakeDetection   01__hugging      DeepFakeDetection_01_02__hugging__X   actors 01 and 02
    Celeb-DF            id0_0004         id0_id1_0004                          id0 and id1

A fake has the scene of its original and the face of someone else. Its id counts only where its original's fits it, so
that names of other datasets mean nothing here.
"""

import re

from preprocessing.data_root import Video

# a real video's id, that of its fakes, which holds the parts of it, and what a person is called
_PATTERNS = (
    (re.compile(r"(?P<person>[0-9]+)"), r"(?:.+_)?{person}_([0-9]+)", "{}"),
    (re.compile(r"(?P<person>[0-9]+)__(?P<rest>.+)"), r"(?:.+_)?{person}_([0-9]+)__{rest}__[^_]+", "actor {}"),
    (re.compile(r"(?P<person>id[0-9]+)_(?P<rest>[0-9]+)"), r"{person}_(id[0-9]+)_{rest}", "{}"),
)


def people_of(video: Video) -> frozenset[str]:
    """The people by names that are the same in all their videos; none where the id tells nothing.

    In FaceForensics++ these are the ids of its real videos, as its files of splits have them.
    """
    if video.is_fake and video.original is None:
        return frozenset()
    for real_id, fake_id, name in _PATTERNS:
        real = real_id.fullmatch(video.source)
        if real:
            parts = {key: re.escape(part) for key, part in real.groupdict().items()}
            fake = re.fullmatch(fake_id.format(**parts), video.id)
            return frozenset(name.format(person) for person in (real["person"], *(fake.groups() if fake else ())))
    return frozenset()
