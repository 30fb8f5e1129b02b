"""From a decoded frame to RGB as a person sees it: colours, and which way is up.

8-bit YUV is read by ITU-R BT.601 whatever its tags say, as the published pipelines' OpenCV does: a tag alone must not
move a score. Its range, limited or full, is honoured. What has more bits is read by its tags.
"""

import functools
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type

from faces.video_file import check_size

_BT601 = 5  # FFmpeg's number, in both of its enumerations
_KNOWN_MATRICES = (0, 1, 2, 4, 5, 6, 7, 9, 10)  # that swscale converts from, in FFmpeg's AVColorSpace
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics (ITU-T H.273)
_ONE = 1 << 16  # in the fixed point numbers of a display matrix
_NEARLY = _ONE // 50  # an angle that was rounded

_SUBSAMPLED = {"yuv420p": 2, "yuvj420p": 2, "yuv444p": 1, "yuvj444p": 1}  # formats that are converted in parts
_ACROSS, _DOWN = 32, 2  # pixels: where a part begins and ends, so that it is converted as in the whole frame
_LEAST = 64  # pixels of a part's side

Turn = tuple[bool, bool, bool]  # swap the axes, then turn upside down, then left to right
UPRIGHT: Turn = (False, False, False)


def to_rgb(path: str, frame: av.VideoFrame) -> np.ndarray:
    """A decoded frame as RGB uint8 (h, w, 3), upright. Raises VideoError where it is too large."""
    check_size(path, frame.width, frame.height)
    matrix = matrix_of(frame)
    image = frame.to_ndarray(format="rgb24", **({} if matrix is None else {"src_colorspace": matrix}))
    swap, upside_down, mirror = turn_of(frame) or UPRIGHT
    image = image.transpose(1, 0, 2) if swap else image
    image = image[::-1] if upside_down else image
    return np.ascontiguousarray(image[:, ::-1] if mirror else image)


def part_to_rgb(frame: av.VideoFrame, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray | None:
    """The pixels of a box, first and last row and column included, as far as they lie in the frame: what `to_rgb` gives
    there, to the bit, in a fraction of its time. None for a frame that has to be converted whole."""
    if turn_of(frame) not in (None, UPRIGHT) or min(frame.width, frame.height) < _LEAST:
        return None
    if not _parts_are_exact(frame.format.name, frame.width % _ACROSS, frame.height % _DOWN):
        return None
    top, bottom = _stretch(*rows, frame.height, _DOWN)
    left, right = _stretch(*cols, frame.width, _ACROSS)
    image = _part(frame, top, bottom, left, right)
    return image[rows[0] - top : rows[1] + 1 - top, cols[0] - left : cols[1] + 1 - left]


def _stretch(first: int, last: int, size: int, step: int) -> tuple[int, int]:
    """Where a part begins and ends that holds pixels `first` to `last` of a side."""
    begin = max(0, min(first, size - _LEAST)) // step * step
    return begin, min(size, -(-max(last + 1, begin + _LEAST) // step) * step)


def _part(frame: av.VideoFrame, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    part = av.VideoFrame(right - left, bottom - top, frame.format.name)
    part.color_range, part.colorspace = frame.color_range, frame.colorspace
    for number, (source, target) in enumerate(zip(frame.planes, part.planes, strict=True)):
        step = _SUBSAMPLED[frame.format.name] if number else 1
        from_plane, to_plane = (np.frombuffer(each, np.uint8).reshape(-1, each.line_size) for each in (source, target))
        lines = from_plane[top // step : -(-bottom // step), left // step : -(-right // step)]
        to_plane[: lines.shape[0], : lines.shape[1]] = lines
    return part.to_ndarray(format="rgb24", src_colorspace=_BT601)


@functools.cache
def _parts_are_exact(name: str, more_across: int, more_down: int) -> bool:
    """Tried once on noise, as libraries and processors have more than one way to convert, by the format and by what is
    left of the sides."""
    if name not in _SUBSAMPLED:
        return False
    draw = np.random.default_rng(0)
    width, height = 10 * _ACROSS + more_across, 87 * _DOWN + more_down
    frame = av.VideoFrame(width, height, name)
    for plane in frame.planes:
        pixels = np.frombuffer(plane, np.uint8)
        pixels[:] = draw.integers(0, 256, len(pixels), dtype=np.uint8)
    whole = frame.to_ndarray(format="rgb24", src_colorspace=_BT601)
    parts = ((0, height, 0, 96), (18, 84, 64, 160), (110, height, 256, width), (0, 64, 0, width))
    return all(np.array_equal(_part(frame, *part), whole[part[0] : part[1], part[2] : part[3]]) for part in parts)


def shape_of(frame: av.VideoFrame) -> tuple[int, int, int]:
    """The shape of the array that `to_rgb` makes of a frame."""
    swap, *_ = turn_of(frame) or UPRIGHT
    return (frame.width, frame.height, 3) if swap else (frame.height, frame.width, 3)


def matrix_of(frame: av.VideoFrame) -> int | None:
    """The matrix, by FFmpeg's number, that a frame's colours are read by whatever it says; None where its own is."""
    return _BT601 if _is_yuv8(frame.format.name) or frame.colorspace not in _KNOWN_MATRICES else None


def turn_of(frame: av.VideoFrame) -> Turn | None:
    """How a frame is turned before it is shown; None for a matrix that is no turn or reflection, which is not applied.

    The matrix maps a pixel (x, y) to (a x + c y, b x + d y) on the screen (ISO/IEC 14496-12, tkhd).
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return UPRIGHT
    a, b, c, d = (0 if abs(value) < _NEARLY else value for value in matrix)
    if a and d and not b and not c:
        return False, d < 0, a < 0
    if b and c and not a and not d:
        return True, b < 0, c < 0
    return None


def notes_on(frame: av.VideoFrame, stream: av.video.stream.VideoStream) -> list[str]:
    """What a person should know of how a video's frames are read."""
    notes = []
    matrix = _display_matrix(frame)
    if matrix is not None and any(min(abs(value), abs(abs(value) - _ONE)) > _NEARLY for value in matrix):
        numbers = ", ".join(f"{value / _ONE:g}" for value in matrix)
        shown = "only its turn is applied" if turn_of(frame) else "frames are read as they are stored"
        notes.append(f"its display matrix ({numbers}) is more than a turn or a reflection: {shown}")
    elif turn_of(frame) is None:
        notes.append("its display matrix is no turn or reflection: frames are read as they are stored")
    if frame.color_trc in _HDR:
        notes.append(f"HDR ({_HDR[frame.color_trc]}): its brightness is read as it is stored, not as a screen shows it")
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        aspect = Fraction(aspect).limit_denominator(1000)
        notes.append(f"its pixels are not square ({aspect.numerator}:{aspect.denominator}): faces are read as stored")
    return notes


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """a, b, c, d, or None where the file has no matrix."""
    try:
        # not frame.side_data: what that makes and the frame hold each other, and are never freed
        data = next((data for data in SideDataContainer(frame) if data.type is Type.DISPLAYMATRIX), None)
    except ValueError:  # the frame has data of a kind that PyAV doesn't know; the angle it tells all the same
        turn = np.exp(1j * np.deg2rad(frame.rotation))
        a, b = round(turn.real * _ONE), round(-turn.imag * _ONE)
        return (a, b, -b, a) if frame.rotation else None
    if data is None:
        return None
    values = np.frombuffer(data, np.int32)
    return tuple(int(values[place]) for place in (0, 1, 3, 4))


@functools.cache
def _is_yuv8(name: str) -> bool:
    """Whether a pixel format has brightness and colour of up to 8 bits each."""
    layout = av.VideoFormat(name)
    return not layout.is_rgb and not layout.has_palette and max(part.bits for part in layout.components) <= 8
