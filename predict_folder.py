"""Score every video of a folder with an ensemble of classifiers.

    python predict_folder.py --test-dir videos --models A B --weights-dir weights --output submission.csv

Input: the videos of a folder, by their endings (.mp4, .mov, .avi, .mkv and others that the reader reads), and
checkpoints. Output: a CSV `filename,label` with a row for each video, sorted; label is the probability that it is fake,
0.5 where no face was found or the video can't be read. Beside it: OUTPUT.summary.json (how many videos ended how, and
which) and OUTPUT.<settings>.jsonl (results as they come; a run that is stopped goes on from it). With torchrun the
videos are shared between processes, GPUs and machines:

    torchrun --nproc-per-node 8 predict_folder.py ...
"""

import argparse
import contextlib
import os
import stat
import sys
import time

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import torch
from tqdm import tqdm

from engines.choice import ENGINES
from engines.device import PRECISIONS, describe_device, device_notes, resolve_device, resolve_precision
from engines.gpu import failures_are_told
from evaluation.calibration import Calibration, load_calibration
from evaluation.ratio_csv import COLUMNS as RATIO_COLUMNS
from evaluation.ratio_csv import ratio_in_words, ratios_of
from inference.case_rerun import repeatable
from inference.case_writer import Checkpoint, now, write_case
from inference.listing import check_no_videos, list_videos, tell_left_out
from inference.machine_facts import machine_facts
from inference.opening import check_checkpoints, engine_of
from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, Pipeline, VideoResult, apply_verdict
from inference.recorded import Run, recorded
from inference.report import write_report
from inference.results import (
    ResultsJournal,
    fingerprint,
    summarise,
    write_faces,
    write_intervals,
    write_submission,
    write_summary,
    write_tracks,
)
from inference.video_people import Person, people_of
from runtime.command import number_above, positive, run_command, worker_count
from runtime.cores import available_cores
from runtime.digests import digest_of
from runtime.errors import printable
from runtime.memory import MemoryBudget, default_budget
from runtime.output_check import check_outputs
from runtime.ranks import Ranks
from systems.checkpoints import CheckpointError
from systems.registry import (
    DEFAULT,
    SYSTEMS,
    add_flags,
    checkpoint_path,
    load_predictor,
    options_of,
    published_path,
    strategies,
    system_of,
)
from systems.system import Machine, Predictor
from systems.tracks import how_scored, verdict_of

_RESULTS_FORMAT = 4  # raised whenever the same settings would give other scores, or other facts, than before


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predict test videos", formatter_class=argparse.RawTextHelpFormatter)
    arg = parser.add_argument
    arg("--weights-dir", default="weights", help="folder with checkpoints (default: weights, in the current folder)")
    arg("--models", nargs="+", required=True, metavar="FILE", help="checkpoint files in it: the ensemble")
    arg("--test-dir", required=True, help="folder with videos, of any container that the reader reads")
    arg("--only-mp4", action="store_true", help="take *.mp4 alone, as the competition had it")
    arg("--output", default="submission.csv", help="CSV to write (default: submission.csv)")
    arg("--faces-csv", metavar="FILE", help="also write a row for each face: box, detector's score, each model's score")
    arg(
        "--report",
        metavar="FILE",
        help="also write an HTML page: a table of the videos, their faces and scores over time.\n"
        "Its pictures of faces are read from the videos again, which takes about as long as the first time.",
    )
    arg(
        "--strategy",
        choices=strategies(),
        help="from a video's faces to its score: a rule of the winner's system (default: confident), or, for every\n"
        "system, person: each person is scored alone by the system's rule, and the highest counts",
    )
    arg(
        "--tracks-csv",
        metavar="FILE",
        help="also write a row for each person: when, where, each model's score and all models'",
    )
    arg(
        "--intervals-csv",
        metavar="FILE",
        help="also write when a person's score is above --interval-threshold: start and end in seconds, peak",
    )
    arg(
        "--interval-threshold",
        type=number_above(0, 1),
        default=0.5,
        metavar="P",
        help="of a person's score, smoothed over 0.8 seconds (default: 0.5)",
    )
    arg(
        "--calibration",
        metavar="FILE",
        help="of calibrate.py fit, for these models: also write each score's likelihood ratio (log10_lr, lr_note in\n"
        "--output), and in words into --report",
    )
    arg(
        "--case", metavar="FILE", help="what the scores were made of and with, for verify.py (default: beside --output)"
    )
    arg("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)")
    arg(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of the classifiers: auto is fp16 on a GPU as in the reference, fp32 on a CPU.\n"
        "bf16 on a CPU that has AMX scores faces two to three times as fast, and moved the score of a\n"
        "video by up to 0.015 in tests (0.023 with --engine torch). The face detector always runs in fp32.",
    )
    arg(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="auto takes the first that can be had, and runs the system's models, of native (our own kernels:\n"
        "on a CPU they need AMX and a C++ compiler), avx512 (our own for a CPU with AVX-512: The Medics'\n"
        'networks), openvino (on a CPU) and torch. onnxruntime (pip install ".[export]") scores in fp32',
    )
    arg("--workers", type=worker_count, metavar="N", help="threads that read and detect (default: CPU cores)")
    arg(
        "--batch-size",
        type=positive,
        metavar="N",
        help="faces scored at a time (default: 2 on a CPU, where more are slower, 64 on a GPU)",
    )
    arg("--frames-per-batch", type=positive, metavar="N", help="frames searched at a time (default: 8, GPU: 32)")
    arg(
        "--memory",
        type=positive,
        metavar="MB",
        help="megabytes of frames that are read and searched at a time (default: an eighth of the machine's\n"
        "memory, on a CPU at most 2048). One of 1080p takes 70, each further one 15; of 8K 1160 and 230:\n"
        "where a video takes more than there is, it is read alone, frame by frame",
    )
    arg(
        "--strict",
        action="store_true",
        help="exit code 1 if any video got 0.5 for want of a face or a readable file,\n"
        "or if any file of the folder was left out, as it is no video by its name",
    )
    arg("--overwrite", action="store_true", help="score all videos again, also those done with the same settings")
    arg(
        "--system",
        choices=SYSTEMS,
        help="whose models these are (default: by the checkpoints; those that say nothing are the winner's)",
    )
    add_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(predict, parse_args(argv))


def predict(args: argparse.Namespace, ranks: Ranks) -> int:
    started, began = time.time(), now()
    device = resolve_device(args.device, ranks.local_rank)
    precision = resolve_precision(args.precision, device)
    checkpoints = [checkpoint_path(args.weights_dir, name) for name in args.models]
    if ranks.rank:
        return assist(args, ranks, device, precision)

    # list the work and skip what is done
    try:
        outputs = [args.output, *asked_for(args).values()]
        listing = list_videos(args.test_dir, only_mp4=args.only_mp4, outputs=outputs)
        videos = listing.videos
        check_checkpoints(args.weights_dir, args.models)
        system = args.system or system_of(args.weights_dir, args.models)
        predictor = load_predictor(system, options_of(args), args.weights_dir)
        engine = engine_of(predictor, args.engine, device)
        paths = [(name, os.path.join(args.test_dir, name)) for name in videos]
        weights = [checkpoint_of(name, path) for name, path in zip(args.models, checkpoints, strict=True)]
        settings = describe_settings(args, system, predictor, device, precision, engine, weights)
        calibration = calibration_of(args, system, predictor, settings)
        files = output_files(args, settings)
        inputs = input_files(args, system)
        check_outputs(files, [*checkpoints, *inputs.values(), *(path for _, path in paths)])
        check_no_videos(args.test_dir, outputs)
        journal = ResultsJournal(files["journal of --output"], settings, args.overwrite)
    except BaseException:
        ranks.broadcast(None)  # the others leave without a word
        raise
    try:
        finished = {name: result for name, path in paths if (result := journal.done(name, path))}
        todo = sorted((item for item in paths if item[0] not in finished), key=_size, reverse=True)
        print(
            f"Predicting {len(videos)} videos" + (f", {len(finished)} of them done before" if finished else ""),
            flush=True,
        )
        tell_left_out(listing)
        if todo:
            print(f"on {describe_device(device)} in {precision}, engine {engine}", flush=True)
        for line in device_notes(args.device, device, ranks.local_world_size):
            print(line, file=sys.stderr)
        ranks.broadcast((system, todo))
        for result in finished.values():
            if result.faces:
                apply_verdict(result, verdict_of(predictor, args.models, args.strategy))

        # process
        if todo:
            run = build_run(args, ranks, predictor, device, precision, engine)
            progress = tqdm(total=len(videos), initial=len(videos) - len(todo), unit="video")
            progress.bar_format = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
            with progress, contextlib.closing(ranks.results(todo, run)) as results:
                for result in results:
                    finished[result.video] = result
                    journal.add(result)
                    progress.update()
        ranks.close()
    finally:
        journal.close()

    # summarise
    results = [finished[name] for name in videos]
    ratios = ratios_in(calibration, results) if calibration else {}
    cells = {name: ["" if value is None else value, note] for name, (value, note) in ratios.items()}
    write_submission(args.output, results, RATIO_COLUMNS if calibration else (), cells)
    if args.faces_csv:
        write_faces(args.faces_csv, results, predictor.faces_table(args.models))
    people = {result.video: _people(result, predictor, args) for result in results}
    if args.tracks_csv:
        write_tracks(args.tracks_csv, people, args.models)
    if args.intervals_csv:
        write_intervals(args.intervals_csv, people)
    summary = {
        **summarise(results, predictor.frames_per_video),
        "left_out": listing.left_out,
        "hidden": listing.hidden,
        "sha256": digest_of(args.output).sha256,
    }
    how = how_scored(predictor, args.strategy)
    write_summary(files["summary of --output"], {**summary, "settings": settings, "strategy": how.strategy})
    if args.report:
        workers = args.workers or available_cores()
        said = {name: ratio_in_words(*ratio) for name, ratio in ratios.items() if ratio[0] is not None}
        write_report(args.report, results, dict(paths), people, settings=settings, how=how, said=said, workers=workers)
    write_case(
        files["case of --output"],
        started=began,
        repeat=repeatable(args, settings),
        settings=settings,
        weights_folder=args.weights_dir,
        weights=weights,
        inputs=inputs,
        videos_folder=args.test_dir,
        results=results,
        outputs=files,
        journal=journal.journal,
    )
    report(summary, args, predictor.frames_per_video, time.time() - started)
    return exit_code(results, args.strict, listing.left_out)


def assist(args: argparse.Namespace, ranks: Ranks, device: torch.device, precision: str) -> int:
    """What a process other than rank 0 does: score videos until none is left."""
    given = ranks.broadcast(None)
    if given is None:
        return 1
    system, todo = given
    if todo:
        predictor = load_predictor(system, options_of(args), args.weights_dir)
        engine = engine_of(predictor, args.engine, device)
        for _ in ranks.results(todo, build_run(args, ranks, predictor, device, precision, engine)):
            raise AssertionError("results go to rank 0")
    ranks.close()
    return 0


def checkpoint_of(name: str, path: str) -> Checkpoint:
    """A file of weights. Raises CheckpointError where it can't be read."""
    try:
        return Checkpoint(name=name, path=path, digest=digest_of(path))
    except OSError as error:
        raise CheckpointError(path, f"can't be opened ({error.strerror})") from error


def describe_settings(
    args: argparse.Namespace,
    system: str,
    predictor: Predictor,
    device: torch.device,
    precision: str,
    engine: str,
    weights: list[Checkpoint],
) -> dict:
    """All that the faces' scores depend on, besides the videos."""
    return {
        "format": _RESULTS_FORMAT,
        **({} if system == DEFAULT else {"system": system}),
        "models": [[each.name, each.digest.sha256[:16]] for each in weights],
        **predictor.settings(),
        "device": device.type,
        "precision": precision,
        "engine": engine,
        "batch_size": args.batch_size or predictor.default_batch_size(device),
    }


def calibration_of(args: argparse.Namespace, system: str, predictor: Predictor, settings: dict) -> Calibration | None:
    """What --calibration names, None without it. Raises InputError for one that is for other scores."""
    if not args.calibration:
        return None
    calibration = load_calibration(args.calibration)
    strategy = how_scored(predictor, args.strategy).strategy
    calibration.check(system, settings["models"], strategy, f"--calibration {args.calibration}")
    others = {key: value for key, value in settings.items() if key not in ("system", "models")}
    for difference in calibration.other_settings(others):
        print(printable(f"note: a setting is other than the calibration's: {difference}"), file=sys.stderr)
    return calibration


def ratios_in(calibration: Calibration, results: list[VideoResult]) -> dict[str, tuple[float | None, str]]:
    """The log10 likelihood ratio of each video, None where there is no score, and what to mind of it."""
    unscored = {result.video: result.status for result in results if result.status != OK}
    return ratios_of(calibration, {result.video: result.score for result in results}, unscored)


def output_files(args: argparse.Namespace, settings: dict) -> dict[str, str]:
    """All files that the run writes, by what to call them in a message."""
    stem = args.output.removesuffix(".csv")
    files = {
        "--output": args.output,
        "journal of --output": f"{stem}.{fingerprint(settings)}.jsonl",
        "summary of --output": f"{stem}.summary.json",
        "case of --output": args.case or f"{stem}.case.json",
    }
    return {**files, **asked_for(args)}


def input_files(args: argparse.Namespace, system: str) -> dict[str, str]:
    """What else the outputs depend on, by what it is to the command."""
    flags = ("--detections", "--clip-settings", "--calibration")
    given = {flag: getattr(args, flag[2:].replace("-", "_")) for flag in flags}
    published = published_path(system)
    config = {"config": str(published)} if published.is_file() else {}
    return {**config, **{flag: path for flag, path in given.items() if path}}


def asked_for(args: argparse.Namespace) -> dict[str, str]:
    """The outputs that a flag asks for, by the flag."""
    flags = ("--faces-csv", "--tracks-csv", "--intervals-csv", "--report")
    paths = {flag: getattr(args, flag[2:].replace("-", "_")) for flag in flags}
    return {flag: path for flag, path in paths.items() if path}


def _people(result: VideoResult, predictor: Predictor, args: argparse.Namespace) -> list[Person]:
    """Who is in a video."""
    rule, followed = predictor.verdict(args.models), predictor.follows_faces
    return people_of(result, rule, followed=followed, threshold=args.interval_threshold)


def build_pipeline(
    args: argparse.Namespace, ranks: Ranks, predictor: Predictor, device: torch.device, precision: str, engine: str
) -> tuple[Pipeline, str | None]:
    """The pipeline, and what finds faces in it."""
    cores = max(1, available_cores() // ranks.local_world_size)
    workers = args.workers or cores
    memory = default_budget(ranks.local_world_size, on_gpu=device.type == "cuda")
    machine = Machine(
        device=device,
        precision=precision,
        engine=engine,
        workers=workers,
        lanes=cores,
        memory=MemoryBudget(args.memory * 2**20 if args.memory else memory, workers),
        batch_size=args.batch_size,
        frames_per_batch=args.frames_per_batch,
    )
    with (
        tqdm(args.models, desc="Loading models", disable=ranks.rank > 0) as bar,
        failures_are_told("end what else runs on it, or use fewer --models or another --device"),
    ):
        opened = predictor.open(((name, checkpoint_path(args.weights_dir, name)) for name in bar), machine)
    verdict = verdict_of(predictor, args.models, args.strategy)
    return Pipeline(opened.sampler, opened.models, verdict, workers=workers), opened.detector


def build_run(
    args: argparse.Namespace, ranks: Ranks, predictor: Predictor, device: torch.device, precision: str, engine: str
) -> Run:
    """What scores videos, and tells of each what was read, and with what."""
    pipeline, detector = build_pipeline(args, ranks, predictor, device, precision, engine)
    environment = {**machine_facts(device), "detector": detector}
    return lambda videos: recorded(pipeline.run, videos, environment)


def report(summary: dict, args: argparse.Namespace, frames_per_video: int | None, seconds: float) -> None:
    """The end of the run, for a person: counts, and the videos that got 0.5 or fewer frames by name."""
    print(f"{summary['videos']} videos, {summary['scored']} scored, in {seconds:.0f} s: {printable(args.output)}")
    of = f" of {frames_per_video}" if frames_per_video else ""
    for name in summary["no_face"]:
        print(f"  no face found, 0.5: {printable(name)}")
    for status in (UNREADABLE, FAILED):
        for name, error in summary[status].items():
            print(f"  {status}, 0.5: {printable(name)}: {printable(error.splitlines()[-1])}")
    for name, frames in summary["fewer_frames"].items():
        print(f"  {frames}{of} frames (short, cut or damaged): {printable(name)}")
    for name, frames in summary["short"].items():
        print(f"  {frames}{of} frames (it has no more): {printable(name)}")
    for name, limit in summary["at_face_limit"].items():
        left_out = f", {limit['left_out']} left out" if limit["left_out"] else ""
        seen = f"{limit['frames']} frames looked at, the last is {limit['last_frame']}"
        print(f"  limit of {limit['faces']} faces reached ({seen}{left_out}): {printable(name)}")
    for name, notes in summary["notes"].items():
        for note in notes:
            print(f"  note: {printable(name)}: {printable(note)}")


def exit_code(results: list[VideoResult], strict: bool, left_out: list[str]) -> int:
    statuses = {result.status for result in results}
    if not statuses & {OK, NO_FACE}:
        return 1
    return int(strict and (statuses != {OK} or bool(left_out)))


def _size(item: tuple[str, str]) -> int:
    """Bytes of a video: the long ones first, so that no process is left with one at the end."""
    try:
        status = os.stat(item[1])
    except OSError:
        return 0  # it is reported as unreadable when its turn comes
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


if __name__ == "__main__":
    sys.exit(main())
