"""Folds: by part number as published, by original otherwise, never apart from the original."""

import csv
import json
import random

import pytest

from preprocessing import generate_folds
from systems.seferbekov.folds import read_folds, training_rows, validation_rows
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


def test_originals_without_known_people_are_dealt_out_one_by_one(tmp_path):
    """As it always was: the same folds for the same seed."""
    names = [f"video{number}" for number in range(20)]
    write_root(tmp_path, {"sample": dict.fromkeys(names)})
    expected = sorted(names)
    random.Random(777).shuffle(expected)
    assert fold_of(folds(tmp_path)[1]) == {name: place % 16 for place, name in enumerate(expected)}


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


def fakes_of(people, method="Deepfakes"):
    """A real video of each of a list of numbers, and the fakes that FaceForensics++ makes of neighbours in it."""
    reals = dict.fromkeys(people)
    pairs = [pair for a, b in zip(people[::2], people[1::2], strict=True) for pair in ((a, b), (b, a))]
    return {"ffpp_youtube": reals, f"ffpp_{method}": {f"{method}_{a}_{b}": a for a, b in pairs}}


def numbers(count):
    return [f"{number:03}" for number in range(count)]


def test_a_fakes_source_is_in_its_fold_too(tmp_path, capsys):
    """FaceForensics++: 10 pairs over 4 folds, 3, 3, 2 and 2; by original alone pairs would be parted."""
    write_root(tmp_path, fakes_of(numbers(20)))
    code, rows = folds(tmp_path, "--n_splits", "4")
    out = capsys.readouterr().out
    assert code == 0 and "folds: originals that share people stay together: 10 groups, the largest of 2\n" in out
    by_video = fold_of(rows)
    for number in range(0, 20, 2):
        a, b = f"{number:03}", f"{number + 1:03}"
        assert len({by_video[name] for name in (a, b, f"Deepfakes_{a}_{b}", f"Deepfakes_{b}_{a}")}) == 1
    originals = [fold for video, fold in by_video.items() if video.isdecimal()]
    assert [originals.count(fold) for fold in range(4)] == [6, 6, 4, 4]


def test_plain_names_and_chains_of_people(tmp_path, capsys):
    """000 lends its face to 001, which lends its to 002: all three stay together."""
    videos = {**dict.fromkeys(numbers(6)), "001_000": "001", "002_001": "002", "003_003x": "003"}
    write_root(tmp_path, {"sample": videos})
    by_video = fold_of(folds(tmp_path)[1])
    assert len({by_video[name] for name in ("000", "001", "002", "001_000", "002_001")}) == 1
    assert len({by_video[name] for name in ("000", "003", "004", "005")}) == 4
    assert "4 groups, the largest of 3" in capsys.readouterr().out
    assert by_video["000"] == 0  # the largest group comes first


def test_identities_of_celeb_df(tmp_path):
    """All videos of an identity belong together, and those of whoever its face was given to."""
    parts = {
        "Celeb-real": dict.fromkeys(["id0_0000", "id0_0001", "id1_0000", "id2_0000", "id2_0005", "id30_0000"]),
        "Celeb-synthesis": {"id0_id1_0001": "id0_0001"},
        "YouTube-real": dict.fromkeys(["00000", "00001"]),
    }
    write_root(tmp_path, parts)
    by_video = fold_of(folds(tmp_path)[1])
    assert len({by_video[name] for name in ("id0_0000", "id0_0001", "id1_0000", "id0_id1_0001")}) == 1
    assert by_video["id2_0000"] == by_video["id2_0005"]
    assert len({by_video[name] for name in ("id0_0000", "id2_0000", "id30_0000", "00000", "00001")}) == 5


def test_actors_of_deepfakedetection(tmp_path):
    parts = {
        "ffpp_actors": dict.fromkeys(["01__walk", "01__hug", "02__walk", "03__walk"]),
        "ffpp_DeepFakeDetection": {"DeepFakeDetection_01_02__walk__ABC": "01__walk"},
        "ffpp_youtube": dict.fromkeys(["01", "02"]),
    }
    write_root(tmp_path, parts)
    by_video = fold_of(folds(tmp_path)[1])
    together = ("01__walk", "01__hug", "02__walk", "DeepFakeDetection_01_02__walk__ABC")
    assert len({by_video[name] for name in together}) == 1
    assert len({by_video[name] for name in ("01__walk", "03__walk", "01", "02")}) == 4


def test_one_group(tmp_path, capsys):
    write_root(tmp_path, fakes_of(numbers(2)))
    assert set(fold_of(folds(tmp_path)[1]).values()) == {0}
    assert "there is one group: everything is in fold 0, and nothing is left to train on" in capsys.readouterr().out


def test_all_fakes_in_one_fold_are_told(tmp_path, capsys):
    videos = fakes_of(numbers(2))
    videos["ffpp_youtube"] |= dict.fromkeys(["100", "101"])
    write_root(tmp_path, videos)
    folds(tmp_path)
    out = capsys.readouterr().out
    assert "folds: all fakes are in fold 0: no other has any to train on\n" in out and "all real videos" not in out


def test_the_published_split_of_the_dfdc_knows_no_people(tmp_path, capsys):
    write_root(tmp_path, {"part_0": {"000": None, "000_001": "000"}, "part_49": {"001": None}})
    assert fold_of(folds(tmp_path)[1]) == {"000": 0, "000_001": 0, "001": 15}
    assert "people" not in capsys.readouterr().out


def write_splits(folder, **splits):
    folder.mkdir(exist_ok=True)
    for name, content in splits.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


SPLITS = {"val": [["000", "001"]], "train": [["002", "003"], ["005", "004"]], "test": [["006", "007"]]}


@pytest.mark.parametrize("as_files", [True, False])
def test_splits_as_published(tmp_path, capsys, as_files):
    write_root(tmp_path, fakes_of(numbers(8)))
    folder = write_splits(tmp_path / "splits", **SPLITS)
    paths = [str(folder / f"{name}.json") for name in SPLITS] if as_files else [str(folder)]
    code, rows = folds(tmp_path, "--splits", *paths)
    assert code == 0
    expected = dict(zip(numbers(8), [0, 0, 1, 1, 1, 1, -1, -1], strict=True))
    by_video = fold_of(rows)
    assert {video: fold for video, fold in by_video.items() if video.isdecimal()} == expected
    fakes = {video: fold for video, fold in by_video.items() if not video.isdecimal()}
    assert len(fakes) == 8 and all(fold == expected[video.split("_")[1]] for video, fold in fakes.items())
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["-1", "2", "2", "6", "6"] in table and ["1", "4", "4", "12", "12"] in table


def test_training_takes_the_published_train_split_alone(tmp_path):
    write_root(tmp_path, fakes_of(numbers(8)))
    folds(tmp_path, "--splits", str(write_splits(tmp_path / "splits", **SPLITS)))
    table = read_folds(tmp_path / "folds.csv")
    assert {row.original for row in training_rows(table, fold=0, epoch=0, seed=1)} == {"002", "003", "004", "005"}
    assert {row.original for row in validation_rows(table, fold=0)} == {"000", "001"}


def test_what_no_split_has_is_left_out_and_told(tmp_path, capsys):
    videos = fakes_of(numbers(8))
    videos["ffpp_youtube"] |= {"100": None}
    videos["ffpp_Deepfakes"] |= {"Deepfakes_000_002": "000", "Deepfakes_002_100": "002", "Deepfakes_002_005": "002"}
    videos["ffpp_actors"] = {"01__walk": None}
    write_root(tmp_path, videos)
    code, rows = folds(tmp_path, "--splits", str(write_splits(tmp_path / "splits", **SPLITS)))
    out, err = capsys.readouterr()
    assert code == 1 and "error: folds: 0 failed, 4 left out" in err
    unnamed = "it, or someone in it, is in no file of --splits"
    for line in (
        "ffpp_Deepfakes/Deepfakes_000_002.mp4: its people are in different splits, train and val",
        f"ffpp_Deepfakes/Deepfakes_002_100.mp4: {unnamed}",
        f"ffpp_youtube/100.mp4: {unnamed}",
        f"ffpp_actors/01__walk.mp4: {unnamed}",
    ):
        assert f"  left out: {line}\n" in out
    by_video = fold_of(rows)
    assert len(by_video) == 17 and by_video["Deepfakes_002_005"] == 1 and "folds: 51 crops of 17 of 21 videos" in out


def test_some_of_the_splits(tmp_path, capsys):
    """Of the others it is not known whether a file that was not given has them."""
    write_root(tmp_path, fakes_of(numbers(8)))
    folder = write_splits(tmp_path / "splits", ffpp_val=SPLITS["val"], TRAIN=SPLITS["train"])
    code, rows = folds(tmp_path, "--splits", str(folder / "ffpp_val.json"), str(folder / "TRAIN.json"))
    assert code == 0 and set(fold_of(rows).values()) == {0, 1}
    assert "folds: 4 videos are not in the split(s) val, train and left out\n" in capsys.readouterr().out
    code, rows = folds(tmp_path, "--splits", str(folder / "ffpp_val.json"))
    assert code == 0 and set(fold_of(rows).values()) == {0}
    assert "no video is in train.json, fold 1: training needs train and val" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("val", "{", "val.json: is no JSON ("),
        ("val", "[" * 99999, "val.json: is no JSON ("),
        ("val", "{}", 'val.json: must be a list of pairs such as ["720", "672"]; get it again'),
        ("val", [], "val.json: must be a list of pairs"),
        ("val", ["000", "001"], "val.json: must be a list of pairs"),
        ("val", ["00", "01"], "val.json: must be a list of pairs"),
        ("val", [["000"]], "val.json: must be a list of pairs"),
        ("val", [["000", 1]], "val.json: must be a list of pairs"),
        ("val", [["000", ["001"]]], "val.json: must be a list of pairs"),
        ("val", [["000", "002"]], "train.json: 002 is in "),
        ("test", [["006", "007"], ["001", "006"]], "test.json: 001 is in "),
    ],
)
def test_splits_that_make_no_sense(tmp_path, capsys, name, content, message):
    write_root(tmp_path, fakes_of(numbers(8)))
    folder = write_splits(tmp_path / "splits", **{**SPLITS, name: content})
    error = splits_error(tmp_path, capsys, folder)
    assert error.startswith(f"error: --splits {folder}/") and message in error


def splits_error(root, capsys, *paths):
    """The one line of a run that wrote nothing."""
    flags = ["--root-dir", str(root), "--out", str(root / "folds.csv"), "--splits", *map(str, paths)]
    assert generate_folds.main(flags) == 1 and not (root / "folds.csv").exists()
    err = [line for line in capsys.readouterr().err.splitlines() if "video/s" not in line and line]
    assert len(err) == 1
    return err[0]


def test_files_that_are_not_splits(tmp_path, capsys):
    write_root(tmp_path, fakes_of(numbers(2)))
    folder = write_splits(tmp_path / "splits", train=SPLITS["train"], other=[["000", "001"]], all_train=[["8", "9"]])
    assert f"{folder}/val.json: can't be read (No such file or directory)" in splits_error(tmp_path, capsys, folder)
    error = splits_error(tmp_path, capsys, folder / "other.json")
    assert "other.json: its name must have one of train, val and test in it; rename it" in error
    error = splits_error(tmp_path, capsys, folder / "train.json", folder / "all_train.json")
    assert error == f"error: --splits {folder}/all_train.json: {folder}/train.json is of train too; leave one out"
    error = splits_error(tmp_path, capsys, folder / "train.json")
    assert "train.json: not one of 4 videos with crops is in these files" in error


def test_splits_and_a_number_of_them(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        generate_folds.main(["--root-dir", str(tmp_path), "--n_splits", "4", "--splits", "x"])
    assert "not allowed with argument --n_splits" in capsys.readouterr().err
