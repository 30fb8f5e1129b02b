"""Show on which pixels the scores of a video's faces hang, and test whether that is true.

    python explain.py --video videos/a.mp4 --models A B --weights-dir weights --out explanation.html

Input: a video and checkpoints of one system, as for predict_folder.py. Output: one HTML page with the faces that have
the highest scores, the heat over each (Grad-CAM, or occlusion, which needs no gradients), and a deletion test of each:
whether blacking out the hottest fifth of the face lowers its score more than blacking out as much elsewhere. Scores are
those of predict_folder.py with the same flags. docs/explanations.md says how to read the page.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import numpy as np
from tqdm import tqdm

from engines.choice import ENGINES
from engines.device import PRECISIONS, describe_device, device_notes, resolve_device, resolve_precision
from faces.video import VideoError
from inference.explained_faces import ExplainedFace, score_of
from inference.explaining import heats_by_gradients, heats_by_occlusion, highest_faces, score_video
from inference.explanation_page import GRADCAM, METHODS, OCCLUSION, About, Explanation, summary, write_explanation
from inference.explanation_pictures import read_frame_picture
from inference.heat import deletion
from inference.opening import check_checkpoints, engine_of, open_for_one_video
from inference.pipeline import VideoResult
from runtime.command import positive, run_command, whole
from runtime.digests import digest_of
from runtime.errors import InputError, printable
from runtime.output_check import check_outputs
from runtime.ranks import Ranks
from systems.heat import weigh_alike
from systems.registry import (
    SYSTEMS,
    add_flags,
    checkpoint_path,
    heat_module,
    load_predictor,
    options_of,
    strategies,
    system_of,
)
from systems.system import Opened
from systems.tracks import how_scored, verdict_of

MOST_FACES = 64  # a page of 10 MB
SEED = 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Show what the models look at in a video", formatter_class=argparse.RawTextHelpFormatter
    )
    arg = parser.add_argument
    arg("--video", required=True, metavar="FILE", help="of any container that the reader reads")
    arg("--weights-dir", default="weights", help="folder with checkpoints (default: weights, in the current folder)")
    arg("--models", nargs="+", required=True, metavar="FILE", help="checkpoint files in it: the ensemble")
    arg("--out", required=True, metavar="FILE", help="HTML page to write")
    arg(
        "--faces",
        type=whole(1, MOST_FACES),
        default=4,
        metavar="N",
        help="that are explained, those with the highest scores (default: 4)",
    )
    arg(
        "--method",
        choices=METHODS,
        help="gradcam: gradients of the models' last features, in PyTorch in fp32 (default where a system has them);\n"
        "occlusion: what a black square over each place does to the score, 49 scores a face, on any engine",
    )
    arg(
        "--draws",
        type=positive,
        default=20,
        metavar="N",
        help="places that the deletion test compares the hottest one with (default: 20)",
    )
    arg("--strategy", choices=strategies(), help="from the faces to the video's score, as for predict_folder.py")
    arg("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)")
    arg("--precision", choices=PRECISIONS, default="auto", help="of scores, as for predict_folder.py")
    arg("--engine", choices=ENGINES, default="auto", help="that scores faces, as for predict_folder.py")
    arg(
        "--system",
        choices=SYSTEMS,
        help="whose models these are (default: by the checkpoints; those that say nothing are the winner's)",
    )
    add_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(explain, parse_args(argv))


def explain(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # one process explains it
    device = resolve_device(args.device)
    precision = resolve_precision(args.precision, device)
    check_checkpoints(args.weights_dir, args.models)
    checkpoints = [(name, checkpoint_path(args.weights_dir, name)) for name in args.models]
    check_outputs({"--out": args.out}, [args.video, *(path for _, path in checkpoints)])
    system = args.system or system_of(args.weights_dir, args.models)
    options = options_of(args)
    predictor = load_predictor(system, options, args.weights_dir)
    engine = engine_of(predictor, args.engine, device)
    by_gradients = heat_module(system)
    method = args.method or (GRADCAM if by_gradients else OCCLUSION)
    if method == GRADCAM and not by_gradients:
        raise InputError(f"--method {GRADCAM}: system {system} gives no gradients; use --method {OCCLUSION}")
    for line in device_notes(args.device, device):
        print(line, file=sys.stderr)

    # score the video, and choose faces
    print(f"on {describe_device(device)} in {precision}, engine {engine}", flush=True)
    opened = open_for_one_video(predictor, checkpoints, device=device, precision=precision, engine=engine)
    result = score_video(args.video, opened, verdict_of(predictor, args.models, args.strategy))
    weight_of = by_gradients.weights(options) if by_gradients else weigh_alike
    faces, found = highest_faces(args.video, opened, result, weight_of, args.faces)

    # explain them
    if method == GRADCAM:
        heats = heats_by_gradients(faces, by_gradients.open_models(options, checkpoints, device))
    else:
        heats = heats_by_occlusion(faces, opened)
    explanations = tested(args, opened, faces, heats)
    about = About(
        video=os.path.basename(args.video),
        digest=sha256_of(args.video),
        score=result.score,
        verdict=how_scored(predictor, args.strategy).verdict,
        models={name: sha256_of(path) for name, path in checkpoints},
        faces=found,
        method=method,
        draws=args.draws,
        precision=precision,
        engine=f"{engine} on {device.type}",
        notes=result.notes,
    )
    write_explanation(args.out, about, explanations)
    report(args, result, explanations)
    return 0


def tested(
    args: argparse.Namespace, opened: Opened, faces: Sequence[ExplainedFace], heats: Sequence[np.ndarray]
) -> list[Explanation]:
    """Each face with its heat, the deletion test, and a picture of its frame."""
    explanations = []
    with tqdm(desc="Deletion test", total=(args.draws + 2) * len(faces), unit="score") as bar:
        for number, (face, heat) in enumerate(zip(faces, heats, strict=True)):
            score = score_of(opened.models, face)
            test = deletion(score, face.pixels, heat, draws=args.draws, seed=(SEED, number), tell=bar.update)
            try:
                frame = read_frame_picture(args.video, face.frames[0], face.scored[0].bbox)
            except VideoError as error:
                raise InputError(f"--video {args.video}: can't be read again ({error.reason})") from error
            explanations.append(Explanation(face=face, heat=heat, deletion=test, frame=frame))
    return explanations


def sha256_of(path: str) -> str:
    """Of a file, hexadecimal. Raises InputError."""
    try:
        return digest_of(path).sha256
    except OSError as error:
        raise InputError(f"{path}: can't be opened ({error.strerror}); name another file") from error


def report(args: argparse.Namespace, result: VideoResult, explanations: Sequence[Explanation]) -> None:
    """The end of the run, for a person."""
    print(printable(f"{os.path.basename(args.video)}: score {result.score:.4f}, {len(explanations)} faces explained"))
    for each in explanations:
        face, test = each.face, each.deletion
        told = "no heat" if test is None else "the deletion test holds" if test.holds else "the deletion test fails"
        print(f"  frame {face.frames[0]}: {face.score:.4f}, {told}")
    for sentence in summary(explanations):
        print(sentence)
    print(f"{printable(args.out)}")


if __name__ == "__main__":
    sys.exit(main())
