"""Labels by the one reader that all scripts share."""

import json
import os

import pytest

from preprocessing.labels import is_fake, parse_label, read_metadata


@pytest.mark.parametrize(
    "text, expected",
    [
        *[(text, False) for text in ("REAL", "real", "Real", "0", "0.0", " 0")],
        *[(text, True) for text in ("FAKE", "fake", "fAkE", "1", "1.0", "1e0")],
        *[(text, None) for text in ("", "label", "2", "-1", "0.5", "nan", "inf", "fakee", "真", "9" * 5000)],
    ],
)
def test_labels_of_a_csv(text, expected):
    assert parse_label(text) is expected


@pytest.mark.parametrize(
    "entry, expected",
    [
        ({"label": "REAL"}, False),
        ({"label": "Fake", "original": None}, True),
        ({"is_fake": 0, "augmentations": []}, False),
        ({"is_fake": 1}, True),
        ({"is_fake": True}, True),
        ({"is_fake": 0.0}, False),
        ({"label": None, "is_fake": False}, False),
        ({"label": "fake", "is_fake": None}, True),
        ({"label": "real", "is_fake": 0}, False),
    ],
)
def test_labels_of_an_entry(entry, expected):
    assert is_fake(entry) is expected


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "entry, message",
    [
        ({}, "label None must be REAL or FAKE"),
        ({"label": None, "is_fake": None}, "label None must be REAL or FAKE"),
        ({"label": 1}, "label 1 must be REAL or FAKE"),
        ({"label": True}, "label True must be REAL or FAKE"),
        ({"label": "0"}, "label '0' must be REAL or FAKE"),
        ({"label": "", "is_fake": 1}, "label '' must be REAL or FAKE"),
        ({"label": ["REAL"]}, "label ['REAL'] must be REAL or FAKE"),
        ({"label": "x" * 9999}, "must be REAL or FAKE"),
        ({"label": nested(900)}, "must be REAL or FAKE"),
        ({"label": {"label": "REAL"}}, "must be REAL or FAKE"),
        ({"is_fake": 2}, "is_fake 2 must be 0 or 1"),
        ({"is_fake": -1}, "is_fake -1 must be 0 or 1"),
        ({"is_fake": 0.5}, "is_fake 0.5 must be 0 or 1"),
        ({"is_fake": float("nan")}, "is_fake nan must be 0 or 1"),
        ({"is_fake": 10**4000}, "must be 0 or 1"),
        ({"is_fake": "1"}, "is_fake '1' must be 0 or 1"),
        ({"is_fake": [1]}, "is_fake [1] must be 0 or 1"),
        ({"is_fake": 7, "label": "REAL"}, "is_fake 7 must be 0 or 1"),
        ({"is_fake": 1, "label": "real"}, "label real and is_fake 1 contradict each other; leave the wrong one out"),
        ({"is_fake": False, "label": "FAKE"}, "label FAKE and is_fake False contradict each other"),
    ],
)
def test_entries_that_say_nothing(entry, message):
    with pytest.raises(ValueError) as error:
        is_fake(entry)
    assert message in str(error.value) and len(str(error.value)) < 200


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "metadata.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_entries_as_they_are(write, encoding):
    content = {"é.mp4": {"label": "REAL", "more": [{"a": 1}]}, "b": {}}
    assert read_metadata(write(json.dumps(content, ensure_ascii=False).encode(encoding))) == (content, {})


def test_keys_that_are_there_twice(write):
    """That deeper down is nothing that is read."""
    text = """{
        "a": {"label": "REAL"}, "b": {"label": "FAKE", "label": "FAKE"}, "c": {"x": {"y": 1, "y": 2}},
        "a": {"label": "REAL"}, "a": 3, "d": ["label"], "e": null
    }"""
    entries, problems = read_metadata(write(text))
    assert entries == {"c": {"x": {"y": 2}}}
    assert problems == {
        "a": 'the key "a" is there twice; leave one out',
        "b": 'the key "label" is there twice; leave one out',
        "d": 'must be an object such as {"label": "REAL"}',
        "e": 'must be an object such as {"label": "REAL"}',
    }


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is no JSON ("),
        (b"{", "is no JSON ("),
        (b"\xff\xfe\xfd", "is no JSON ("),
        (b'{"a": {"label": "\xe9"}}', "is no JSON ("),
        (b"[" * 99999, "is no JSON ("),
        (b'{"a":' * 99999, "is no JSON ("),
        (b'{"a": {"is_fake": ' + b"1" * 5000 + b"}}", "is no JSON ("),
        (b"[]", "must be an object with an entry for each video"),
        (b"null", "must be an object with an entry for each video"),
        (b'"FAKE"', "must be an object with an entry for each video"),
    ],
)
def test_files_that_make_no_sense(write, content, message):
    with pytest.raises(ValueError) as error:
        read_metadata(write(content))
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path, "Is a directory"), (tmp_path / "pipe", "is not a regular file")):
        with pytest.raises(OSError, match=message):
            read_metadata(path)
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    with pytest.raises(OSError, match="has more than 33554432 bytes, the most that such a file may have"):
        read_metadata(tmp_path / "large")
