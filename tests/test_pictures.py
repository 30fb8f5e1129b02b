"""Formats by suffix; pictures whole or not at all."""

import pytest
from matplotlib.figure import Figure

from runtime.errors import InputError, OutputError
from runtime.pictures import format_of, save


def test_format_by_suffix():
    assert format_of("a/loss.PNG") == "png" and format_of("sheet.jpg") == "jpg"
    for out in ("loss", "loss.txt", "loss.pgf"):
        with pytest.raises(InputError, match="must end in"):
            format_of(out)


def test_a_picture_is_whole_or_not_there(tmp_path, monkeypatch):
    save(Figure(), tmp_path / "blank.png", "png")
    assert (tmp_path / "blank.png").read_bytes().startswith(b"\x89PNG")

    def full(self, file, **_):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save(Figure(), tmp_path / "other.png", "png")
    assert [path.name for path in tmp_path.iterdir()] == ["blank.png"]
