"""What a file says of the video stream that is read, and what is made of it, for whoever asks later how a score came
about. All as JSON has it."""

from typing import Any

import av

from faces.pixels import UPRIGHT, matrix_of, turn_of

# by FFmpeg's numbers; swscale takes all others for BT.601
_MATRICES = {0: "RGB", 1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 10: "BT.2020"}
_FULL = 2  # FFmpeg's number of the range that takes all values
_FULL_BY_FORMAT = ("yuvj", "gray", "ya")  # pixel formats of that range, whatever a tag says


def stream_facts(container: av.container.InputContainer, stream: av.VideoStream) -> dict[str, Any]:
    """Of a stream that is open: where it is in its file, and what decodes it. `rate` is in frames a second, `time_base`
    in seconds; both are fractions, None where the file does not say."""
    context = stream.codec_context
    return {
        "container": container.format.name,
        "index": stream.index,
        "codec": context.codec.canonical_name,
        "decoder": context.codec.name,
        "profile": context.profile,
        "coded_size": [context.width, context.height],
        "time_base": _fraction(stream.time_base),
        "rate": _fraction(stream.average_rate),
    }


def frame_facts(frame: av.VideoFrame) -> dict[str, Any]:
    """Of a decoded frame: its colours, by FFmpeg's numbers, and how it became RGB that stands upright. `turn` is None
    where the file asks for none, or for one that is not applied."""
    turn = turn_of(frame)
    return {
        "pixel_format": frame.format.name,
        "colour": {
            "matrix": int(frame.colorspace),
            "range": int(frame.color_range),
            "transfer": int(frame.color_trc),
            "primaries": int(frame.color_primaries),
        },
        "colour_read_as": _colour_read_as(frame),
        "turn": None
        if turn in (None, UPRIGHT)
        else dict(zip(("swap_axes", "upside_down", "mirror"), turn, strict=True)),
    }


def _colour_read_as(frame: av.VideoFrame) -> str:
    layout = frame.format
    if layout.is_rgb or layout.has_palette:
        return "RGB"
    matrix = matrix_of(frame)
    told = int(frame.colorspace) if matrix is None else matrix
    is_full = frame.color_range == _FULL or layout.name.startswith(_FULL_BY_FORMAT)
    return f"{_MATRICES.get(told, 'BT.601')}, {'full' if is_full else 'limited'} range"


def _fraction(value: Any) -> str | None:
    return f"{value.numerator}/{value.denominator}" if value else None
