"""How large a picture is, by its header, of the formats that crops have: a small file may claim to be a huge one, which
nothing should begin to decode."""

import re
import struct

_PNG = re.compile(rb"\x89PNG\r\n\x1a\n....IHDR(........)", re.DOTALL)
_LOSSY = re.compile(rb"RIFF....WEBPVP8 .......\x9d\x01\x2a(....)", re.DOTALL)
_LOSSLESS = re.compile(rb"RIFF....WEBPVP8L....\x2f(....)", re.DOTALL)
_EXTENDED = re.compile(rb"RIFF....WEBPVP8X........(......)", re.DOTALL)
_MOST_SCANS = 100  # of a JPEG: a progressive one has ten or so, and each goes over all its pixels again


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, JPEG or WebP. None for what is none, or is made to take for ever."""
    if match := _PNG.match(data):
        return struct.unpack(">II", match[1])
    if data.startswith(b"\xff\xd8"):
        return _of_jpeg(data)
    if match := _LOSSY.match(data):
        width, height = struct.unpack("<HH", match[1])
        return width & 0x3FFF, height & 0x3FFF  # above them is a scale, which nobody uses
    if match := _LOSSLESS.match(data):
        (bits,) = struct.unpack("<I", match[1])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if match := _EXTENDED.match(data):
        return int.from_bytes(match[1][:3], "little") + 1, int.from_bytes(match[1][3:], "little") + 1
    return None


def _of_jpeg(data: bytes) -> tuple[int, int] | None:
    """What its start of frame says; marker after marker, each with its length."""
    position = 2
    while True:
        position = data.find(b"\xff", position)  # what is before a marker is skipped, as decoders do
        if position < 0 or position + 4 > len(data):
            return None
        marker = data[position + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # filling, and markers that stand alone
            position += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):  # the end, or a scan before any frame
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + max(length, 2)
    if position + 9 > len(data) or data.count(b"\xff\xda") > _MOST_SCANS:
        return None
    height, width = struct.unpack_from(">HH", data, position + 5)
    return width, height
