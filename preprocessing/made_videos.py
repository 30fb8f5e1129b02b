"""Made-up videos: a scene, one of whose people is swapped in a fake, encoded frame by frame."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import av
import numpy as np

from preprocessing.made_scenes import Scene
from preprocessing.made_swaps import Swap
from runtime.errors import OutputError
from runtime.files import whole_file

RATE = 30
REMEDY = "mend that and run this again: it goes on"
# more threads, and x264's macroblock tree on CPUs with AVX-512, would make the bytes vary from run to run
_ENCODER = {"crf": "20", "preset": "veryfast", "threads": "1", "mbtree": "0"}


class MadeVideo:
    """One video, real where `fake` is 0. Each `video`, from 0 on, shows other people, each `fake` another swapped face.

    Of a fake, one person drawn by seed is swapped; outside their inner face its frames are equal to the real one's.
    With `half_fake`, the share of fakes that are so, it is swapped in some frames only, drawn by seed too.
    """

    def __init__(
        self,
        seed: int,
        video: int,
        fake: int = 0,
        *,
        frames: int,
        width: int,
        height: int,
        flicker: int = 1,
        people: int = 1,
        movement: str = "still",
        half_fake: float = 0.0,
    ):
        size = {"frames": frames, "width": width, "height": height}
        self._frames = frames
        self._scene = Scene(seed, video, people=people, movement=movement, **size)
        self._swap = None
        if fake:
            draw = np.random.default_rng((seed, 5, video, fake))
            self._who = int(draw.integers(people))
            self._swap = Swap(self._scene, self._scene.actors[self._who], seed, video, fake, flicker)
            half, place, share = draw.random() < half_fake, draw.uniform(0.2, 0.8), draw.uniform(0.3, 0.5)
            self._swapped = self._part_in_sight(place, share) if half else range(frames)

    def _part_in_sight(self, place: float, share: float) -> range:
        """Frames in which the swapped person is in sight without a break, as what can't be seen is no fake: a share of
        all, or the most of the longest stretch where that is shorter, at some place from its begin (0) to its end."""
        in_sight = [self._who in boxes for boxes in self._boxes]
        edges = np.flatnonzero(np.diff([False, *in_sight, False])).reshape(-1, 2)
        first, after = max(edges.tolist(), key=lambda edge: edge[1] - edge[0], default=(0, self._frames))
        length = max(1, int(min(share * self._frames, 0.8 * (after - first))))
        begin = first + int(place * (after - first - length))
        return range(begin, begin + length)

    def images(self) -> Iterator[np.ndarray]:
        """The frames, RGB uint8 (height, width, 3)."""
        for index in range(self._frames):
            image = self._scene.render(index)
            if self._swap and index in self._swapped:
                image = self._swap.paste(image, index)
            yield image

    def people(self) -> list[dict]:
        """Who is where, from the left as they stand at the beginning: whether they are `fake`, in which `fake_frames`
        then, from the first to the one after the last, and the `boxes` of their face by frame number, x1, y1, x2, y2 in
        pixels. A box may lie outside the picture in part; a face that is hidden, or outside, for the greater part has
        none."""
        people = []
        for number in range(len(self._scene.actors)):
            person: dict = {"fake": self._swap is not None and number == self._who}
            if person["fake"]:
                person["fake_frames"] = [self._swapped.start, self._swapped.stop]
            person["boxes"] = {
                str(index): list(boxes[number]) for index, boxes in enumerate(self._boxes) if number in boxes
            }
            people.append(person)
        return people

    @cached_property
    def _boxes(self) -> list[dict[int, tuple[int, int, int, int]]]:
        return [self._scene.face_boxes(index) for index in range(self._frames)]


def write_video(path: Path, frames: Iterator[np.ndarray], width: int, height: int) -> None:
    """Encode RGB frames, H.264, one at a time, to a file in a part of a data root. Raises OutputError."""
    try:
        _encode(path, frames, width, height)
    except av.error.FFmpegError as error:  # how a full disk comes back through FFmpeg
        raise OutputError(f"{path}: can't be written ({error.strerror}: is the disk full?); {REMEDY}") from error


def _encode(path: Path, frames: Iterator[np.ndarray], width: int, height: int) -> None:
    with (
        whole_file(path, REMEDY, root=path.parents[1]) as temporary,
        open(temporary, "wb") as file,
        av.open(file, "w", format="mp4") as container,
    ):
        stream = container.add_stream("libx264", rate=RATE, options=_ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
