"""What a user wants written is looked at before the work begins."""

import os

import pytest

from runtime.errors import OutputError
from runtime.output_check import check_outputs


@pytest.fixture
def video(tmp_path):
    (tmp_path / "video.mp4").write_bytes(b"a video")
    return str(tmp_path / "video.mp4")


def test_outputs_that_can_be_written(tmp_path):
    check_outputs({"--output": tmp_path / "new" / "folder" / "s.csv"}, [])
    assert os.listdir(tmp_path / "new" / "folder") == []


def test_outputs_that_cannot(tmp_path, video):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(video)
    output = str(tmp_path / "s.csv")
    for path, message in [
        (tmp_path, "is a folder"),
        (video + "/s.csv", "can't be written"),
        ("/proc/s.csv", "can't be written"),
        (tmp_path / ("y" * 300), "can't be written"),
        ("/dev/null", "is not a regular file"),
        (tmp_path / "pipe", "is not a regular file"),
        (video, "is an input"),
        (tmp_path / "link", "is an input"),
    ]:
        with pytest.raises(OutputError, match=f"^--output .*{message}"):
            check_outputs({"--output": path}, [video])
    with pytest.raises(OutputError, match=r"^--faces-csv .* is written by --output too"):
        check_outputs({"--output": output, "--faces-csv": f"{tmp_path}/./s.csv"}, [])


def test_links(tmp_path):
    """Only what its user has named is written where it leads to: not the journal, the summary and the report."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to("precious")
    for flag in ("journal of --output", "summary of --output", "--report", "--json"):
        with pytest.raises(OutputError, match="link: is a link, and may lead anywhere"):
            check_outputs({flag: tmp_path / "link"}, [])
    check_outputs({"--output": tmp_path / "link"}, [])


def test_folders(tmp_path, video):
    check_outputs(
        {"--json": None}, [None], folders={"--plots": (tmp_path / "new" / "plots", ["a.png"]), "--more": (None, ["b"])}
    )
    assert (tmp_path / "new" / "plots").is_dir()
    check_outputs({}, [], folders={"--plots": (tmp_path / "new", [])})
    for path, message in [
        (video, "is an input; choose another place"),
        (f"{video}/plots", "can't be made"),
        (tmp_path / "scores.json", "is written by --json too; choose another place"),
    ]:
        with pytest.raises(OutputError, match=f"^--plots .*{message}"):
            check_outputs({"--json": tmp_path / "scores.json"}, [video], folders={"--plots": (path, [])})
    assert not (tmp_path / "scores.json").exists()


def test_files_of_a_folder(tmp_path, video):
    """What is written into it is no input, no other output, no link and no folder."""
    (tmp_path / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "folder.png").mkdir()
    for name, message in [
        ("video.mp4", "video.mp4: is an input; choose another place"),
        ("scores.json", "scores.json: is written by --json too; choose another place"),
        ("link.png", "is a link"),
        ("folder.png", "folder.png: is a folder; name a file"),
    ]:
        with pytest.raises(OutputError, match=message):
            check_outputs({"--json": tmp_path / "scores.json"}, [video], folders={"--plots": (tmp_path, [name])})
