"""Submissions, as predict_folder.py writes them: a CSV `filename,label`, label the probability that a video is fake."""

from evaluation.tables import read_rows
from runtime.errors import InputError

UNKNOWN = 0.5  # the score of a video in which no face was found, or that can't be read


def read_submission(path: str, flag: str = "--submission") -> dict[str, float]:
    """The score of each video, from 0 to 1, by its file's name, in the file's order. Raises InputError."""
    scores: dict[str, float] = {}
    for where, row in read_rows(flag, path, ("filename", "label")):
        filename, text = row["filename"], row["label"]
        try:
            score = float(text)
        except ValueError:
            raise InputError(f"{where}: label {text!r} of {filename} is not a number; write one from 0 to 1") from None
        if not 0 <= score <= 1:  # nor NaN
            raise InputError(f"{where}: label {text!r} of {filename} is not from 0 to 1; write a probability")
        if filename in scores:
            raise InputError(f"{where}: {filename} is there twice; leave one out")
        scores[filename] = score
    return scores
