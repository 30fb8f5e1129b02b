"""The samples of a video: for each face of its first frames a clip for every 3D model, and squares for the 2D one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from faces.video import iter_frames
from systems.medics.models import ModelSpec
from systems.medics.sampling import (
    Detector,
    FacePictures,
    Track,
    chunks_of,
    detection_images,
    find_tracks,
    sampled_frames,
)
from systems.medics.settings import Settings
from systems.sample import Account, Sample


@dataclass(frozen=True, kw_only=True)
class ClipSampler:
    """As `systems.sample.Sampler`. `models` are those of the run by their places, `detect` finds faces. A chunk is read
    twice: some of its frames for the faces, and all of them for the clips. Frames of another size than the video's
    first are taken for such as can't be read."""

    models: Mapping[int, ModelSpec]
    detect: Detector
    settings: Settings

    def samples(self, path: str, account: Account) -> Iterator[Sample]:
        """As `systems.sample.Sampler.samples`."""
        frames = iter_frames(path, self._searched)
        first = next(frames)
        info = frames.info
        account.notes, account.frames_wanted = list(info.notes), info.wanted
        account.info = info
        frames = chain([first], frames)
        shape = first[1].shape
        blank = detection_images(np.zeros(shape, np.uint8), self.settings)  # of a frame that can't be read
        searched: dict[int, dict[float, np.ndarray]] = {}
        number = 0
        for chunk in chunks_of(info.frame_count, self.settings):
            wanted = sampled_frames(chunk, self.settings)
            for index, frame in frames:
                account.looked_at(index)
                if frame.shape == shape:
                    searched[index] = detection_images(frame, self.settings)
                if index >= wanted[-1]:
                    break
            images = [searched.pop(index, blank) for index in wanted]
            size = {"width": info.width, "height": info.height}
            tracks = find_tracks(images, chunk, self.detect, **size, settings=self.settings, tell=account.notes.append)
            yield from self._made(path, shape, tracks, number, account)
            number += len(tracks)

    def _searched(self, frame_count: int) -> list[int]:
        chunks = chunks_of(frame_count, self.settings)
        return [index for chunk in chunks for index in sampled_frames(chunk, self.settings)]

    def _made(
        self, path: str, shape: tuple[int, ...], tracks: list[Track], first: int, account: Account
    ) -> Iterator[Sample]:
        """The samples of a chunk's tracks, of which the first is number `first` of the video, cut from the frames of
        one shape."""
        if not tracks:
            return
        pictures = FacePictures(tracks)
        usable = []
        for index, frame in iter_frames(path, lambda count: pictures.wanted):
            account.check_stopped()
            if frame.shape == shape:
                pictures.add(index, frame)
                usable.append(index)
        made = zip(tracks, pictures.clips, pictures.squares, strict=True)
        for number, (track, clip, squares) in enumerate(made, start=first):
            if len(clip) < len(track.video_frames):
                account.notes.append(
                    f"{len(clip)} of {len(track.video_frames)} frames of face {number} can be read, and have the size "
                    "of the video's first"
                )
            frames = [index for index in usable if index in track.video_frames]
            for place, spec in self.models.items():
                seen = clip if spec.is_3d else squares
                if len(seen) >= spec.least_frames:
                    yield self._sample(track, frames[: len(seen)], number, place, spec, seen)

    def _sample(
        self, track: Track, frames: list[int], number: int, place: int, spec: ModelSpec, pixels: np.ndarray
    ) -> Sample:
        (top, bottom), (left, right) = track.rows, track.cols
        return Sample(
            pixels=pixels,
            frames=tuple(frames),
            track=number,
            bbox=(left, top, right + 1, bottom + 1),
            detector_score=track.confidence,
            model=place,
            role=spec.name,
        )
