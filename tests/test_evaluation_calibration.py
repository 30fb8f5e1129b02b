"""Calibration files: what they make of a score, whose scores they refuse, what is wrong with a file, and the words."""

import json

import numpy as np
import pytest

from evaluation.calibration import Calibration, in_words, load_calibration, ratio_text, write_calibration
from runtime.errors import InputError

CONTENT = {
    "version": 1,
    "project": {"version": "0.1.0", "commit": None, "changed": None},
    "date": "2026-01-31T12:00:00+00:00",
    "origin": {
        "system": "medics",
        "models": [{"name": "A", "sha256": "0123456789abcdef"}, {"name": "B", "sha256": "fedcba9876543210"}],
        "strategy": "mean",
        "settings": {"precision": "fp32", "frames": 32},
    },
    "data": {
        "submission": {"name": "s.csv", "sha256": "0" * 64},
        "labels": [{"name": "l.csv", "sha256": "1" * 64}],
        "videos": 3000,
        "fake": 2000,
        "real": 1000,
        "cluster_by": "original",
        "clusters": 20,
        "left_out": {"no_face": 1},
    },
    "cross_validation": {"folds": 5, "cllr": {"logistic": 0.4, "isotonic": 0.5}},
    "calibrator": {"method": "logistic", "slope": 1.0, "intercept": 0.0},
    "bounds": [-1.0, 1.5],
    "scores_seen": [0.05, 0.99],
}
MODELS = [["B", "fedcba9876543210"], ["other name", "0123456789abcdef"]]
ISOTONIC = {"method": "isotonic", "log_odds": [-1.0, 0.0, 1.0], "fake_share": [0.0, 0.5, 0.9]}


def made(**changes):
    return Calibration.model_validate_json(json.dumps({**CONTENT, **changes}))


def test_ratios_by_hand():
    """A slope of 1: the ratio is the odds of the score. 0.99 has 99 and 0.05 has 1/19, beyond the bounds."""
    values, outside = made().log10_lr(np.array([0.5, 0.9, 0.2, 0.99, 0.05, 1.0, 0.0]))
    np.testing.assert_allclose(values, [0, np.log10(9), -np.log10(4), 1.5, -1, 1.5, -1], atol=1e-12)
    assert outside.tolist() == [False] * 5 + [True] * 2
    assert made().at_bounds(values).tolist() == [False] * 3 + [True] * 4


def test_scores_outside_get_the_ratio_of_the_nearest_seen():
    calibration = made(scores_seen=[0.4, 0.6], bounds=[-3, 3])
    values, outside = calibration.log10_lr(np.array([0.4, 0.6, 0.39, 0.99]))
    np.testing.assert_allclose(values, np.log10([2 / 3, 3 / 2, 2 / 3, 3 / 2]), atol=1e-12)
    assert outside.tolist() == [False, False, True, True]


def test_isotonic_ratios_by_hand():
    """Half-way between two log-odds the share of fakes is half-way, too; a share of 0 is bounded."""
    scores = 1 / (1 + np.exp(-np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])))
    values, _ = made(calibrator=ISOTONIC, scores_seen=[0.01, 0.99], bounds=[-2, 3]).log10_lr(scores)
    np.testing.assert_allclose(values, [-2, -2, 0, np.log10(0.7 / 0.3), np.log10(9), np.log10(9)], atol=1e-12)


@pytest.mark.parametrize("score", [np.nan, -0.1, 1.1])
def test_no_probability(score):
    with pytest.raises(ValueError, match="from 0 to 1"):
        made().log10_lr(np.array([0.5, score]))


def test_its_own_scores_are_taken():
    """Names and order of the models don't count."""
    made().check("medics", MODELS, "mean")


@pytest.mark.parametrize(
    "system, models, strategy, message",
    [
        ("ntechlab", MODELS, "mean", "c.json: is for scores of system medics, these are ntechlab's; fit one"),
        (
            "medics",
            MODELS[:1],
            "mean",
            "c.json: is for scores of other models, A (01234567...), B (fedcba98...); these",
        ),
        ("medics", [MODELS[0], ["A", "0" * 16]], "mean", "these are of A (00000000...), B (fedcba98...); fit one"),
        ("medics", [*MODELS, MODELS[0]], "mean", "is for scores of other models"),
        ("medics", MODELS, "person", "c.json: is for scores of strategy mean, these are of person; fit one"),
    ],
)
def test_other_scores_are_refused(system, models, strategy, message):
    with pytest.raises(InputError) as error:
        made().check(system, models, strategy, "c.json")
    assert message in str(error.value)


def test_one_that_nobody_can_vouch_for_is_refused():
    with pytest.raises(InputError, match="can't be told whether it is for these"):
        made(origin=None).check("medics", MODELS, "mean")


def test_other_settings_are_told():
    assert made().other_settings({"precision": "bf16", "frames": 32, "size": 380}) == [
        "precision is bf16, was fp32",
        "size is 380, was None",
    ]


@pytest.mark.parametrize("calibrator", [CONTENT["calibrator"], ISOTONIC])
def test_written_and_read(tmp_path, calibrator):
    calibration = made(calibrator=calibrator)
    write_calibration(tmp_path / "c.json", calibration)
    assert load_calibration(tmp_path / "c.json") == calibration
    (tmp_path / "c.json").write_text((tmp_path / "c.json").read_text(), encoding="utf-8-sig")
    assert load_calibration(tmp_path / "c.json") == calibration


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
        ({"calibrator": {**CONTENT["calibrator"], "extra": 1}}, "calibrator.logistic.extra: Extra inputs"),
        ({"version": 2}, "version: Input should be 1"),
        (
            {"calibrator": {"method": "logistic", "slope": "1", "intercept": 0.0}},
            "slope: Input should be a valid number",
        ),
        ({"calibrator": {"method": "logistic", "slope": -1.0, "intercept": 0.0}}, "slope: Input should be greater"),
        ({"calibrator": {"method": "spline"}}, "calibrator: Input tag 'spline'"),
        ({"calibrator": {**ISOTONIC, "log_odds": [0.0, 0.0, 1.0]}}, "log_odds must rise"),
        ({"calibrator": {**ISOTONIC, "fake_share": [0.0, 0.6, 0.5]}}, "fake_share must not fall"),
        ({"calibrator": {**ISOTONIC, "fake_share": [0.0]}}, "must be of one length"),
        ({"bounds": [0.5, 1.0]}, "bounds must have 0 between them"),
        ({"bounds": [-1.0, 1e400]}, "bounds.1: Input should be"),
        ({"bounds": [-1.0, 3.03]}, "bounds are beyond what so many videos allow"),  # of 1000 real videos log10 of 1001
        ({"bounds": [-3.33, 1.0]}, "bounds are beyond what so many videos allow"),
        ({"data": {**CONTENT["data"], "real": 1001}}, "data.fake and data.real must be data.videos together"),
        ({"scores_seen": [0.9, 0.1]}, "scores_seen must rise"),
        ({"scores_seen": [0.1, 1.1]}, "scores_seen.1: Input should be less than or equal to 1"),
        ({"origin": {**CONTENT["origin"], "models": []}}, "origin.models: List should have at least 1 item"),
        ({"date": None}, "date: Input should be a valid string"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_files(tmp_path, changes, message):
    (tmp_path / "c.json").write_text(json.dumps({**CONTENT, **changes}))
    with pytest.raises(InputError) as error:
        load_calibration(tmp_path / "c.json")
    assert message in str(error.value) and "c.json: is no calibration, or damaged: " in str(error.value)
    assert str(error.value).endswith("; write it again with calibrate.py fit") and "\n" not in str(error.value)


def test_a_key_that_is_there_twice(tmp_path):
    text = json.dumps(CONTENT).replace('"bounds": [-1.0, 1.5]', '"bounds": [-2.0, 2.5], "bounds": [-1.0, 1.5]')
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match="or damaged: key bounds is there twice; write it again"):
        load_calibration(tmp_path / "c.json")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is no calibration, or damaged: the file: Invalid JSON"),
        (b"[" * 100_000, "is no calibration, or damaged: the file: Invalid JSON"),
        (json.dumps(CONTENT).encode()[:-9], "is no calibration, or damaged: the file: Invalid JSON"),
        (b"[]", "is no calibration, or damaged: the file: Input should be an object"),
        (b"\xff\xfe", "is no text"),
        (b" " * (1 << 21), "can't be read (has more than"),
    ],
    ids=["empty", "deep", "cut", "list", "bytes", "large"],
)
def test_what_is_no_calibration(tmp_path, content, message):
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_calibration(tmp_path / "c.json")
    assert f"--calibration {tmp_path / 'c.json'}: {message}" in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"gone.json: can't be read \(No such file or directory\); name a file"):
        load_calibration(tmp_path / "gone.json")


@pytest.mark.parametrize(
    "ratio, word, times",
    [
        (2, "weakly", "2"),
        (9.9, "weakly", "9.9"),
        (10, "moderately", "10"),
        (60, "moderately", "60"),
        (100, "moderately strongly", "100"),
        (994, "moderately strongly", "990"),
        (996, "strongly", "1,000"),
        (1e4, "very strongly", "10,000"),
        (2.34e6, "extremely strongly", "2,300,000"),
    ],
)
def test_words(ratio, word, times):
    """The word is that of the number that is told."""
    assert in_words(np.log10(ratio)) == (
        f"The score supports {word} that the video is fake rather than real: it is about {times} times as probable for "
        "a fake as for a real video."
    )
    assert in_words(-np.log10(ratio)) == (
        f"The score supports {word} that the video is real rather than fake: it is about {times} times as probable for "
        "a real as for a fake video."
    )


@pytest.mark.parametrize("log10_lr, ratio", [(0, "1"), (np.log10(1.9), "1.9"), (-np.log10(1.9), "0.53")])
def test_words_for_no_support(log10_lr, ratio):
    assert in_words(log10_lr) == (
        "The score supports neither that the video is fake nor that it is real: it is about as probable for a fake as "
        f"for a real video (likelihood ratio {ratio})."
    )


@pytest.mark.parametrize("log10_lr", [np.nan, np.inf, -np.inf])
def test_no_words_for_no_number(log10_lr):
    with pytest.raises(ValueError, match="no ratio"):
        in_words(log10_lr)


def test_ratios_as_text():
    assert [ratio_text(each) for each in (-2, -np.log10(3.14), 0, np.log10(1234))] == ["1/100", "1/3.1", "1", "1,200"]
