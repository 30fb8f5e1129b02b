"""Plot a training's validation losses and mark its best five epochs.

    python training/tools/plot_loss.py --log-file logs/b7_111 --fake-weight 1.4 --out loss.png

Input: what training printed (training/loss_log.py says which lines count). Output: the best five epochs after
epoch 16 by (fake weight * fake + real) / 2, one to a line, and a picture of the fake, real and weighted loss of each
epoch; without --out a window.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from runtime.command import run_command
from runtime.errors import InputError, printable
from runtime.pictures import format_of, save
from runtime.ranks import Ranks
from training.loss_log import (
    AFTER_EPOCH,
    COUNT,
    FAKE_WEIGHT,
    Choice,
    EpochLoss,
    choose_best,
    describe,
    read_losses,
    weight,
)

_SIZE, _DPI = (11.0, 6.5), 110  # inches
_FAKE, _REAL, _WEIGHTED, _BEST = "#d55e00", "#0072b2", "#222222", "#ffd000"  # told apart by the colour-blind too
_LONGEST = 70  # letters of the log's name in the title


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Plot a training's validation losses")
    arg = parser.add_argument
    arg("--log-file", required=True, metavar="FILE", help="what training printed")
    arg("--fake-weight", type=weight, default=FAKE_WEIGHT, metavar="X", help=f"of fakes (default: {FAKE_WEIGHT})")
    arg("--out", metavar="FILE", help="picture to write: .png, .jpg, .pdf, ... (default: a window)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(plot_loss, parse_args(argv))


def plot_loss(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # one picture: one process makes it
    image_format = format_of(args.out) if args.out else None
    losses = read_losses(args.log_file)
    choice = choose_best(losses, count=COUNT, after_epoch=AFTER_EPOCH, fake_weight=args.fake_weight)
    print(describe(losses, choice, after_epoch=AFTER_EPOCH, fake_weight=args.fake_weight), flush=True)
    if not args.out:
        show(losses, choice, args)
        return 0
    figure = Figure(figsize=_SIZE, dpi=_DPI)
    draw(figure, losses, choice, title=args.log_file, fake_weight=args.fake_weight)
    save(figure, args.out, image_format)
    print(printable(args.out))
    return 0


def draw(figure: Figure, losses: Sequence[EpochLoss], choice: Choice, *, title: str, fake_weight: float) -> None:
    """Fill a figure: three curves, the best epochs as stars, a shade over those that were not looked at."""
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    axes = figure.add_subplot()
    epochs = [loss.epoch for loss in losses]
    style = {"marker": "o", "markersize": 3.5, "linewidth": 1.5}
    axes.plot(epochs, [loss.fake for loss in losses], color=_FAKE, label="fake videos", **style)
    axes.plot(epochs, [loss.real for loss in losses], color=_REAL, label="real videos", **style)
    style["linewidth"] = 2.5
    label = f"weighted: ({fake_weight:g} × fake + real) / 2"
    axes.plot(epochs, [loss.weighted(fake_weight) for loss in losses], color=_WEIGHTED, label=label, **style)
    of_all = " of all" if choice.after_epoch is None else ""
    axes.plot(
        [loss.epoch for loss in choice.best],
        [loss.weighted(fake_weight) for loss in choice.best],
        linestyle="",
        marker="*",
        markersize=15,
        color=_BEST,
        markeredgecolor="black",
        zorder=3,
        label=f"best {len(choice.best)}{of_all}: epoch {', '.join(str(loss.epoch) for loss in choice.best)}",
    )
    for loss in choice.best:
        axes.axvline(loss.epoch, color=_BEST, linewidth=1, linestyle=":", zorder=1)
    if choice.after_epoch is not None and epochs[0] <= choice.after_epoch:
        last = choice.after_epoch + 0.5
        axes.axvspan(
            epochs[0] - 0.5, last, color="0.93", zorder=0, label=f"not looked at: up to epoch {choice.after_epoch}"
        )
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
    axes.set_xlabel("epoch", fontsize=12)
    axes.set_ylabel("log loss of the held-out videos", fontsize=12)
    axes.grid(alpha=0.3)
    short = title if len(title) <= _LONGEST else f"…{title[-_LONGEST:]}"
    axes.set_title(f"Validation loss of each epoch\n{printable(short)}", fontsize=13, parse_math=False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=11)


def show(losses: Sequence[EpochLoss], choice: Choice, args: argparse.Namespace) -> None:
    """Open a window and wait until it is closed. Raises InputError where there is none to be had."""
    import matplotlib.pyplot as plt  # it looks for a display

    error = InputError("no window can be opened here, as there is no display; name a picture to write with --out")
    try:
        figure = plt.figure(figsize=_SIZE)
    except ImportError:
        raise error from None
    if plt.get_backend().lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
        raise error
    draw(figure, losses, choice, title=args.log_file, fake_weight=args.fake_weight)
    plt.show()


if __name__ == "__main__":
    sys.exit(main())
