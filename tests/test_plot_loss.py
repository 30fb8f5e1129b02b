"""The plot of a training's losses: what is drawn and printed, and what is refused."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from training.loss_log import choose_best, read_losses
from training.tools import plot_loss

SCRIPT = Path(plot_loss.__file__)


def write_log(path, count, first=0):
    """Losses that fall and jump; the last epoch is the best."""
    draw = np.random.default_rng(0)
    lines = []
    for epoch in range(first, first + count):
        loss = 0.2 + 0.5 * 0.9**epoch + 0.02 * draw.random()
        lines.append(f"epoch {epoch}\nfake_loss {loss}\nreal_loss {0.8 * loss}\n")
    path.write_text("".join(lines))
    return path


def drawn(path):
    losses = read_losses(path)
    choice = choose_best(losses, count=5, after_epoch=16, fake_weight=1.4)
    figure = Figure()
    plot_loss.draw(figure, losses, choice, title=str(path), fake_weight=1.4)
    return losses, choice, figure


@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_picture(tmp_path, capsys, suffix, start):
    log, out = write_log(tmp_path / "log", 40), tmp_path / f"loss.{suffix}"
    assert plot_loss.main(["--log-file", str(log), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(start)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "best 5 after epoch 16, of 40 epochs by (1.4 * fake + real) / 2:"
    assert len(lines) == 7 and all("epoch" in line and "weighted" in line for line in lines[1:6])
    assert lines[6] == str(out)
    assert sorted(os.listdir(tmp_path)) == sorted(["log", out.name])
    if suffix == "png":
        with Image.open(out) as image:
            assert min(image.size) > 600 and len(np.unique(np.asarray(image))) > 50


def test_what_is_drawn(tmp_path):
    losses, choice, figure = drawn(write_log(tmp_path / "log", 40))
    (axes,) = figure.axes
    fake, real, weighted, stars = axes.lines[:4]
    np.testing.assert_allclose(fake.get_ydata(), [loss.fake for loss in losses])
    np.testing.assert_allclose(real.get_ydata(), [loss.real for loss in losses])
    np.testing.assert_allclose(weighted.get_ydata(), [(1.4 * loss.fake + loss.real) / 2 for loss in losses])
    assert all(list(line.get_xdata()) == list(range(40)) for line in (fake, real, weighted))
    assert list(stars.get_xdata()) == [loss.epoch for loss in choice.best] and min(stars.get_xdata()) > 16
    assert axes.get_xlabel() == "epoch" and "log loss" in axes.get_ylabel() and "Validation loss" in axes.get_title()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:3] == ["fake videos", "real videos", "weighted: (1.4 × fake + real) / 2"]
    assert texts[3].startswith("best 5: epoch ") and texts[4] == "not looked at: up to epoch 16"


@pytest.mark.parametrize("count", [1, 5, 21, 60])
def test_nothing_overlaps(tmp_path, count):
    """Title, axes and legend stay apart, and inside the picture."""
    _, _, figure = drawn(write_log(tmp_path / ("log" * 40), count))
    figure.set_size_inches(11, 6.5)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [axes.title.get_window_extent(), axes.bbox, axes.xaxis.label.get_window_extent()]
    boxes.append(figure.legends[0].get_window_extent())
    for above, below in pairwise(boxes):
        assert above.y0 >= below.y1
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    ticks = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(ticks))


def test_few_epochs_all_count(tmp_path, capsys):
    log = write_log(tmp_path / "log", 19)
    assert plot_loss.main(["--log-file", str(log), "--out", str(tmp_path / "loss.png")]) == 0
    assert "too few epochs come after epoch 16: all epochs count\nbest 5 of all 19" in capsys.readouterr().out
    texts = [text.get_text() for text in drawn(log)[2].legends[0].get_texts()]
    assert len(texts) == 4 and texts[3].startswith("best 5 of all: epoch ")


def test_fake_weight(tmp_path, capsys):
    log = tmp_path / "log"
    log.write_text("fake_loss 0.5\nreal_loss 0.3\n")
    assert plot_loss.main(["--log-file", str(log), "--fake-weight", "1", "--out", str(tmp_path / "loss.png")]) == 0
    assert "epoch 0: fake 0.50000, real 0.30000, weighted 0.40000" in capsys.readouterr().out


def test_a_dollar_in_the_name_is_no_formula(tmp_path, capsys):
    log = write_log(tmp_path / "$a_$^", 3)
    assert plot_loss.main(["--log-file", str(log), "--out", str(tmp_path / "loss.png")]) == 0


def test_window(tmp_path, monkeypatch):
    """A display is not to be had here: what would be shown is looked at instead."""
    shown = []
    monkeypatch.setattr(plt, "get_backend", lambda: "TkAgg")
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    assert plot_loss.main(["--log-file", str(write_log(tmp_path / "log", 3))]) == 0
    assert len(shown) == 1 and len(shown[0].axes) == 1
    plt.close("all")


def run_script(*args, **environment):
    kept = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")}
    return subprocess.run(
        [sys.executable, SCRIPT, *args], cwd="/", env={**kept, **environment}, capture_output=True, text=True
    )


@pytest.mark.parametrize("environment", [{}, {"MPLBACKEND": "TkAgg"}])
def test_no_display(tmp_path, environment):
    done = run_script("--log-file", str(write_log(tmp_path / "log", 3)), **environment)
    assert done.returncode == 1 and "best 3 of all 3 epochs" in done.stdout
    assert done.stderr == (
        "error: no window can be opened here, as there is no display; name a picture to write with --out\n"
    )


@pytest.mark.parametrize("out", ["loss", "loss.xyz", "loss.pgf"])
def test_unknown_format(tmp_path, capsys, out):
    log = write_log(tmp_path / "log", 3)
    assert plot_loss.main(["--log-file", str(log), "--out", str(tmp_path / out)]) == 1
    assert f"{out}: must end in .png, or one of ." in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["log"]


def test_bad_files(tmp_path, capsys):
    assert plot_loss.main(["--log-file", str(tmp_path / "gone"), "--out", str(tmp_path / "loss.png")]) == 1
    assert "gone: can't be read (No such file or directory); name the file" in capsys.readouterr().err
    log = write_log(tmp_path / "log", 3)
    assert plot_loss.main(["--log-file", str(log), "--out", str(tmp_path / "none" / "loss.png")]) == 1
    assert "loss.png: can't be written (No such file or directory); choose another --out" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        plot_loss.main(["--log-file", str(log), "--fake-weight", "nan"])
