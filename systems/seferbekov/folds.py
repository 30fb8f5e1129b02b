"""The table of crops that generate_folds.py writes, and which of its rows an epoch trains on or validates with."""

import os
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from runtime import limits
from runtime.errors import InputError
from runtime.files import open_file

HELD_BACK = -1  # the fold whose rows are never trained on: a published test set (generate_folds.py --splits)
VALIDATION_STEP = 20  # frames: every second crop of a held-out video
_NAMES = ("video", "file", "original")
_NUMBERS = ("label", "frame", "fold")
_COLUMNS = ("video", "file", "label", "original", "frame", "fold")
_REMEDY = "write it again with generate_folds.py"
_NO_FILE_NAME = re.compile(r"[/\\\0]|\.\.|^\.?$")
_SEEDS = 2**32  # of NumPy's older generator


class Row(NamedTuple):
    """A crop: `file` in the folder of `video`, whose original is `original` (a real video's own id, or empty)."""

    video: str
    file: str
    label: int  # 1 is fake
    original: str
    frame: int
    fold: int


def read_folds(path: str | os.PathLike) -> pd.DataFrame:
    """folds.csv with columns video, file, original (str) and label, frame, fold (int64).

    Ids stay as they are written: "004" is no number and "nan" is a name. Raises InputError where the file is missing or
    makes no sense.
    """
    name = os.fspath(path)
    try:
        with open_file(path, limits.FOLDS) as file:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, na_filter=False, index_col=False)
    except FileNotFoundError as error:
        raise InputError(f"{name}: there is no such file; run generate_folds.py --out {name}") from error
    except OSError as error:
        raise InputError(f"{name}: can't be read ({error.strerror}); name another file") from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{name}: is empty; {_REMEDY}") from error
    except (ValueError, pd.errors.ParserError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(f"{name}: is no table ({' '.join(str(error).split())}); {_REMEDY}") from error
    missing = [column for column in _COLUMNS if column not in table.columns]
    if missing:
        raise InputError(f"{name}: has no column {', '.join(missing)}; {_REMEDY}")
    if table.empty:
        raise InputError(f"{name}: has no rows; {_REMEDY}")
    table = table[list(_COLUMNS)].fillna("")  # cells that a short line lacks
    for column in _NAMES:
        _check_names(name, table[column], optional=column == "original")
    return table.assign(**{column: _whole_numbers(name, table[column]) for column in _NUMBERS})


def check_apart(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Raises InputError for a video in several folds: what is held out would be trained on."""
    folds = table[["video", "fold"]].drop_duplicates()
    twice = folds["video"][folds["video"].duplicated()]
    if len(twice):
        raise InputError(f"{os.fspath(path)}: video {twice.iloc[0]} is in several folds; {_REMEDY}")


def training_rows(table: pd.DataFrame, *, fold: int, epoch: int, seed: int, oversample: bool = True) -> list[Row]:
    """The rows of an epoch in its order: those outside `fold` and not held back, with as many fakes as real crops.

    Fakes are drawn anew each epoch; all are taken where there are fewer, or without `oversample`. Rows and order are
    those of the published pipeline for the same table, epoch and seed. Raises InputError where nothing is left.
    """
    epoch_seed = (epoch + 1) * seed % _SEEDS
    rows = table[~table["fold"].isin([fold, HELD_BACK])]
    if rows.empty:
        raise InputError(f"fold {fold} is held out and there is no other ({_folds_of(table)}); deal out more folds")
    if oversample:
        real, fakes = rows[rows["label"] == 0], rows[rows["label"] == 1]
        if real.empty:
            raise InputError(f"without fold {fold} there is no real crop ({_folds_of(table)}); hold out another fold")
        count = min(len(real), len(fakes))
        rows = pd.concat([real, fakes.sample(n=count, replace=False, random_state=epoch_seed)])
    order = np.arange(len(rows))
    np.random.RandomState(epoch_seed).shuffle(order)  # the draws of np.random.seed and np.random.shuffle
    return _as_rows(rows.iloc[order])


def validation_rows(table: pd.DataFrame, *, fold: int) -> list[Row]:
    """The held-out rows of every second crop, in the table's order. Raises InputError where there are none."""
    rows = table[table["fold"] == fold]
    if rows.empty:
        raise InputError(f"fold {fold} has no rows ({_folds_of(table)}); hold out another")
    rows = rows[rows["frame"] % VALIDATION_STEP == 0]
    if rows.empty:
        raise InputError(f"fold {fold} has no frame that {VALIDATION_STEP} divides ({_folds_of(table)}); use another")
    return _as_rows(rows)


def _check_names(path: str, column: pd.Series, *, optional: bool) -> None:
    """Raises InputError for the first that would lead out of its folder."""
    bad = {each for each in column.unique() if _NO_FILE_NAME.search(each) and (each or not optional)}
    if bad:
        line = int(column.isin(bad).to_numpy().argmax())
        raise InputError(
            f"{path}, line {line + 2}: {column.name} {column.iloc[line]!r} is no name of a file; {_REMEDY}"
        )


def _whole_numbers(path: str, column: pd.Series) -> pd.Series:
    """A column of text as int64. Raises InputError for the first that is no whole number, or no label."""
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    least = HELD_BACK if column.name == "fold" else 0
    most = 1 if column.name == "label" else 2**31
    good = ((numbers >= least) & (numbers <= most) & (numbers % 1 == 0)).to_numpy()
    if not good.all():
        line = int((~good).argmax())
        wanted = {"label": "0 or 1", "fold": f"a whole number from {HELD_BACK} on"}.get(column.name, "a whole number")
        raise InputError(f"{path}, line {line + 2}: {column.name} {column.iloc[line]!r} is not {wanted}; {_REMEDY}")
    return numbers.astype(np.int64)


def _folds_of(table: pd.DataFrame) -> str:
    folds = ", ".join(
        f"{fold} (held back)" if fold == HELD_BACK else f"{fold}" for fold in sorted(table["fold"].unique())
    )
    return f"there are folds {folds}"


def _as_rows(table: pd.DataFrame) -> list[Row]:
    return [Row(*values) for values in zip(*(table[column].tolist() for column in _COLUMNS), strict=True)]
