"""The training loop, which knows no system: a `systems.task.Task` says what is trained on what.

Here are devices, processes, precision, schedules, clipping, signals, resuming, validation, curves and checkpoints.
"""

import argparse
import contextlib
import errno
import math
import os
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from engines.device import resolve_device
from engines.gpu import forbid_tf32
from runtime.errors import InputError, OutputError, TrainingError
from runtime.files import remove_leftovers, temporary_name, write_json
from systems.imagenet import PretrainedWeightsError
from systems.task import HeldOutRow, Task
from training.device_errors import device_errors_are_told
from training.epoch_batches import epoch_batches, share_of
from training.loaders import BrokenSamples, batches_of, create_loader
from training.one_cycle import OneCycle
from training.optimizers import create_optimizer, start_anew
from training.processes import Processes
from training.run import Run
from training.state import Position, Trained
from training.stopping import Monitor
from training.sync_batchnorm import convert_sync_batchnorm
from training.validation import Validation, score_videos

MakeTask = Callable[[int], Task]  # of the number of processes


def train_together(args: argparse.Namespace, config: Any, make_task: MakeTask, processes: Processes) -> int:
    """`train`, so that what ends one process ends all of them, with a line."""
    with processes.lost_is_told(), device_errors_are_told(args.config):
        code = train(args, config, make_task, processes)
        processes.close()
        return code


def train(args: argparse.Namespace, config: Any, make_task: MakeTask, processes: Processes) -> int:
    """Train from the first step, or from where --resume says, to the last. Returns the exit code."""
    # list the work
    device = choose_device(args, processes)
    task = make_task(processes.world_size)
    run = Run(args=args, config=config, task=task, processes=processes, device=device)
    check_batches(run)
    make_folders(run)

    with run.alone():
        # skip what is done
        run.say(
            f"{run.name}: {run.described_device}, {run.dtype}, {processes.world_size} process(es)".replace("torch.", "")
        )
        remove_leftovers_of(run)
        checkpoint = checkpoint_to_resume(run)
        trained = create_model(run, replaced=bool(checkpoint))
        position = resume(run, trained, checkpoint)
        if position.epoch >= run.epochs and position.validated:
            run.say(f"{run.name}: all {run.epochs} epochs are done{best_of(run, position)}")
            return 0
        if position != Position():
            run.say(f"going on at epoch {position.epoch}, step {position.iteration}")

        # process
        with run.stop.listening(), writer_of(run, position) as writer:
            while True:
                if not position.validated:
                    position = validate(run, trained, position, writer)
                if position.epoch >= run.epochs:
                    break
                position, signal_number = train_epoch(run, trained, position, writer)
                check_finite(run, trained, position)
                run.save_last(trained, position)
                if signal_number:
                    where = f"epoch {position.epoch}, step {position.iteration}"
                    run.say(f"stopped at {where}; --resume auto goes on", sys.stderr)
                    return 128 + signal_number

    # summarise
    run.say(f"{run.name}: {run.epochs} epochs{best_of(run, position)}: {args.output_dir}")
    return 0


def best_of(run: Run, position: Position) -> str:
    return f"; best validation {position.best:.5f}" if run.task.held_out else ", without validation"


def choose_device(args: argparse.Namespace, processes: Processes) -> torch.device:
    if args.distributed and processes.world_size == 1 and not processes.is_launched:
        raise InputError("--distributed: this is no torchrun launch; run torchrun --nproc-per-node N, or leave it out")
    if args.gpu is not None and args.device != "auto":
        raise InputError("--gpu and --device: give one of them")
    name = args.device if args.gpu is None else f"cuda:{args.gpu}"
    if processes.world_size > 1 and name.startswith("cuda:"):
        name = "cuda"  # each process its own
    device = resolve_device(name, processes.local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if args.opt_level == "O0":
            forbid_tf32()
    return device


def check_batches(run: Run) -> None:
    """Raises InputError for batches that are too small."""
    world_size = run.processes.world_size
    rows = len(run.task.rows(0))
    batches = epoch_batches(rows, batch_size=run.config.optimizer.batch_size, world_size=world_size)
    run.task.check_batches(min(len(batch) for batch in batches[: run.task.batches_per_epoch]) * world_size)


def make_folders(run: Run) -> None:
    """Raises OutputError where nothing can be written, before time is spent."""
    args = run.args
    for flag, folder, name in (("--output-dir", args.output_dir, ""), ("--logdir", args.logdir, run.name)):
        try:
            Path(folder, name).mkdir(parents=True, exist_ok=True)
            if run.processes.rank == 0:
                probe = temporary_name(Path(folder, name, "probe"))
                probe.touch()
                probe.unlink()
        except OSError as error:
            shorter = " or a shorter --prefix" if error.errno == errno.ENAMETOOLONG else ""
            raise OutputError(
                f"{flag} {folder}: can't be written ({error.strerror}); name another folder{shorter}"
            ) from error
    for ending in ("last_validated", run.epochs):
        try:
            os.lstat(run.path(ending))
        except FileNotFoundError:
            continue
        except OSError as error:
            where = f"--output-dir {args.output_dir}, --prefix {args.prefix}"
            raise OutputError(
                f"{where}: {run.path(ending)} can't be written ({error.strerror}); choose others"
            ) from error


def remove_leftovers_of(run: Run) -> None:
    """Remove what trainings of this name that were killed left half written. The folder is read once: there may be very
    many epochs."""
    if run.processes.rank == 0:
        there = {name.split(".")[1] for name in os.listdir(run.args.output_dir) if name.startswith(".")}
        for ending in ("last", "last_validated", "best_dice", *range(run.epochs)):
            path = run.path(ending)
            if there and temporary_name(path).name.split(".")[1] in there:
                remove_leftovers(path)


def create_model(run: Run, *, replaced: bool) -> Trained:
    torch.manual_seed(run.task.seed)
    try:
        model = run.task.create_network(replaced=replaced)
    except PretrainedWeightsError as error:
        raise InputError(f"{error} Or set pretrained to false in {run.args.config}") from error
    model = model.to(run.device)
    if run.processes.world_size > 1:
        model = convert_sync_batchnorm(model)
    scaler = torch.amp.GradScaler(run.device.type, enabled=run.dtype == torch.float16)
    return Trained(model=model, optimizer=create_optimizer(run.config.optimizer, model), scaler=scaler)


def checkpoint_to_resume(run: Run) -> str:
    """The file that --resume tells, or nothing."""
    path = run.args.resume
    if not path and (run.args.from_zero or run.args.zero_score):
        raise InputError("--from-zero and --zero-score: say what to take of a checkpoint; name it with --resume")
    if path == "auto":
        path = str(run.path("last")) if os.path.exists(run.path("last")) else ""
    return path


def resume(run: Run, trained: Trained, path: str) -> Position:
    """Take what is in a checkpoint, if there is one."""
    if not path:
        return Position()
    position = trained.load(path, run.task, run.settings, epochs=run.epochs, from_zero=run.args.from_zero)
    run.last_is_validated = position.validated or os.path.realpath(path) != os.path.realpath(run.path("last"))
    return replace(position, best=Position.best) if run.args.zero_score else position


def train_epoch(run: Run, trained: Trained, position: Position, writer: Any) -> tuple[Position, int]:
    """Train from `position` to the end of its epoch. Returns where it got to, and the signal that stopped it or 0."""
    args, task, processes = run.args, run.task, run.processes
    epoch, first = position.epoch, position.iteration
    rows = task.rows(epoch)
    batches = epoch_batches(
        len(rows), batch_size=run.config.optimizer.batch_size, rank=processes.rank, world_size=processes.world_size
    )[: task.batches_per_epoch]
    data = task.training_data(rows, epoch)
    loader = create_loader(data, batches[first:], workers=args.workers, pin_memory=run.device.type == "cuda")
    monitor, broken = Monitor(processes, run.stop, run.remedy), BrokenSamples(len(rows))
    bar = tqdm(total=len(batches), initial=first, desc=f"epoch {epoch}", unit="batch", disable=processes.rank > 0)
    network = entered = None

    with bar:
        for i, batch in enumerate(batches_of(loader), start=first):
            step = i + epoch * task.batches_per_epoch
            if network is None or task.phase(step, epoch) != entered:
                entered = task.phase(step, epoch)
                network = shared(run, trained.model, entered)
            if step and step == task.warm_up:
                start_anew(trained.optimizer)
            set_rates(run, trained.optimizer, step, epoch)
            torch.manual_seed((task.seed * 1_000_003 + step) * 4099 + processes.rank)  # dropout and drop path
            broken.add(batch["errors"])
            if step == 0 and writer:
                writer.add_images("train/samples", task.pictures(batch), 0)

            with run.autocast():
                losses = task.losses(network, run.on_device(batch), run.step(step))
            trained.optimizer.zero_grad(set_to_none=True)
            trained.scaler.scale(losses.total).backward()
            if task.gradient_norm is not None:
                trained.scaler.unscale_(trained.optimizer)
                nn.utils.clip_grad_norm_(trained.model.parameters(), task.gradient_norm)
            trained.scaler.step(trained.optimizer)
            trained.scaler.update()

            monitor.add(losses, f"epoch {epoch}, step {i}")
            bar.update()
            if monitor.last is not None:
                bar.set_postfix(loss=f"{monitor.mean:.4f}", lr=f"{trained.optimizer.param_groups[0]['lr']:.6f}")
                log_step(trained, monitor, step, writer)
            if monitor.signal and i + 1 < len(batches):
                monitor.settle()
                return replace(position, iteration=i + 1), monitor.signal
        monitor.settle()
    tell_of_broken(run, broken, f"epoch {epoch}")
    return replace(position, epoch=epoch + 1, iteration=0, validated=False), monitor.signal


def shared(run: Run, model: nn.Module, phase: Hashable) -> nn.Module:
    """The model in training mode, with what a phase freezes frozen, shared by DDP between processes."""
    run.task.enter(model, phase)
    if run.processes.world_size == 1:
        return model
    devices = [run.device.index] if run.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


def set_rates(run: Run, optimizer: torch.optim.Optimizer, step: int, epoch: int) -> None:
    """Set what the schedule says of a step of the run, which is in `epoch`."""
    position = max(step - run.task.warm_up, 0) if run.config.optimizer.schedule.mode == "step" else epoch
    for group in optimizer.param_groups:
        group["lr"] = run.schedule(position, group["base_lr"])
    if isinstance(run.schedule, OneCycle):
        run.schedule.set_beta1(optimizer, position)


def log_step(trained: Trained, monitor: Monitor, step: int, writer: Any) -> None:
    if writer:
        writer.add_scalar("train/loss", monitor.last, step - 1)  # of the step before this one
        for name, part in monitor.parts.items():
            writer.add_scalar(f"train/{name}_loss", part, step - 1)
        for number, group in enumerate(trained.optimizer.param_groups):
            writer.add_scalar(f"group{number}/lr", group["lr"], step)


def tell_of_broken(run: Run, broken: BrokenSamples, when: str) -> None:
    errors = list(dict.fromkeys(error for share in run.processes.gather(list(broken.errors)) for error in share))
    if errors:
        run.say(f"{when}: {len(errors)} samples could not be read, the first: {errors[0]}", sys.stderr)


def check_finite(run: Run, trained: Trained, position: Position) -> None:
    """Raises TrainingError, on all processes, where the last step made numbers that are none: before they replace any
    that are good."""
    broken = next(filter(None, run.processes.gather(trained.not_finite())), None)
    if broken:
        where = f"epoch {position.epoch}, step {position.iteration}"
        if position.iteration == 0:
            where = f"epoch {position.epoch - 1}"
        raise TrainingError(
            f"{where}: {broken} is not finite: training went wrong in its last step, nothing was overwritten; "
            f"{run.remedy}"
        )


def validate(run: Run, trained: Trained, position: Position, writer: Any) -> Position:
    """Validate the epoch before `position` where it is its turn, and save what that gives. Where it is not, a batch
    tells whether its weights are of use."""
    epoch = position.epoch - 1
    done = replace(position, validated=True)
    rows = run.task.held_out
    is_due = bool(rows) and position.epoch % max(run.args.test_every, 1) == 0
    scored = predict(run, trained.model, rows if is_due else rows[: run.config.optimizer.batch_size])
    if not all(math.isfinite(probability) for _, _, probability in scored):
        run.take_back_last()
        raise TrainingError(
            f"epoch {epoch}: the validation loss is nan: training went wrong in its last steps; {run.remedy}"
        )
    if run.processes.rank == 0:
        extra = {"epoch": position.epoch, "bce_best": position.best}
        run.task.save(run.path(epoch), trained.model, **extra)
    if is_due:
        if len({label for _, label, _ in scored}) < 2:
            raise InputError(f"{run.args.data_dir}: of a class no held-out sample can be read; run preprocess_data.sh")
        result = score_videos(scored)
        for line in (f"epoch {epoch}", f"fake_loss {result.fake_loss}", f"real_loss {result.real_loss}"):
            run.say(line)
        is_best = result.bce < position.best
        done = replace(done, best=min(result.bce, position.best))
        if run.processes.rank == 0:
            save_validation(run, trained, result, done, is_best, writer)
        run.say(f"bce {result.bce:.5f}, best {done.best:.5f}")
    run.save_last(trained, done)
    return done


def save_validation(
    run: Run, trained: Trained, result: Validation, position: Position, is_best: bool, writer: Any
) -> None:
    predictions = Path(run.args.output_dir, run.task.predictions)
    write_json(predictions, {"probs": result.probs, "targets": result.targets}, "free some space")
    if is_best:
        extra = {"epoch": position.epoch, "bce_best": position.best}
        run.task.save(run.path("best_dice"), trained.model, **extra)
    if writer:
        writer.add_scalar("val/bce", result.bce, position.epoch - 1)


@torch.inference_mode()
def predict(run: Run, model: nn.Module, rows: Sequence[HeldOutRow]) -> list[tuple[str, int, float]]:
    """Video, label and probability of each row that can be read, on every process; each does its share."""
    task, processes = run.task, run.processes
    mine = [rows[index] for index in share_of(len(rows), rank=processes.rank, world_size=processes.world_size)]
    batches = epoch_batches(len(mine), batch_size=2 * run.config.optimizer.batch_size)
    pin_memory = run.device.type == "cuda"
    loader = create_loader(task.validation_data(mine), batches, workers=run.args.workers, pin_memory=pin_memory)
    model.eval()
    broken, scored = BrokenSamples(len(mine)), []
    bar = tqdm(batches_of(loader), desc="validation", total=len(batches), unit="batch", disable=processes.rank > 0)
    for indices, batch in zip(batches, bar, strict=True):
        broken.add(batch["errors"])
        with run.autocast():
            probabilities = task.p_fake(model, run.on_device(batch)).tolist()
        scored += [
            (mine[index].video, mine[index].label, probability)
            for index, row, probability in zip(indices, batch["row"].tolist(), probabilities, strict=True)
            if row == index  # another one stands in for what can't be read
        ]
    tell_of_broken(run, broken, "validation")
    return [each for share in processes.gather(scored) for each in share]


@contextlib.contextmanager
def writer_of(run: Run, position: Position) -> Iterator[Any]:
    """A TensorBoard writer on rank 0, None elsewhere."""
    if run.processes.rank:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter  # takes seconds

    step = position.iteration + position.epoch * run.task.batches_per_epoch
    with SummaryWriter(os.path.join(run.args.logdir, run.name), purge_step=step) as writer:
        yield writer
