"""Which files are videos, by their names: the endings of the containers that the reader reads, in any case.

An id is a file's name without such an ending: what outputs are named after.
"""

import os

METADATA = "metadata.json"  # of a folder of videos: which are fakes, and of what

CONTAINERS = {  # FFmpeg's demuxer, which the reader lets open a file, and the endings that its files have
    "mov": (".mp4", ".mov", ".m4v", ".qt", ".3gp", ".3gpp", ".3g2", ".f4v", ".insv", ".lrv"),
    "matroska": (".mkv", ".webm", ".mk3d"),
    "avi": (".avi", ".divx"),
    "mpegts": (".ts", ".mts", ".m2ts", ".m2t", ".trp"),
    "mpeg": (".mpg", ".mpeg", ".vob", ".mod", ".tod", ".mpe"),
    "mpegvideo": (".m1v", ".m2v", ".mpv"),
    "flv": (".flv",),
    "asf": (".wmv", ".asf"),
    "ogg": (".ogv", ".ogm", ".ogg"),
    "mxf": (".mxf",),
    "h264": (".h264", ".264", ".avc"),
    "hevc": (".h265", ".265", ".hevc"),
    "m4v": (),
    "ivf": (".ivf",),
    "obu": (".obu",),
    "nut": (".nut",),
    "dv": (".dv", ".dif"),
    "rm": (".rm", ".rmvb"),
    "wtv": (".wtv",),
}
SUFFIXES = tuple(suffix for suffixes in CONTAINERS.values() for suffix in suffixes)


def is_video_name(name: str) -> bool:
    """Whether a file is a video by its ending. Hidden files are none: `._clip.mp4` holds a Mac's notes on clip.mp4."""
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def video_id(name: str) -> str:
    """A file's name without its ending, if that is a video's; other names stay as they are."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name
