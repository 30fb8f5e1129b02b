"""Frames of a video that keeps its size: boxes found in some frames are of no use in frames of another size."""

from collections.abc import Iterator

from faces.video import Frame, VideoError, VideoFrames


def steady(path: str, frames: VideoFrames) -> Iterator[Frame]:
    """The frames of the video at `path` as they come. Raises VideoError at the first that has another size than those
    before it."""
    shape = None
    for index, frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape:
            before, now = f"{shape[1]}x{shape[0]}", f"{frame.shape[1]}x{frame.shape[0]}"
            raise VideoError(
                path, f"its frames change from {before} to {now} pixels (frame {index}); encode it at one size"
            )
        yield index, frame
