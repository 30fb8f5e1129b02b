"""Which videos say the same thing twice: clusters that a bootstrap draws whole.

original    a fake, its original and the other fakes of it, which show one scene and mostly one face
identity    besides, all videos in which one person is seen
video       each video for itself
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.labels import Truth
from faces.containers import video_id
from preprocessing.data_root import Video
from preprocessing.people import people_of

BY = ("original", "video", "identity")
_PEOPLE = ("identity", "person")  # columns of labels, the first that is there
_SEPARATOR = ";"  # between people of one video


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """`index` (n,) int64: the number of each video's cluster, from 0 on. `untold`: the videos of which the labels don't
    say what clusters are made by, and which stand for themselves unless other videos lead to them."""

    by: str
    index: np.ndarray
    untold: list[str]

    @property
    def count(self) -> int:
        return int(self.index.max()) + 1 if len(self.index) else 0


def clusters_of(filenames: Sequence[str], truth: Mapping[str, Truth], by: str) -> Clusters:
    """Videos that share an original, or a person, are in one cluster, also by way of others.

    Ids count, names without their endings, as a fake's original may be of another container. A fake whose original is
    not told, and with `identity` a video whose people are not told, is in `untold`.
    """
    if by == "video":
        return Clusters(by=by, index=np.arange(len(filenames)), untold=[])
    links, untold = [], []
    for filename in filenames:
        video = truth[filename]
        linked = [("video", video_id(video.original))] if video.original else []
        if by == "identity":
            people = _people_of(filename, video)
            if not people:
                untold.append(filename)
            linked += [("person", person) for person in people]
        elif video.is_fake and not linked:
            untold.append(filename)
        links.append([("video", video_id(filename)), *linked])
    return Clusters(by=by, index=_joined(links), untold=untold)


def _people_of(filename: str, video: Truth) -> list[str]:
    """By a column of the labels, else by names of videos that hold people's."""
    told = next((video.columns[name] for name in _PEOPLE if video.columns.get(name)), "")
    if told:
        return [person.strip() for person in told.split(_SEPARATOR) if person.strip()]
    return sorted(
        people_of(
            Video(
                id=video_id(filename),
                part=video.part or "",
                path=filename,
                is_fake=video.is_fake,
                original_name=video.original,
            )
        )
    )


def _joined(links: Sequence[Sequence[tuple[str, str]]]) -> np.ndarray:
    """The number of the connected component that each row's nodes are in, numbered as they first appear, (n,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes: dict[tuple[str, str], int] = {}
    edges = [(nodes.setdefault(row[0], len(nodes)), nodes.setdefault(to, len(nodes))) for row in links for to in row]
    start, end = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), (start, end)), shape=(len(nodes), len(nodes)))
    component = connected_components(graph, directed=False)[1]
    of_rows = component[[nodes[row[0]] for row in links]]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in of_rows.tolist()], np.int64)
