"""Other datasets as a data root: what is linked where, what metadata.json says, and what is left out and told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocessing.data_root import read_data_root
from preprocessing.make_metadata import main

SCRIPT = Path(__file__).resolve().parents[1] / "preprocessing" / "make_metadata.py"
REAL = {"label": "REAL", "split": "train", "original": None}
NO_VIDEO = "not the name of a video, which ends in .mp4, .mov, .avi, .mkv or the like"
FACEFORENSICS = [
    "original_sequences/youtube/c23/videos/000.mp4",
    "original_sequences/youtube/c23/videos/004.mp4",
    "original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
    "manipulated_sequences/Deepfakes/c23/videos/000_004.mp4",
    "manipulated_sequences/Deepfakes/c23/videos/004_000.mp4",
    "manipulated_sequences/FaceShifter/c23/videos/000_004.mp4",
    "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4",
]
CELEBDF = [
    "Celeb-real/id0_0000.mp4",
    "Celeb-real/id1_0003.mp4",
    "YouTube-real/00170.mp4",
    "Celeb-synthesis/id0_id1_0000.mp4",
]


def fake(original, split="train"):
    return {"label": "FAKE", "split": split, "original": original}


def write_source(tmp_path, paths, name="source"):
    """Each video holds its own path."""
    source = tmp_path / name
    for path in paths:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
    source.mkdir(exist_ok=True)
    return source


def write_labels(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def run(layout, source, root, *flags):
    return main(["--layout", layout, "--source", str(source), "--root-dir", str(root), *map(str, flags)])


def metadata(root):
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(root.glob("*/metadata.json"))}


def links(root):
    return {str(path.relative_to(root)): os.readlink(path) for path in sorted(root.glob("*/*")) if path.is_symlink()}


def states(folder):
    """Every file and link below a folder, with its own time of change."""
    return {str(path): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*")) if not path.is_dir()}


def left_out(capsys):
    """What was said to be left out, by path, of a run that failed."""
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.startswith("error: "), err
    lines = [line.removeprefix("  left out: ") for line in out.splitlines() if line.startswith("  left out: ")]
    return dict(line.split(": ", 1) for line in lines)


def test_faceforensics(tmp_path, capsys):
    source, root = write_source(tmp_path, FACEFORENSICS), tmp_path / "deep" / "root"
    assert run("faceforensics", source, root) == 0
    assert metadata(root) == {
        "ffpp_DeepFakeDetection": {
            "DeepFakeDetection_01_02__exit_phone_room__YVGY8LOK.mp4": fake("01__exit_phone_room.mp4")
        },
        "ffpp_Deepfakes": {
            "Deepfakes_000_004.mp4": fake("000.mp4"),
            "Deepfakes_004_000.mp4": fake("004.mp4"),
        },
        "ffpp_FaceShifter": {"FaceShifter_000_004.mp4": fake("000.mp4")},
        "ffpp_actors": {"01__exit_phone_room.mp4": REAL},
        "ffpp_youtube": {"000.mp4": REAL, "004.mp4": REAL},
    }
    assert links(root) == {
        "ffpp_DeepFakeDetection/DeepFakeDetection_01_02__exit_phone_room__YVGY8LOK.mp4": "../../../source/"
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4",
        "ffpp_Deepfakes/Deepfakes_000_004.mp4": "../../../source/" + FACEFORENSICS[3],
        "ffpp_Deepfakes/Deepfakes_004_000.mp4": "../../../source/" + FACEFORENSICS[4],
        "ffpp_FaceShifter/FaceShifter_000_004.mp4": "../../../source/" + FACEFORENSICS[5],
        "ffpp_actors/01__exit_phone_room.mp4": "../../../source/" + FACEFORENSICS[2],
        "ffpp_youtube/000.mp4": "../../../source/" + FACEFORENSICS[0],
        "ffpp_youtube/004.mp4": "../../../source/" + FACEFORENSICS[1],
    }
    out, err = capsys.readouterr()
    assert err == "" and out == (
        "part                    videos   real   fake\n"
        "ffpp_youtube                 2      2      0\n"
        "ffpp_actors                  1      1      0\n"
        "ffpp_DeepFakeDetection       1      0      1\n"
        "ffpp_Deepfakes               2      0      2\n"
        "ffpp_FaceShifter             1      0      1\n"
        "all                          7      3      4\n"
        f"next: ./preprocess_data.sh {root}\n"
    )


def test_the_data_root_can_be_read(tmp_path):
    root = tmp_path / "root"
    assert run("faceforensics", write_source(tmp_path, FACEFORENSICS, "ff"), root) == 0
    assert run("celebdf", write_source(tmp_path, CELEBDF, "celeb"), root) == 0
    labels = write_labels(tmp_path, "a/b/x.mp4,FAKE\n")
    assert run("csv", write_source(tmp_path, ["a/b/x.mp4"], "own"), root, "--labels", labels) == 0
    data = read_data_root(root)
    assert data.problems == {}
    assert {(video.part, video.id, video.is_fake, video.original) for video in data.videos} == {
        ("ffpp_youtube", "000", False, None),
        ("ffpp_youtube", "004", False, None),
        ("ffpp_actors", "01__exit_phone_room", False, None),
        ("ffpp_Deepfakes", "Deepfakes_000_004", True, "000"),
        ("ffpp_Deepfakes", "Deepfakes_004_000", True, "004"),
        ("ffpp_FaceShifter", "FaceShifter_000_004", True, "000"),
        ("ffpp_DeepFakeDetection", "DeepFakeDetection_01_02__exit_phone_room__YVGY8LOK", True, "01__exit_phone_room"),
        ("Celeb-real", "id0_0000", False, None),
        ("Celeb-real", "id1_0003", False, None),
        ("YouTube-real", "00170", False, None),
        ("Celeb-synthesis", "id0_id1_0000", True, "id0_0000"),
        ("a_b", "x", True, None),
    }
    assert Path(next(v.path for v in data.videos if v.id == "004")).read_text() == FACEFORENSICS[1]


def test_compression_is_chosen(tmp_path, capsys):
    paths = ["original_sequences/youtube/raw/videos/000.mp4", "original_sequences/youtube/c40/videos/001.mp4"]
    source, root = write_source(tmp_path, [*FACEFORENSICS, *paths]), tmp_path / "root"
    assert run("faceforensics", source, root, "--compression", "c40") == 0
    assert metadata(root) == {"ffpp_youtube": {"001.mp4": REAL}}
    assert "note: Deepfakes is left out: no videos at c40, some at c23\n" in capsys.readouterr().out


def test_no_video_at_the_compression(tmp_path, capsys):
    paths = [*FACEFORENSICS, "original_sequences/youtube/raw/videos/000.mp4"]
    source, root = write_source(tmp_path, paths), tmp_path / "root"
    assert run("faceforensics", source, root, "--compression", "c40") == 1
    message = f"error: --source {source}: no videos at --compression c40; there are some at: c23, raw\n"
    assert capsys.readouterr() == ("", message) and not root.exists()


def test_links_move_along_with_the_videos(tmp_path):
    source = write_source(tmp_path / "old", FACEFORENSICS)
    assert run("faceforensics", source, tmp_path / "old" / "root") == 0
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_data_root(tmp_path / "new" / "root").problems == {}


def test_source_and_data_root_that_are_links(tmp_path, monkeypatch):
    source = write_source(tmp_path / "disk" / "far" / "away", FACEFORENSICS)
    (tmp_path / "disk" / "root").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk" / "root")
    (tmp_path / "link").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    assert run("faceforensics", "link", "root") == 0 and run("faceforensics", "link", "root") == 0
    assert os.readlink("disk/root/ffpp_youtube/000.mp4") == "../../far/away/source/" + FACEFORENSICS[0]
    assert read_data_root(tmp_path / "root").problems == {}


@pytest.mark.parametrize("name", ["Celeb-real", "Celeb-real/metadata.json"])
def test_nothing_is_written_through_a_link_in_the_data_root(tmp_path, capsys, name):
    source, home, place = write_source(tmp_path, CELEBDF), tmp_path / "home", tmp_path / "root" / name
    home.mkdir()
    (home / "metadata.json").write_text("precious")
    place.parent.mkdir(parents=True)
    place.symlink_to(home / place.relative_to(tmp_path / "root" / "Celeb-real"))
    assert run("celebdf", source, tmp_path / "root", "--overwrite") == 1
    assert f"error: {place}: is a link, and may lead anywhere; remove it" in capsys.readouterr().err
    assert os.listdir(home) == ["metadata.json"] and (home / "metadata.json").read_text() == "precious"


def test_second_run_changes_nothing(tmp_path, capsys):
    source, root = write_source(tmp_path, FACEFORENSICS), tmp_path / "root"
    assert run("faceforensics", source, root) == 0
    first, before = capsys.readouterr(), states(root)
    assert run("faceforensics", source, root) == 0 and run("faceforensics", source, root, "--overwrite") == 0
    assert states(root) == before and capsys.readouterr().out == 2 * first.out


def test_other_metadata_is_replaced_only_on_demand(tmp_path, capsys):
    source, root = write_source(tmp_path, FACEFORENSICS[:3]), tmp_path / "root"
    assert run("faceforensics", source, root) == 0
    before = states(root)
    write_source(tmp_path, [FACEFORENSICS[3], "original_sequences/youtube/c23/videos/005.mp4"])
    capsys.readouterr()
    assert run("faceforensics", source, root) == 1 and states(root) == before
    message = f"error: {root}/ffpp_youtube/metadata.json: is there with other content; --overwrite replaces it\n"
    assert capsys.readouterr() == ("", message)
    assert run("faceforensics", source, root, "--overwrite") == 0
    assert metadata(root) == {
        "ffpp_Deepfakes": {"Deepfakes_000_004.mp4": fake("000.mp4")},
        "ffpp_actors": {"01__exit_phone_room.mp4": REAL},
        "ffpp_youtube": {"000.mp4": REAL, "004.mp4": REAL, "005.mp4": REAL},
    }


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 99999])
def test_rubbish_is_other_content(tmp_path, content):
    source, root = write_source(tmp_path, ["YouTube-real/1.mp4"]), tmp_path / "root"
    path = root / "YouTube-real" / "metadata.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert run("celebdf", source, root) == 1 and path.read_bytes() == content
    assert run("celebdf", source, root, "--overwrite") == 0
    assert metadata(root) == {"YouTube-real": {"1.mp4": REAL}}


def test_a_key_that_is_there_twice_is_other_content(tmp_path):
    """Though JSON's usual readers would find what is to be written: the data root would leave that video out."""
    source, root = write_source(tmp_path, ["YouTube-real/1.mp4"]), tmp_path / "root"
    path = root / "YouTube-real" / "metadata.json"
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"1.mp4": {{}}, "1.mp4": {json.dumps(REAL)}}}')
    assert run("celebdf", source, root) == 1
    assert run("celebdf", source, root, "--overwrite") == 0 and read_data_root(root).problems == {}


def test_formatting_is_no_content(tmp_path):
    source, root = write_source(tmp_path, ["YouTube-real/1.mp4"]), tmp_path / "root"
    path = root / "YouTube-real" / "metadata.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"1.mp4": REAL}, indent=7))
    before = path.stat().st_mtime_ns
    assert run("celebdf", source, root) == 0 and path.stat().st_mtime_ns == before


def test_celebdf_in_place(tmp_path, capsys):
    source = write_source(tmp_path, CELEBDF)
    (source / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\r\n0 Celeb-synthesis/id0_id1_0000.mp4\n\n"
    )
    before = states(source)
    assert run("celebdf", source, source) == 0
    assert metadata(source) == {
        "Celeb-real": {"id0_0000.mp4": REAL, "id1_0003.mp4": REAL},
        "Celeb-synthesis": {"id0_id1_0000.mp4": fake("id0_0000.mp4", "test")},
        "YouTube-real": {"00170.mp4": {"label": "REAL", "split": "test", "original": None}},
    }
    assert links(source) == {} and before.items() <= states(source).items()
    assert read_data_root(source).problems == {}
    again = states(source)
    assert run("celebdf", source, source) == 0 and states(source) == again
    assert "Celeb-synthesis       1      0      1\n" in capsys.readouterr().out


def test_celebdf_linked(tmp_path):
    source, root = write_source(tmp_path, CELEBDF), tmp_path / "root"
    assert run("celebdf", source, root) == 0
    assert links(root) == {path: "../../source/" + path for path in sorted(CELEBDF)}
    assert {entry["split"] for part in metadata(root).values() for entry in part.values()} == {"train"}


def test_problems_of_celebdf(tmp_path, capsys):
    odd = ["Celeb-synthesis/id1_id0_0009.mp4", "Celeb-synthesis/id1.mp4", "YouTube-real/00170.MOV"]
    source, root = write_source(tmp_path, [*CELEBDF, *odd]), tmp_path / "root"
    (source / "List_of_testing_videos.txt").write_text(
        "1 Celeb-synthesis/id0_id1_0000.mp4\n1 YouTube-real/00300.mp4\n2 YouTube-real/00170.mp4\n"
    )
    assert run("celebdf", source, root) == 1
    assert left_out(capsys) == {
        "Celeb-synthesis/id0_id1_0000.mp4": "List_of_testing_videos.txt says real of it",
        "Celeb-synthesis/id1.mp4": "not named id<target>_id<source>_<clip>, as fakes of Celeb-DF are",
        "Celeb-synthesis/id1_id0_0009.mp4": "its original id1_0009 is not among the real videos",
        "YouTube-real/00170.mp4": "YouTube-real/00170.MOV has the same id, 00170; rename or remove one",
        "YouTube-real/00300.mp4": "List_of_testing_videos.txt names it, but it is not there",
        "List_of_testing_videos.txt line 3": "'2 YouTube-real/00170.mp4' is not 0 or 1 and a path",
    }
    assert metadata(root) == {
        "Celeb-real": {"id0_0000.mp4": REAL, "id1_0003.mp4": REAL},
        "YouTube-real": {"00170.MOV": REAL},
    }


def test_celebdf_in_other_containers(tmp_path):
    """The list of testing videos and the fakes' names tell videos by their ids."""
    paths = ["Celeb-real/id0_0000.avi", "Celeb-real/id1_0003.MP4", "Celeb-synthesis/id0_id1_0000.mkv"]
    source, root = write_source(tmp_path, paths), tmp_path / "root"
    (source / "List_of_testing_videos.txt").write_text(
        "0 Celeb-synthesis/id0_id1_0000.mp4\n1 Celeb-real/id1_0003.mp4\n"
    )
    assert run("celebdf", source, root) == 0
    assert metadata(root) == {
        "Celeb-real": {"id0_0000.avi": REAL, "id1_0003.MP4": {"label": "REAL", "split": "test", "original": None}},
        "Celeb-synthesis": {"id0_id1_0000.mkv": fake("id0_0000.avi", "test")},
    }
    assert links(root) == {path: "../../source/" + path for path in paths}
    assert read_data_root(root).problems == {}


def test_faceforensics_in_other_containers(tmp_path):
    paths = [
        "original_sequences/youtube/c23/videos/000.avi",
        "original_sequences/actors/c23/videos/01__exit_phone_room.MOV",
        "manipulated_sequences/Deepfakes/c23/videos/000_004.MP4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mkv",
    ]
    source, root = write_source(tmp_path, paths), tmp_path / "root"
    assert run("faceforensics", source, root) == 0
    assert metadata(root) == {
        "ffpp_youtube": {"000.avi": REAL},
        "ffpp_actors": {"01__exit_phone_room.MOV": REAL},
        "ffpp_Deepfakes": {"Deepfakes_000_004.MP4": fake("000.avi")},
        "ffpp_DeepFakeDetection": {
            "DeepFakeDetection_01_02__exit_phone_room__YVGY8LOK.mkv": fake("01__exit_phone_room.MOV")
        },
    }
    assert links(root)["ffpp_Deepfakes/Deepfakes_000_004.MP4"] == "../../source/" + paths[2]
    assert read_data_root(root).problems == {}


def test_files_that_are_no_videos_are_named(tmp_path, capsys):
    others = ["readme.txt", "._00170.mp4", "a\nb", "x.zip", "y.zip", "z.zip"]
    source = write_source(tmp_path, [*CELEBDF, *(f"YouTube-real/{name}" for name in others)])
    for _ in range(2):
        assert run("celebdf", source, source) == 0
        out = capsys.readouterr().out
        named = "._00170.mp4, a\\nb, readme.txt, x.zip, y.zip and 1 more"
        assert out.startswith(f"note: YouTube-real: no videos by their names, left out: {named}\npart ")
    assert out.count("note: ") == 1  # metadata.json is ours


def test_problems_of_faceforensics(tmp_path, capsys):
    fakes = "manipulated_sequences/{}/c23/videos/"
    odd = [
        fakes.format("Deepfakes") + "007_000.mp4",
        fakes.format("Deepfakes") + "000.mp4",
        fakes.format("DeepFakeDetection") + "02_01__exit_phone_room__YVGY8LOK.mp4",
        fakes.format("DeepFakeDetection") + "01_02.mp4",
        fakes.format("Face2Face") + "000_004_1.avi",
        "original_sequences/youtube/c23/videos/a\nb.mp4",
        "original_sequences/youtube/c23/videos/readme.txt",
        "original_sequences/youtube/c23/videos/.000.mp4",
    ]
    source, root = write_source(tmp_path, [*FACEFORENSICS, *odd]), tmp_path / "root"
    (source / "original_sequences/actors/c23/videos/folder.mp4").mkdir()
    (source / "original_sequences/actors/c23/videos/gone.mp4").symlink_to("nowhere")
    assert run("faceforensics", source, root) == 1
    assert left_out(capsys) == {
        odd[0]: "its original 007 is not among the real videos",
        odd[1]: "not named <target>_<source>, two numbers, as fakes of FaceForensics++ are",
        odd[2]: "its original 02__exit_phone_room is not among the real videos",
        odd[3]: "not named <actor>_<actor>__<scene>__<code>, as fakes of DeepFakeDetection are",
        odd[4]: "not named <target>_<source>, two numbers, as fakes of FaceForensics++ are",
        "original_sequences/youtube/c23/videos/a\\nb.mp4": "its name can't be printed; rename it",
        "original_sequences/actors/c23/videos/folder.mp4": "is not a regular file",
        "original_sequences/actors/c23/videos/gone.mp4": "there is no such video (No such file or directory)",
    }
    assert sum(map(len, metadata(root).values())) == len(FACEFORENSICS) == len(read_data_root(root).videos)
    assert read_data_root(root).problems == {}


def test_many_problems_are_counted(tmp_path, capsys):
    paths = [f"Celeb-synthesis/id{i}_id1_0000.mp4" for i in range(5, 30)]
    assert run("celebdf", write_source(tmp_path, [*CELEBDF, *paths]), tmp_path / "root") == 1
    out, err = capsys.readouterr()
    assert out.count("left out: ") == 20 and "  and 5 more\n" in out and out.endswith(f"{tmp_path}/root\n")
    assert err == "error: metadata: 0 failed, 25 left out; mend or remove them and run this again\n"


@pytest.mark.parametrize("kind", ["file", "other link", "dead link", "folder"])
def test_something_else_at_its_place(tmp_path, capsys, kind):
    source, root = write_source(tmp_path, CELEBDF), tmp_path / "root"
    place = root / "Celeb-real" / "id0_0000.mp4"
    place.parent.mkdir(parents=True)
    if kind == "file":
        place.write_text("precious")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(source / "YouTube-real/00170.mp4" if kind == "other link" else "nowhere")
    before = states(root)
    assert run("celebdf", source, root, "--overwrite") == 1
    assert left_out(capsys) == {
        "Celeb-real/id0_0000.mp4": f"something else is at {place}; remove that",
        "Celeb-synthesis/id0_id1_0000.mp4": "its original id0_0000 is not among the real videos",
    }
    assert before.items() <= states(root).items()
    assert metadata(root) == {"Celeb-real": {"id1_0003.mp4": REAL}, "YouTube-real": {"00170.mp4": REAL}}


def test_name_that_another_part_has(tmp_path, capsys):
    root = write_source(tmp_path, ["dfdc_train_part_0/00170.mov"], "root")
    (root / "dfdc_train_part_0" / "metadata.json").write_text(json.dumps({"00170.mov": REAL}))
    assert run("celebdf", write_source(tmp_path, CELEBDF), root) == 1
    reason = "dfdc_train_part_0/00170.mov has the same id, 00170; rename or remove one"
    assert left_out(capsys) == {"YouTube-real/00170.mp4": reason}
    assert read_data_root(root).problems == {} and len(read_data_root(root).videos) == 4


def test_csv(tmp_path, capsys):
    paths = ["x.mp4", "set/real/004.mp4", "set/fake/a, b.mp4", "set/fake/c.mp4", "set/fake/d.mp4"]
    source, root = write_source(tmp_path, paths), tmp_path / "root"
    text = 'x.mp4,Real\nset/real/004.mp4, 0\r\n"set/fake/a, b.mp4",FAKE\n\n./set//fake/c.mp4,1\nset/fake/d.mp4,fake'
    assert run("csv", source, root, "--labels", write_labels(tmp_path, text)) == 0
    assert metadata(root) == {
        "source": {"x.mp4": REAL},
        "set_real": {"004.mp4": REAL},
        "set_fake": {"a, b.mp4": fake(None), "c.mp4": fake(None), "d.mp4": fake(None)},
    }
    assert links(root) == {
        "source/x.mp4": "../../source/x.mp4",
        "set_real/004.mp4": "../../source/set/real/004.mp4",
        "set_fake/a, b.mp4": "../../source/set/fake/a, b.mp4",
        "set_fake/c.mp4": "../../source/set/fake/c.mp4",
        "set_fake/d.mp4": "../../source/set/fake/d.mp4",
    }
    assert read_data_root(root).problems == {}
    assert "all            5      2      3\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        b"x.mp4,REAL\n",
        b"path,label\nx.mp4,REAL\n",
        b"\xef\xbb\xbfx.mp4,REAL\n",
        b'\xef\xbb\xbf"Path","Label"\r\n"x.mp4","REAL"\r\n',
    ],
)
def test_header_and_byte_order_mark(tmp_path, text):
    source, root = write_source(tmp_path, ["x.mp4"]), tmp_path / "root"
    assert run("csv", source, root, "--labels", write_labels(tmp_path, text)) == 0
    assert metadata(root) == {"source": {"x.mp4": REAL}}


def test_csv_in_place(tmp_path):
    source = write_source(tmp_path, ["real/x.mp4", "deep/fake/y.mp4"])
    labels = write_labels(tmp_path, "real/x.mp4,REAL\ndeep/fake/y.mp4,FAKE\n")
    assert run("csv", source, source, "--labels", labels) == 0
    assert run("csv", source, source, "--labels", labels) == 0
    assert links(source) == {"deep_fake/y.mp4": "../deep/fake/y.mp4"}
    assert metadata(source) == {"real": {"x.mp4": REAL}, "deep_fake": {"y.mp4": fake(None)}}


def test_the_folder_above_the_source_as_data_root(tmp_path):
    source = write_source(tmp_path, ["x.mp4"])
    assert run("csv", source, tmp_path, "--labels", write_labels(tmp_path, "x.mp4,REAL\n")) == 0
    assert links(tmp_path) == {} and metadata(tmp_path) == {"source": {"x.mp4": REAL}}


@pytest.mark.parametrize(
    "line, path, message",
    [
        ("../x.mp4,REAL", "../x.mp4", "must be a path below --source, without .."),
        ("a/../x.mp4,REAL", "a/../x.mp4", "must be a path below --source, without .."),
        ("/x.mp4,REAL", "/x.mp4", "must be a path below --source, without .."),
        ("x.mp4,maybe", "x.mp4", "label 'maybe': must be REAL, FAKE, 0 or 1 (1 is fake)"),
        ("x.mp4,2", "x.mp4", "label '2': must be REAL, FAKE, 0 or 1 (1 is fake)"),
        ("x.mp4,", "x.mp4", "label '': must be REAL, FAKE, 0 or 1 (1 is fake)"),
        ("x.mp4", "x.mp4", "must have two fields, a path and a label, not 1"),
        ("x.mp4,REAL,train", "x.mp4", "must have two fields, a path and a label, not 3"),
        (",REAL", "''", NO_VIDEO),
        ("x.txt,REAL", "x.txt", NO_VIDEO),
        ("a/.x.mp4,REAL", "a/.x.mp4", NO_VIDEO),
        ("a\\x.mp4,REAL", "a\\x.mp4", "its name has a backslash; rename it"),
        ("x\x07.mp4,REAL", "x\\x07.mp4", "its name can't be printed; rename it"),
        ("gone.mp4,REAL", "gone.mp4", "there is no such video (No such file or directory)"),
        ("a/fine.mp4,REAL", "a/fine.mp4", "source/fine.mp4 has the same id, fine; rename or remove one"),
        ("fine.AVI,REAL", "fine.AVI", "source/fine.mp4 has the same id, fine; rename or remove one"),
        ("./fine.mp4,REAL", "fine.mp4", "line 1 says the same; leave one out"),
    ],
)
def test_problems_of_a_csv(tmp_path, capsys, line, path, message):
    paths = ["fine.mp4", "fine.AVI", "x.mp4", "x.txt", "a/fine.mp4", "a/.x.mp4"]
    source, root = write_source(tmp_path, paths), tmp_path / "root"
    labels = write_labels(tmp_path, f"fine.mp4,REAL\n{line}\n")
    assert run("csv", source, root, "--labels", labels) == 1
    assert left_out(capsys) == {f"{path} (line 2 of labels.csv)": message}
    assert metadata(root) == {"source": {"fine.mp4": REAL}}


def test_a_path_with_two_labels(tmp_path, capsys):
    """However it is spelled; neither is taken."""
    source, root = write_source(tmp_path, ["a.mp4", "d/b.mp4", "c.mp4"]), tmp_path / "root"
    text = "path,label\na.mp4,REAL\nd/b.mp4,0\nc.mp4,1\n./a.mp4,FAKE\nd//b.mp4,FAKE\nd/./b.mp4,real\n"
    assert run("csv", source, root, "--labels", write_labels(tmp_path, text)) == 1
    assert left_out(capsys) == {
        "a.mp4 (labels.csv)": "is REAL in line 2 and FAKE in line 5; leave the wrong one out",
        "d/b.mp4 (labels.csv)": "is REAL in line 3 and FAKE in line 6 and REAL in line 7; leave the wrong one out",
    }
    assert metadata(root) == {"source": {"c.mp4": fake(None)}}


def test_csv_of_other_containers(tmp_path):
    paths = ["x.MOV", "set/y.avi", "set/z.Ts"]
    source, root = write_source(tmp_path, paths), tmp_path / "root"
    labels = write_labels(tmp_path, "x.MOV,REAL\nset/y.avi,FAKE\nset/z.Ts,1.0\n")
    assert run("csv", source, root, "--labels", labels) == 0
    assert metadata(root) == {"source": {"x.MOV": REAL}, "set": {"y.avi": fake(None), "z.Ts": fake(None)}}
    assert links(root)["set/y.avi"] == "../../source/set/y.avi" and read_data_root(root).problems == {}


@pytest.mark.parametrize("name", ["x.mp4", "./x.mov", "a/.x.AVI"])
def test_a_wrong_label_in_the_first_line_is_no_header(tmp_path, capsys, name):
    source = write_source(tmp_path, ["fine.mp4", name])
    labels = write_labels(tmp_path, f"{name},fakee\nfine.mp4,REAL\n")
    assert run("csv", source, tmp_path / "root", "--labels", labels) == 1
    assert list(left_out(capsys)) == [f"{name} (line 1 of labels.csv)"]


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "labels.csv: can't be read (No such file or directory)"),
        (b"", "labels.csv: holds no line of a path and a label"),
        (b"path,label\n", "labels.csv: holds no line of a path and a label"),
        (b"\xff\xfe", "labels.csv: is no text in UTF-8; save it as that"),
        (b'x.mp4,REAL\n"a,REAL\nb,REAL\n', "labels.csv: line 3 is no CSV (unexpected end of data)"),
        (b"x.mp4,REAL\n", "not one of 1 videos can be used; x.mp4 (line 1 of labels.csv): there is no such video (No"),
    ],
)
def test_nothing_usable_in_a_csv(tmp_path, capsys, text, message):
    source, labels = write_source(tmp_path, []), tmp_path / "labels.csv"
    if text is not None:
        labels.write_bytes(text)
    assert run("csv", source, tmp_path / "root", "--labels", labels) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err and not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    "layout, paths, message",
    [
        ("faceforensics", ["youtube/c23/videos/000.mp4"], "name the folder that holds original_sequences"),
        ("celebdf", ["Celeb-DF-v2/Celeb-real/id0_0000.mp4"], "name the folder of Celeb-DF that holds them"),
        ("faceforensics", FACEFORENSICS[3:4], "not one of 1 videos can be used; manipulated_sequences/Deepfakes/c23"),
        ("celebdf", ["Celeb-synthesis/x.mp4"], "not one of 1 videos can be used; Celeb-synthesis/x.mp4: not named"),
    ],
)
def test_nothing_usable(tmp_path, capsys, layout, paths, message):
    assert run(layout, write_source(tmp_path, paths), tmp_path / "root") == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err and not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    "layout, flags, message",
    [
        ("csv", [], "--layout csv: --labels must name the CSV of paths and labels"),
        ("celebdf", ["--labels", "x"], "--labels goes with --layout csv only; leave it out"),
        ("celebdf", ["--compression", "raw"], "--compression goes with --layout faceforensics only; leave it out"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, capsys, layout, flags, message):
    assert run(layout, write_source(tmp_path, CELEBDF), tmp_path / "root", *flags) == 1
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_folders_that_cannot_be_used(tmp_path, capsys):
    assert run("celebdf", tmp_path / "none", tmp_path / "root") == 1
    message = f"error: --source {tmp_path}/none: can't be read (No such file or directory); name the dataset\n"
    assert capsys.readouterr() == ("", message)
    (tmp_path / "root").touch()
    assert run("celebdf", write_source(tmp_path, CELEBDF), tmp_path / "root") == 1
    message = f"error: {tmp_path}/root/Celeb-real: can't be made (Not a directory); --root-dir must be writable\n"
    assert capsys.readouterr() == ("", message)


def test_nothing_is_left_half_written(tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    source, root = write_source(tmp_path, CELEBDF), tmp_path / "root"
    monkeypatch.setattr(os, "symlink", full)
    assert run("celebdf", source, root) == 1
    assert "Celeb-real/id0_0000.mp4: can't be written (No space left on device); --root-dir" in capsys.readouterr().err
    monkeypatch.undo()
    assert states(root) == {}
    assert run("celebdf", source, root) == 0 and read_data_root(root).problems == {}


def test_as_a_script_from_another_folder(tmp_path):
    write_source(tmp_path, CELEBDF)
    command = [sys.executable, SCRIPT, "--layout", "celebdf", "--source", "source", "--root-dir", "my root"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("next: ./preprocess_data.sh 'my root'\n") and not done.stderr
    assert read_data_root(tmp_path / "my root").problems == {}
