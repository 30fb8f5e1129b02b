"""The same face in an original and in its fake: pairs of tracks that lie on one another, detection by detection."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from systems.ntechlab.tracking import BBox, Track, iou

SHORTEST = 5  # detections of a track that is looked at
_LEAST_IOU = 0.5  # at each detection that both have


@dataclass(frozen=True, kw_only=True)
class AlignedTrack:
    """A face of an original and of its fake, at detections `start`, `start + 1`, ... of both.

    `real` and `fake` are names of videos, `part/video.mp4`; the boxes are as many of one as of the other.
    """

    real: str
    fake: str
    start: int
    real_bboxes: Sequence[BBox]
    fake_bboxes: Sequence[BBox]


def fakes_by_original(metadata: Mapping[str, Mapping[str, Mapping]]) -> list[tuple[str, str]]:
    """Pairs (original, fake) of videos, `part/video.mp4`, from each part's `metadata.json`, {part: {video: entry}}.

    Originals are sorted; the fakes of one come in the order of the metadata.
    """
    pairs = [
        (f"{part}/{entry['original']}", f"{part}/{video}")
        for part, videos in metadata.items()
        for video, entry in videos.items()
        if entry.get("label") == "FAKE" and entry.get("original")
    ]
    return sorted(pairs, key=lambda pair: pair[0])


def align_tracks(pairs: Iterable[tuple[str, str]], tracks: Mapping[str, Sequence[Track]]) -> list[AlignedTrack]:
    """Aligned tracks of pairs (original, fake), in their order; pairs of which `tracks` lacks a video are left out.

    Each track of the original is aligned with the first of the fake's that has a detection in common with it and lies
    on it at all of these. A track of the fake can serve several of the original's.
    """
    aligned = []
    for real, fake in pairs:
        if real not in tracks or fake not in tracks:
            continue
        candidates = [track for track in tracks[fake] if len(track.bboxes) >= SHORTEST]
        there = defaultdict(list)  # the numbers of those that have a detection
        for number, candidate in enumerate(candidates):
            for index in candidate.indices:
                there[index].append(number)
        for track in tracks[real]:
            if len(track.bboxes) < SHORTEST:
                continue
            for number in sorted({number for index in track.indices for number in there.get(index, ())}):
                candidate = candidates[number]
                common = _common(track, candidate)
                real_bboxes, fake_bboxes = _at(track, common), _at(candidate, common)
                if all(iou(a, b) > _LEAST_IOU for a, b in zip(real_bboxes, fake_bboxes, strict=True)):
                    aligned.append(
                        AlignedTrack(
                            real=real,
                            fake=fake,
                            start=common.start,
                            real_bboxes=real_bboxes,
                            fake_bboxes=fake_bboxes,
                        )
                    )
                    break
    return aligned


def _common(a: Track, b: Track) -> range:
    return range(max(a.indices.start, b.indices.start), min(a.indices.stop, b.indices.stop))


def _at(track: Track, indices: range) -> Sequence[BBox]:
    return track.bboxes[indices.start - track.start : indices.stop - track.start]
