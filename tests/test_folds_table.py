"""The table of crops: what it says, what is refused, and which rows an epoch gets in which order."""

import numpy as np
import pandas as pd
import pytest

from runtime.errors import InputError
from systems.seferbekov.folds import Row, read_folds, training_rows, validation_rows

HEAD = "video,file,label,original,frame,fold"


@pytest.fixture
def write(tmp_path):
    def write(*lines: str, head: str = HEAD):
        path = tmp_path / "folds.csv"
        path.write_text("\n".join((head, *lines)) + "\n")
        return path

    return write


@pytest.fixture
def drawn(write):
    """Four folds of 30 real and 90 fake crops."""
    draw = np.random.default_rng(3)
    lines = [
        f"{'fake' if number % 4 else 'real'}{number},{frame}_0.png,{int(number % 4 > 0)},x,{frame},{draw.integers(4)}"
        for number, frame in enumerate(draw.integers(0, 32, 120) * 10)
    ]
    return write(*lines)


def test_names_stay_as_they_are_written(write):
    table = read_folds(write("004,0_0.png,1,007,0,2", "nan,10_0.png,0,,10,0", "NA,20_1.png,0,NA,20,0"))
    assert list(table.columns) == HEAD.split(",")
    assert table["video"].tolist() == ["004", "nan", "NA"]
    assert table["original"].tolist() == ["007", "", "NA"]
    assert table["file"].tolist() == ["0_0.png", "10_0.png", "20_1.png"]
    assert table[["label", "frame", "fold"]].to_numpy().tolist() == [[1, 0, 2], [0, 10, 0], [0, 20, 0]]
    assert {str(table[column].dtype) for column in ("label", "frame", "fold")} == {"int64"}
    assert all(type(value) is str for value in table["video"])


def test_columns_in_another_order_and_more_of_them(write):
    table = read_folds(write("0,x,5,a,0_0.png,a,0", head="fold,note,frame,video,file,original,label"))
    assert validation_rows(table.assign(frame=0), fold=0) == [Row("a", "0_0.png", 0, "a", 0, 0)]


@pytest.mark.parametrize(
    "line, message",
    [
        ("a,0_0.png,2,a,0,0", "line 3: label '2' is not 0 or 1"),
        ("a,0_0.png,0.5,a,0,0", "line 3: label '0.5' is not 0 or 1"),
        ("a,0_0.png,0,a,x,0", "line 3: frame 'x' is not a whole number"),
        ("a,0_0.png,0,a,0,", "line 3: fold '' is not a whole number"),
        ("a,0_0.png,0,a,0,-2", "line 3: fold '-2' is not a whole number from -1 on"),
        ("a,0_0.png,0,a,-1,0", "line 3: frame '-1' is not a whole number"),
        ("a,0_0.png,0,a,inf,0", "line 3: frame 'inf' is not a whole number"),
        ("a,0_0.png,0", "line 3: frame '' is not a whole number"),
        ("../a,0_0.png,0,a,0,0", "line 3: video '../a' is no name of a file"),
        ("a,b/0_0.png,0,a,0,0", "line 3: file 'b/0_0.png' is no name of a file"),
        ("a,b\\0_0.png,0,a,0,0", "is no name of a file"),
        ("..,0_0.png,0,a,0,0", "line 3: video '..' is no name of a file"),
        (",0_0.png,0,a,0,0", "line 3: video '' is no name of a file"),
        ("a,0_0.png,0,/etc,0,0", "line 3: original '/etc' is no name of a file"),
    ],
)
def test_broken_line(write, line, message):
    path = write("a,0_0.png,0,a,0,0", line)
    with pytest.raises(InputError) as error:
        read_folds(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "generate_folds.py" in str(error.value)


def test_no_table(tmp_path, write):
    with pytest.raises(InputError, match=r"none\.csv: there is no such file; run generate_folds\.py"):
        read_folds(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"can't be read \(Is a directory\)"):
        read_folds(tmp_path)
    with pytest.raises(InputError, match="has no rows"):
        read_folds(write())
    with pytest.raises(InputError, match="has no column original, fold"):
        read_folds(write("a,0_0.png,0,0", head="video,file,label,frame"))
    for content, message in ((b"", "is empty"), (b"video\n\xff\xfe\n", "is no table")):
        (tmp_path / "broken.csv").write_bytes(content)
        with pytest.raises(InputError, match=message) as error:
            read_folds(tmp_path / "broken.csv")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("epoch, seed", [(0, 777), (3, 111), (39, 999), (1, 0)])
@pytest.mark.parametrize("oversample", [True, False])
def test_rows_and_order_are_the_published_ones(drawn, epoch, seed, oversample):
    table = pd.read_csv(drawn)
    rows = table[table["fold"] != 1]
    if oversample:
        real, fakes = rows[rows["label"] == 0], rows[rows["label"] == 1]
        fakes = fakes.sample(n=len(real), replace=False, random_state=(epoch + 1) * seed)
        rows = pd.concat([real, fakes])
    data = rows.values
    state = np.random.get_state()
    np.random.seed((epoch + 1) * seed)
    np.random.shuffle(data)
    np.random.set_state(state)
    ours = training_rows(read_folds(drawn), fold=1, epoch=epoch, seed=seed, oversample=oversample)
    assert [list(row) for row in ours] == data.tolist()


def test_all_fakes_where_they_are_fewer(write):
    lines = [f"real{number},0_0.png,0,,0,1" for number in range(5)] + ["fake,0_0.png,1,real0,0,1"]
    rows = training_rows(read_folds(write(*lines)), fold=0, epoch=0, seed=5)
    assert sorted(row.video for row in rows) == ["fake", *(f"real{number}" for number in range(5))]


def test_epochs_differ_and_the_global_generator_is_left_alone(drawn):
    table = read_folds(drawn)
    before = np.random.get_state()[1].tolist()
    first, second = (training_rows(table, fold=0, epoch=epoch, seed=777) for epoch in (0, 1))
    assert np.random.get_state()[1].tolist() == before
    assert first != second
    assert {row for row in first if not row.label} == {row for row in second if not row.label}
    assert sum(row.label for row in first) * 2 == len(first)
    assert training_rows(table, fold=0, epoch=10**6, seed=10**6)  # more than 32 bits


def test_validation_takes_every_second_crop(drawn):
    rows = validation_rows(read_folds(drawn), fold=2)
    expected = pd.read_csv(drawn).query("fold == 2 and frame % 20 == 0")
    assert [list(row) for row in rows] == expected.values.tolist()


def test_what_is_held_back_is_never_trained_on(write):
    """Whatever is held out; and it can be validated with."""
    lines = [f"{kind}{fold},0_0.png,{int(kind == 'f')},r{fold},0,{fold}" for fold in (-1, 0, 1) for kind in "rf"]
    table = read_folds(write(*lines))
    for fold, others in ((0, {1}), (1, {0}), (-1, {0, 1}), (7, {0, 1})):
        for oversample in (True, False):
            rows = training_rows(table, fold=fold, epoch=0, seed=1, oversample=oversample)
            assert {row.fold for row in rows} == others
    assert {row.video for row in validation_rows(table, fold=-1)} == {"r-1", "f-1"}
    with pytest.raises(InputError, match=r"there is no other \(there are folds -1 \(held back\), 0\)"):
        training_rows(table[table["fold"] < 1], fold=0, epoch=0, seed=1)


def test_byte_order_mark(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text(f"{HEAD}\na,0_0.png,0,a,0,0\n", encoding="utf-8-sig")
    assert read_folds(path)["video"].tolist() == ["a"]


def test_folds_that_are_not_there(write):
    table = read_folds(write("a,10_0.png,0,a,10,4", "b,10_0.png,1,a,10,4"))
    with pytest.raises(InputError, match=r"fold 4 is held out and there is no other \(there are folds 4\)"):
        training_rows(table, fold=4, epoch=0, seed=1)
    with pytest.raises(InputError, match=r"fold 0 has no rows \(there are folds 4\)"):
        validation_rows(table, fold=0)
    with pytest.raises(InputError, match="fold 4 has no frame that 20 divides"):
        validation_rows(table, fold=4)
    with pytest.raises(InputError, match="without fold 0 there is no real crop"):
        training_rows(table[table["label"] == 1], fold=0, epoch=0, seed=1)
