"""Folds: by part number as published, by original otherwise, never apart from the original."""

import csv
import json

import pytest

from preprocessing import generate_folds
from tests import data

HEADER = ["video", "file", "label", "original", "frame", "fold"]


def write_root(root, parts):
    """`parts`: {folder: {id: original or None}}; every video gets the crops 0_0 and 10_1, and some that don't count."""
    for part, videos in parts.items():
        (root / part).mkdir(parents=True)
        metadata = {}
        for video, original in videos.items():
            (root / part / f"{video}.mp4").touch()
            metadata[f"{video}.mp4"] = {
                "label": "FAKE" if original else "REAL",
                "original": f"{original}.mp4" if original else None,
            }
            crops = root / "crops" / video
            crops.mkdir(parents=True)
            for name in ("0_0.png", "10_1.png", "10_2.png", "15_0.png", "330_0.png"):
                (crops / name).touch()
        (root / part / "metadata.json").write_text(json.dumps(metadata))


def folds(root, *flags):
    code = generate_folds.main(["--root-dir", str(root), "--out", str(root / "folds.csv"), *flags])
    with open(root / "folds.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == HEADER
    return code, rows


def fold_of(rows):
    return {video: int(fold) for video, _, _, _, _, fold in rows}


def dfdc(*numbers):
    return {f"dfdc_train_part_{n}": {f"r{n}": None, f"f{n}": f"r{n}"} for n in numbers}


def test_rows(tmp_path):
    write_root(tmp_path, dfdc(0, 3))
    code, rows = folds(tmp_path)
    assert code == 0
    assert sorted(rows) == sorted(
        [video, name, label, f"r{part}", frame, fold]
        for part, fold in (("0", "0"), ("3", "1"))
        for video, label in ((f"r{part}", "0"), (f"f{part}", "1"))
        for name, frame in (("0_0.png", "0"), ("10_1.png", "10"), ("330_0.png", "330"))
    )


def test_published_split_with_16_folds(tmp_path):
    """50 // 16 = 3 parts a fold; the last fold runs to part 49."""
    write_root(tmp_path, dfdc(0, 1, 2, 3, 5, 6, 44, 45, 48, 49))
    _, rows = folds(tmp_path)
    expected = {0: 0, 1: 0, 2: 0, 3: 1, 5: 1, 6: 2, 44: 14, 45: 15, 48: 15, 49: 15}
    assert fold_of(rows) == {f"{kind}{part}": fold for part, fold in expected.items() for kind in "rf"}


def test_published_split_with_4_folds(tmp_path):
    """50 // 4 = 12 parts a fold."""
    write_root(tmp_path, dfdc(11, 12, 35, 36, 49))
    _, rows = folds(tmp_path, "--n_splits", "4")
    expected = {11: 0, 12: 1, 35: 2, 36: 3, 49: 3}
    assert fold_of(rows) == {f"{kind}{part}": fold for part, fold in expected.items() for kind in "rf"}


@pytest.mark.parametrize(
    "parts, reason",
    [
        ({"dfdc_train_part_0": {f"{n:03}": None for n in range(40)}}, "the part folders fill only fold 0 of 16"),
        ({"train_sample_videos": {f"{n:03}": None for n in range(40)}}, "not every part folder ends in a number"),
        (
            {"part_0": {f"{n:03}": None for n in range(20)}, "Celeb-real": {f"{n:03}": None for n in range(20, 40)}},
            "not every part folder ends in a number",
        ),
    ],
)
def test_by_original_where_part_numbers_do_not_do(tmp_path, capsys, parts, reason):
    """40 originals over 16 folds: eight folds get three, eight get two; fakes go with theirs."""
    first = next(iter(parts.values()))
    first.update({f"{original}_fake": original for original in list(first)})
    write_root(tmp_path, parts)
    _, rows = folds(tmp_path)
    assert f"folds: {reason}: 40 originals are shuffled (seed 777)" in capsys.readouterr().out
    by_video = fold_of(rows)
    originals = [fold for video, fold in by_video.items() if not video.endswith("_fake")]
    assert [originals.count(fold) for fold in range(16)] == [3] * 8 + [2] * 8
    for video, fold in by_video.items():
        assert fold == by_video[video.removesuffix("_fake")]
    assert all(row[0] == row[3] or row[0] == row[3] + "_fake" for row in rows)  # "004" stays "004"


def test_seed(tmp_path):
    write_root(tmp_path, {"sample": {f"{n:03}": None for n in range(20)}})
    first, same = folds(tmp_path)[1], folds(tmp_path)[1]
    other = folds(tmp_path, "--seed", "5")[1]
    assert first == same and first != sorted(first)
    assert fold_of(other) != fold_of(first)
    write_root(tmp_path / "b", dfdc(0, 3, 7))
    first, other = folds(tmp_path / "b")[1], folds(tmp_path / "b", "--seed", "5")[1]
    assert first != other and sorted(first) == sorted(other)  # the order of rows


def test_one_original(tmp_path, capsys):
    write_root(tmp_path, dfdc(0))
    assert set(fold_of(folds(tmp_path)[1]).values()) == {0}
    assert "there is one original: everything is in fold 0, and nothing is left to train on" in capsys.readouterr().out


def test_a_fake_apart_from_its_original_is_refused(tmp_path, capsys):
    write_root(tmp_path, {"part_0": {"a": None}, "part_2": {"b": "a"}, "part_3": {"c": "a", "d": None}})
    assert generate_folds.main(["--root-dir", str(tmp_path), "--out", str(tmp_path / "folds.csv")]) == 1
    err = capsys.readouterr().err
    assert "error: part_3/c.mp4: this fake is in fold 1, its original in part_0 is in fold 0; put both" in err
    assert not (tmp_path / "folds.csv").exists()


def test_fakes_of_unknown_origin_are_dealt_out_too(tmp_path):
    write_root(tmp_path, {"sample": {f"{n}": None for n in range(5)}})
    metadata = {f"{n}.mp4": {"label": "FAKE" if n % 2 else "REAL"} for n in range(5)}
    (tmp_path / "sample" / "metadata.json").write_text(json.dumps(metadata))
    _, rows = folds(tmp_path)
    assert sorted(fold_of(rows).values()) == [0, 1, 2, 3, 4]
    assert {(row[0], row[2], row[3]) for row in rows} == {(str(n), str(n % 2), str(n)) for n in range(5)}


def test_statistics(tmp_path, capsys):
    write_root(tmp_path, {**dfdc(0, 3), "part_1": {"x": None, "y": "x", "z": "x"}})
    folds(tmp_path)
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert (
        ["0", "2", "3", "6", "9"] in lines
        and ["1", "1", "1", "3", "3"] in lines
        and ["all", "3", "4", "9", "12"] in lines
    )
    assert "folds: 21 crops of 7 of 7 videos" in out


def test_videos_without_crops_are_told(processed_root, root, capsys):
    real, fake = data.pair(root)
    (root / "crops" / fake.id).rename(root / "away")
    code, rows = folds(root)
    out, err = capsys.readouterr()
    assert code == 1 and fake.id not in fold_of(rows) and real.id in fold_of(rows) and "noise" not in fold_of(rows)
    assert f"  failed: {fake.id}: {root}/crops/{fake.id}: no crops" in out and "folds: 1 failed, 0 left out" in err


def test_nothing_to_deal_out(root, capsys, tmp_path):
    (root / "crops").rename(root / "away")
    assert generate_folds.main(["--root-dir", str(root), "--out", str(tmp_path / "f.csv")]) == 1
    assert "no video has crops; run extract_crops.py" in capsys.readouterr().err
    assert not (tmp_path / "f.csv").exists()


def test_out_that_cannot_be_written(root, capsys):
    assert generate_folds.main(["--root-dir", str(root), "--out", str(root / "none" / "folds.csv")]) == 1
    assert (
        "none/folds.csv: can't be written (No such file or directory); choose another --out" in capsys.readouterr().err
    )


@pytest.mark.parametrize("splits", ["1", "51", "x"])
def test_bad_number_of_splits(root, capsys, splits):
    with pytest.raises(SystemExit, match="2"):
        generate_folds.main(["--root-dir", str(root), "--n_splits", splits])
    assert "is not a whole number from 2 to 50" in capsys.readouterr().err
