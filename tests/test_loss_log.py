"""Losses out of what training prints, and the choice of the best epochs."""

import argparse
import math
import time

import pytest

from runtime.errors import InputError
from training.loss_log import EpochLoss, choose_best, describe, read_losses, weight


def read(tmp_path, text):
    path = tmp_path / "log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(loss.epoch, loss.fake, loss.real) for loss in read_losses(path)]


def losses_of(values, first=0):
    return [EpochLoss(epoch=first + i, fake=value, real=value) for i, value in enumerate(values)]


def best(values, first=0, **changes):
    choice = choose_best(losses_of(values, first), **{"count": 2, "after_epoch": 3, "fake_weight": 1.4, **changes})
    return [loss.epoch for loss in choice.best], choice.after_epoch


def test_pairs_count_up(tmp_path):
    """As the reference prints them."""
    assert read(tmp_path, "fake_loss 0.5\nreal_loss 0.25\nsaving\nfake_loss 1e-05\nreal_loss 3\n") == [
        (0, 0.5, 0.25),
        (1, 1e-05, 3.0),
    ]


def test_numbers_count_where_they_are_given(tmp_path):
    """The run was killed between fake_loss and real_loss of epoch 8; the resumed one repeats epoch 7."""
    text = """going on at epoch 6, step 0
epoch 6
fake_loss 0.6
real_loss 0.06
bce 0.33, best 0.33
epoch 7
fake_loss 0.7
real_loss 0.07
epoch 8
fake_loss 0.8
going on at epoch 7, step 100
epoch 7
fake_loss 0.75
real_loss 0.075
epoch 10
fake_loss 1.0
real_loss 0.1
fake_loss 1.1
real_loss 0.11
"""
    assert read(tmp_path, text) == [(6, 0.6, 0.06), (7, 0.75, 0.075), (10, 1.0, 0.1), (11, 1.1, 0.11)]


def test_between_bars(tmp_path):
    """What tqdm draws names epochs too, redraws with \\r and may leave its bar in front of a line."""
    text = (
        "epoch 3:   0%|          | 0/9 [00:00<?, ?batch/s]\repoch 3: 100%|██████████| 9/9 [00:01<00:00, loss=0.1]\r\n"
        "validation:   0%|  | 0/2 [00:00<?]\rvalidation: 100%|██| 2/2 [00:00<00:00, 9.1batch/s]epoch 3\r\n"
        "fake_loss 0.5 \r\n\x1b[Avalidation: 100%|██| 2/2 [00:00<00:00]  real_loss 0.25\r\n"
        "mean fake_loss 7\nfake_loss unknown\nfake_loss\nthe real_loss 8\nfake_losses 9\nstopped at epoch 4\n"
    )
    assert read(tmp_path, text) == [(3, 0.5, 0.25)]


@pytest.mark.parametrize(
    "line", ["fake_loss " + "1" * 200_000 + "x", "fake_loss 1." + "1" * 200_000 + "e", "] " * 100_000]
)
def test_long_lines_take_time_with_their_length(tmp_path, line):
    started = time.monotonic()
    assert read(tmp_path, f"{line}\nfake_loss 1\nreal_loss 2.5e-1\n") == [(0, 1.0, 0.25)]
    assert time.monotonic() - started < 5


def test_half_pairs_and_bytes_that_are_no_text(tmp_path):
    text = b"real_loss 9\n\xff\xfe\x00\nfake_loss 1\nfake_loss 2\nreal_loss 3\nreal_loss 4\nfake_loss 5"
    assert read(tmp_path, text) == [(0, 2.0, 3.0)]


def test_losses_that_are_not_finite(tmp_path):
    text = "fake_loss nan\nreal_loss 0.5\nfake_loss 0.5\nreal_loss inf\nfake_loss 0.5\nreal_loss 0.5\n"
    found = read(tmp_path, text)
    assert math.isnan(found[0][1]) and found[1][2] == math.inf and found[2] == (2, 0.5, 0.5)
    with pytest.raises(InputError, match="not one of its 1 epochs has a finite loss"):
        read(tmp_path, "fake_loss nan\nreal_loss 0.5\n")


@pytest.mark.parametrize("text", ["", "epoch 1\nfake_loss 0.5\n", "hello\n"])
def test_nothing_in_it(tmp_path, text):
    with pytest.raises(InputError, match=r"log: holds no lines `fake_loss X` and `real_loss X`; name the file"):
        read(tmp_path, text)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"gone: can't be read \(No such file"):
        read_losses(tmp_path / "gone")
    with pytest.raises(InputError, match=r"can't be read \(Is a directory"):
        read_losses(tmp_path)


def test_weighted():
    assert EpochLoss(epoch=0, fake=0.5, real=0.3).weighted(1.4) == pytest.approx(0.5)  # (0.7 + 0.3) / 2


@pytest.mark.parametrize(
    "values, wanted",
    [
        ([0, 0, 0, 0, 0.5, 0.4, 0.3], ([6, 5], 3)),
        ([0, 0, 0, 0, 0.5, 0.4], ([5, 4], 3)),
        ([0, 0.9, 0.9, 0.9, 0.5], ([0, 4], None)),  # one comes after epoch 3
        ([0.5, 0.4], ([1, 0], None)),
        ([0.5], ([0], None)),
        ([9, 9, 9, 9, 0.4, 0.4, 0.4], ([4, 5], 3)),  # equal ones: the earlier
        ([9, 9, 9, 9, math.nan, 0.4, 0.3, math.inf], ([6, 5], 3)),
        ([0.1, 9, 9, 9, math.nan, 0.4], ([0, 5], None)),
    ],
)
def test_choice(values, wanted):
    assert best(values) == wanted


def test_the_weight_of_fakes_decides():
    losses = [EpochLoss(epoch=0, fake=0.4, real=0.6), EpochLoss(epoch=1, fake=0.5, real=0.48)]
    for fake_weight, epoch in ((1.0, 1), (1.4, 0)):  # 0.5 and 0.49; 0.58 and 0.59
        assert choose_best(losses, count=1, after_epoch=-1, fake_weight=fake_weight).best[0].epoch == epoch


def test_description():
    def lines(values):
        losses = losses_of(values)
        choice = choose_best(losses, count=2, after_epoch=3, fake_weight=1.4)
        return describe(losses, choice, after_epoch=3, fake_weight=1.4).splitlines()

    assert lines([9, 9, math.nan, 9, 0.5, 0.25]) == [
        "no finite loss, left out: epoch 2",
        "best 2 after epoch 3, of 6 epochs by (1.4 * fake + real) / 2:",
        "  epoch 5: fake 0.25000, real 0.25000, weighted 0.30000",
        "  epoch 4: fake 0.50000, real 0.50000, weighted 0.60000",
    ]
    assert lines([0.5])[:2] == [
        "too few epochs come after epoch 3: all epochs count",
        "best 1 of all 1 epochs by (1.4 * fake + real) / 2:",
    ]


def test_weight():
    assert weight("1.4") == 1.4 and weight("0") == 0
    for text in ("-1", "nan", "inf", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 0 on"):
            weight(text)
