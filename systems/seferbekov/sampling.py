"""Which faces of a video are scored where there are too many."""

from collections import Counter
from collections.abc import Sequence


def spread_in_time(frames: Sequence[int], most: int) -> list[int]:
    """Places of at most `most` faces, ascending, given the frame of each, ascending, and the faces of a frame largest
    first. As many are taken from each frame as it has, or as all of the fuller frames get; where not all of these can
    have one more, it goes to some of them that lie evenly in time."""
    seen: Counter = Counter()
    ranks = []
    for frame in frames:
        ranks.append(seen[frame])
        seen[frame] += 1
    chosen: list[int] = []
    for level in range(max(ranks, default=-1) + 1):
        layer = [place for place, each in enumerate(ranks) if each == level]
        room = most - len(chosen)
        if len(layer) > room:
            return sorted(chosen + [layer[(2 * i + 1) * len(layer) // (2 * room)] for i in range(room)])
        chosen += layer
    return sorted(chosen)
