"""Encode all videos of a data root again with x264, each at a rate factor drawn from 23, 28 and 32.

    python preprocessing/compress_videos.py --root-dir DATA_ROOT

Input: DATA_ROOT/*/metadata.json and its videos. Output: DATA_ROOT/compressed/<part folder>/<id>.mp4, with the sound as
it was. The draw depends on the id alone. With torchrun the videos are shared between processes.
"""

import argparse
import os
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import av

from faces.pixels import UPRIGHT, to_rgb, turn_of
from faces.video import READER, iter_frames
from faces.video_file import VideoError, open_video, plain
from preprocessing.data_root import DataRoot
from preprocessing.outputs import new_file
from preprocessing.stage import Item, Made, Stage, add_common_flags, run_stage
from runtime.command import run_command
from runtime.ranks import Ranks

RATE_FACTORS = (23, 28, 32)
# As it is by default, x264's macroblock tree does not always come out alike for the same pictures, nor on every CPU.
_SAME_BYTES = {"threads": "1", "x264-params": "cpu-independent=1"}
_MOST_EARLY = 2**26  # bytes of sound that wait for a picture: minutes without compression, an hour with it


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Encode all videos again with x264 at random rate factors")
    add_common_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(compress, parse_args(argv))


def compress(args: argparse.Namespace, ranks: Ranks) -> int:
    stage = Stage(
        name="compressed",
        output="compressed",
        settings={"rate_factors": RATE_FACTORS, "reader": READER, **_SAME_BYTES},
        list_items=partial(list_items, Path(args.root_dir, "compressed")),
        make_work=make_work,
    )
    return run_stage(stage, args, ranks)


def list_items(compressed: Path, data: DataRoot) -> list[Item]:
    items = []
    for video in data.videos:
        output = compressed / video.part / f"{video.id}.mp4"
        task = (video.path, output, random.Random(video.id).choice(RATE_FACTORS))
        items.append(Item(key=video.id, inputs=(video.path,), output=output, task=task))
    return items


def make_work() -> Callable[[tuple[str, Path, int]], Made]:
    return encode


def encode(task: tuple[str, Path, int]) -> Made:
    path, output, rate_factor = task
    try:
        source, video = open_video(path)
        with (
            source,
            new_file(output, root=output.parents[2]) as file,
            av.open(os.path.abspath(file), "w", format="mp4") as target,
        ):
            frames = _transcode(path, source, video, target, rate_factor)
    except av.error.FFmpegError as error:
        raise VideoError(path, f"can't be encoded again ({plain(error)})") from error
    return Made({"files": 1, "frames": frames})


def _transcode(
    path: str,
    source: av.container.InputContainer,
    video: av.video.stream.VideoStream,
    target: av.container.OutputContainer,
    rate_factor: int,
) -> int:
    """Encode the pictures, copy the first stream of sound; returns the number of pictures."""
    shown = max(iter_frames(path, lambda count: []).look().frame_count, 1)
    picture = target.add_stream("libx264", rate=video.average_rate, options={"crf": str(rate_factor), **_SAME_BYTES})
    picture.pix_fmt = "yuv420p"
    sound = next((stream for stream in source.streams.audio if stream.codec_context), None)
    copy = target.add_stream_from_template(sound) if sound else None
    frames, early, held = 0, [], 0
    for packet in source.demux([stream for stream in (video, sound) if stream]):
        if packet.stream is not video:
            early.append(packet)  # nothing can be written before the pictures' size is known
            held += packet.size
            if held > _MOST_EARLY:
                raise VideoError(path, f"has {_MOST_EARLY >> 20} MiB of sound before a picture: can't be encoded again")
            continue
        for frame in packet.decode():
            if not frames:
                _take_shape(path, picture, frame, video)
            target.mux(picture.encode(_upright(path, frame)))
            frames += 1
        if frames:
            _copy(early, copy, target)
            early, held = [], 0
    if frames < shown:
        raise VideoError(path, f"is cut or damaged: only {frames} of {shown} frames can be read")
    _copy(early, copy, target)
    target.mux(picture.encode(None))
    return frames


def _copy(packets: list[av.Packet], stream: av.stream.Stream, target: av.container.OutputContainer) -> None:
    for packet in packets:
        if packet.dts is not None:  # not the empty one at the end
            packet.stream = stream
            target.mux(packet)


def _take_shape(
    path: str, picture: av.video.stream.VideoStream, frame: av.VideoFrame, video: av.video.stream.VideoStream
) -> None:
    width, height = (frame.height, frame.width) if (turn_of(frame) or UPRIGHT)[0] else (frame.width, frame.height)
    if width % 2 or height % 2:
        raise VideoError(path, f"has frames of {width}x{height} pixels: x264 wants even sides; crop or scale it first")
    picture.width, picture.height = width, height
    picture.codec_context.time_base = video.time_base


def _upright(path: str, frame: av.VideoFrame) -> av.VideoFrame:
    """A frame as it is shown: what turns it is not copied."""
    turned = frame
    if turn_of(frame) not in (None, UPRIGHT):
        turned = av.VideoFrame.from_ndarray(to_rgb(path, frame), format="rgb24")
        turned.pts, turned.time_base = frame.pts, frame.time_base
    turned.pict_type = av.video.frame.PictureType.NONE  # the encoder chooses its own keyframes
    return turned


if __name__ == "__main__":
    sys.exit(main())
