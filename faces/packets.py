"""What the coded packets of a video hold, read from a few of their bytes: nothing is decoded here.

For each codec an inspector says of a packet how many pictures it shows, whether other pictures refer to it, and whether
decoding may begin with it. Where bytes can't tell, the packet is UNDECIDED, and the decoder has to be asked. A packet
that is damaged is taken for a picture that others refer to.

Sources: ITU-T H.264 7.3 and 7.4.1, ISO/IEC 14496-15 (length fields), ITU-T H.265 7.4.2.2, RFC 6386 9.1 (VP8), the VP9
bitstream specification 6.2 and annex B, the AV1 bitstream specification 5.9.2, ITU-T H.262 6.2.3, ISO/IEC 14496-2
6.2.5.
"""

import hashlib
from collections.abc import Callable, Iterator

import av

SHOWN = 1  # it becomes one frame
REFERENCE = 2  # other pictures may refer to it
START = 4  # what follows it, in both orders, can be decoded from here to the same bits
ALONE = 8  # it needs no other picture: a decoder that begins with it shows it
UNDECIDED = 16  # it may become any number of frames
CHANGE = 32  # it changes how later packets are decoded, so that none may be left out
DAMAGED = 64  # its bytes make no sense

Inspector = Callable[[av.Packet], int]

_DAMAGED = SHOWN | REFERENCE | DAMAGED
_HIDDEN = REFERENCE
_KEY = START | ALONE
_LEAST_VOP = 16  # bytes: a smaller one may only say that a frame was dropped
_MOST_PARAMETER_SETS = 4096
_JPEG_HEAD = 4096  # bytes in which a JPEG's tables are
_INDEPENDENT = ("prores", "dnxhd", "dvvideo", "rawvideo", "v210", "v308", "v410", "huffyuv", "ffvhuff", "utvideo")


def inspector_of(context: av.video.codeccontext.VideoCodecContext) -> Inspector:
    """The inspector of a codec, for one video from its first packet on."""
    if context.name in _INDEPENDENT:
        return lambda packet: SHOWN | _KEY
    if context.name in _WITH_HEADERS:
        return _WITH_HEADERS[context.name](context.extradata or b"")
    if context.name in _WITH_MEMORY:
        return _WITH_MEMORY[context.name]()
    return _WITHOUT_MEMORY.get(context.name, lambda packet: UNDECIDED | REFERENCE)


class _NalUnits:
    """What H.264 and H.265 share: packets of NAL units, each after its length or after a start code."""

    def __init__(self, extradata: bytes):
        self.length_size = 0  # start codes
        self.parameter_sets: set[bytes] = set()  # their digests
        self.is_first = True

    def units(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Start and end of each. Raises ValueError for a length that leads out of the packet."""
        return _after_lengths(data, self.length_size) if self.length_size else _after_start_codes(data)

    def is_new(self, unit: bytes) -> bool:
        """Whether a parameter set has not come before; beyond many of them all are taken for new ones."""
        digest = hashlib.blake2b(unit, digest_size=16).digest()
        if digest in self.parameter_sets:
            return False
        if len(self.parameter_sets) < _MOST_PARAMETER_SETS:
            self.parameter_sets.add(digest)
        return True


def _after_lengths(data: bytes, length_size: int) -> Iterator[tuple[int, int]]:
    position = 0
    while position + length_size < len(data):
        size = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        if not size or position + size > len(data):
            raise ValueError("a NAL unit that leads out of its packet")
        yield position, position + size
        position += size


def _after_start_codes(data: bytes) -> Iterator[tuple[int, int]]:
    start = data.find(b"\0\0\1")
    if start < 0:
        raise ValueError("no start code")
    while start >= 0:
        following = data.find(b"\0\0\1", start + 3)
        end = len(data) if following < 0 else following
        if end > start + 4:
            yield start + 3, end
        start = following


class H264(_NalUnits):
    """H.264, in MP4's form or with start codes."""

    def __init__(self, extradata: bytes):
        super().__init__(extradata)
        self.frame_num_bits: int | None = None  # where pictures may be single fields
        if len(extradata) > 6 and extradata[0] == 1:
            self.length_size = (extradata[4] & 3) + 1
            position = 6
            for _ in range(extradata[5] & 31):
                size = int.from_bytes(extradata[position : position + 2], "big")
                self._read_sequence(extradata[position + 2 : position + 2 + size])
                position += 2 + size
        elif extradata:
            for start, end in _after_start_codes(extradata) if b"\0\0\1" in extradata else ():
                if extradata[start] & 31 == 7:
                    self._read_sequence(extradata[start:end])

    def __call__(self, packet: av.Packet) -> int:
        data = bytes(packet)
        pictures, flags = 0, 0
        fields: set[int] = set()
        try:
            for start, end in self.units(data):
                kind = data[start] & 31
                if 1 <= kind <= 5:
                    flags |= REFERENCE if data[start] & 0x60 else 0
                    flags |= _KEY if kind == 5 else 0
                    if kind in (1, 2, 5) and start + 1 < end and data[start + 1] & 0x80:  # its first macroblock
                        pictures += 1
                        if self.frame_num_bits is not None:
                            fields.add(self._field(data[start:end]))
                    elif not pictures:
                        return _DAMAGED  # a slice without those before it
                elif kind in (7, 8) and self._changes(data[start:end]):
                    flags |= CHANGE
        except (ValueError, IndexError):
            return _DAMAGED
        if not pictures:
            return flags | _HIDDEN  # parameter sets and the like
        self.is_first = False
        whole = (pictures == 1 and fields <= {0}) or (pictures == 2 and fields == {1, 2})
        return flags | (SHOWN if whole else UNDECIDED)

    def _changes(self, unit: bytes) -> bool:
        is_new = self.is_new(unit)
        if is_new and unit[0] & 31 == 7:
            self._read_sequence(unit)
        return is_new and not self.is_first

    def _read_sequence(self, unit: bytes) -> None:
        """Learn from a sequence parameter set whether pictures may be fields."""
        try:
            bits = frame_num_bits(unit)
        except (ValueError, IndexError):
            return
        self.frame_num_bits = bits if bits is not None else self.frame_num_bits

    def _field(self, unit: bytes) -> int:
        """0 for a frame, 1 for a top field, 2 for a bottom field."""
        bits = _Bits(unit[1:64])
        bits.exp_golomb()
        bits.exp_golomb()
        bits.exp_golomb()
        bits.take(self.frame_num_bits)
        return 1 + bits.take(1) if bits.take(1) else 0


def frame_num_bits(unit: bytes) -> int | None:
    """From an H.264 sequence parameter set: how many bits frame_num has where pictures may be fields, else None.

    Raises ValueError or IndexError for one that is cut.
    """
    bits = _Bits(unit[1:])
    profile = bits.take(8)
    bits.take(16)
    bits.exp_golomb()
    if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
        chroma = bits.exp_golomb()
        if chroma == 3 and bits.take(1):
            raise ValueError("separate colour planes")
        bits.exp_golomb()
        bits.exp_golomb()
        bits.take(1)
        if bits.take(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    size = bits.exp_golomb() + 4
    order = bits.exp_golomb()
    if order == 0:
        bits.exp_golomb()
    elif order == 1:
        bits.take(1)
        bits.exp_golomb()
        bits.exp_golomb()
        for _ in range(min(bits.exp_golomb(), 255)):
            bits.exp_golomb()
    bits.exp_golomb()
    bits.take(1)
    bits.exp_golomb()
    bits.exp_golomb()
    return None if bits.take(1) else size


def _skip_scaling_list(bits: "_Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            number = bits.exp_golomb()
            following = (last + (number + 1 >> 1 if number & 1 else -(number >> 1))) % 256
        last = following or last


class _Bits:
    """Bits of a NAL unit, the first first."""

    def __init__(self, data: bytes):
        plain = data.replace(b"\0\0\3", b"\0\0")  # what keeps start codes out
        self.value, self.left = int.from_bytes(plain, "big"), 8 * len(plain)

    def take(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise ValueError("cut")
        return self.value >> self.left & (1 << count) - 1

    def exp_golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


class Hevc(_NalUnits):
    """H.265, in MP4's form or with start codes."""

    def __init__(self, extradata: bytes):
        super().__init__(extradata)
        if len(extradata) > 22 and extradata[0] == 1:
            self.length_size = (extradata[21] & 3) + 1
        self.after_end = True  # of a sequence, as at the start of the file
        self.without_leading = True  # pictures that refer to what comes before the last START are not shown

    def __call__(self, packet: av.Packet) -> int:
        data = bytes(packet)
        pictures, flags, picture = 0, 0, -1
        ends = False
        try:
            for start, end in self.units(data):
                kind = data[start] >> 1 & 63
                if data[start] & 1 or data[start + 1] >> 3:
                    continue  # another layer
                if kind < 32:
                    if data[start + 2] & 0x80:  # its first slice
                        pictures, picture = pictures + 1, kind
                    elif not pictures:
                        return _DAMAGED
                elif kind in (32, 33, 34) and self.is_new(data[start:end]) and not self.is_first:
                    flags |= CHANGE
                elif kind == 36:
                    ends = True
        except (ValueError, IndexError):
            return _DAMAGED
        if not pictures:
            self.after_end |= ends
            return flags | _HIDDEN
        self.is_first = False
        if 16 <= picture <= 23:
            self.without_leading = picture < 19 or self.after_end  # BLA, and CRA where decoding begins
            flags |= _KEY
        self.after_end = ends
        if picture in (8, 9) and self.without_leading:
            return flags | _HIDDEN
        return flags | REFERENCE | (SHOWN if pictures == 1 else UNDECIDED)


def _vp8(packet: av.Packet) -> int:
    first = memoryview(packet)[0]
    return REFERENCE | (0 if first & 1 else _KEY) | (SHOWN if first & 0x10 else 0)


def _vp9(packet: av.Packet) -> int:
    data = memoryview(packet)
    frames = [_vp9_frame(data[start:end]) for start, end in _vp9_frames(data)]
    flags = [frame for frame in frames if frame is not None]
    if len(flags) < len(frames) or not flags:
        return _DAMAGED
    shown = sum(flag & SHOWN for flag in flags)
    return REFERENCE | flags[0] & _KEY | (UNDECIDED if shown > 1 else shown)


def _vp9_frames(data: memoryview) -> Iterator[tuple[int, int]]:
    """The frames of a superframe, or the one that the packet is."""
    marker = data[-1]
    count, size_bytes = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = len(data) - (2 + count * size_bytes)
    if marker & 0xE0 != 0xC0 or index < 0 or data[index] != marker:
        yield 0, len(data)
        return
    start = 0
    for number in range(count):
        at = index + 1 + number * size_bytes
        size = int.from_bytes(data[at : at + size_bytes], "little")
        if size:
            yield start, min(start + size, index)
        start += size


def _vp9_frame(data: memoryview) -> int | None:
    if not data or data[0] >> 6 != 2:
        return None
    profile = (data[0] >> 5 & 1) | (data[0] >> 4 & 1) << 1
    bits = data[0] << 8 | (data[1] if len(data) > 1 else 0)
    at = 12 - 1 - (profile == 3)  # of show_existing_frame
    if bits >> at & 1:
        return SHOWN
    return (0 if bits >> at - 1 & 1 else _KEY) | (SHOWN if bits >> at - 2 & 1 else 0)


def _av1(packet: av.Packet) -> int:
    """A temporal unit shows one frame; decoding may begin with a key frame that is shown at once."""
    data, position, has_sequence = memoryview(packet), 0, False
    while position < len(data):
        header = data[position]
        position += 1 + (header >> 2 & 1)
        size, shift = len(data) - position, 0
        if header & 2:
            size = 0
            while position < len(data):
                byte = data[position]
                size |= (byte & 127) << shift
                position, shift = position + 1, shift + 7
                if byte < 128:
                    break
        kind = header >> 3 & 15
        has_sequence |= kind == 1
        if kind in (3, 6) and position < len(data):  # a frame's header: not an old frame, a key frame, shown
            is_start = has_sequence and data[position] >> 4 == 0b0001
            return SHOWN | REFERENCE | (_KEY if is_start else 0)
        position += size
    return _DAMAGED


def _mjpeg(packet: av.Packet) -> int:
    """Some cameras leave out tables that an earlier picture had."""
    head = bytes(memoryview(packet)[:_JPEG_HEAD])
    return SHOWN | ALONE | (START if b"\xff\xdb" in head and b"\xff\xc4" in head else REFERENCE)


class _Mpeg:
    """What MPEG-2 and MPEG-4 share: pictures of the kinds I, P and B, and decoders that leave out the first ones until
    they have what these refer to."""

    def __init__(self):
        self.kinds = ""  # of the first two pictures

    def __call__(self, packet: av.Packet) -> int:
        kind, is_whole = self.inspect(bytes(packet))
        if not is_whole:
            return REFERENCE | UNDECIDED
        if len(self.kinds) < 2:
            self.kinds += kind
        is_left_out = self.kinds != "I" and self.kinds[:2] not in ("II", "IP", "IS")
        return REFERENCE | SHOWN | (ALONE if kind == "I" else 0) | (UNDECIDED if is_left_out else 0)

    def inspect(self, data: bytes) -> tuple[str, bool]:
        """The kind of the picture, and whether the packet becomes one frame for sure."""
        raise NotImplementedError


class _Mpeg4(_Mpeg):
    def inspect(self, data: bytes) -> tuple[str, bool]:
        start = data.find(b"\0\0\1\xb6")
        if start < 0 or start + 4 >= len(data):
            return "", False
        return "IPBS"[data[start + 4] >> 6], data.count(b"\0\0\1\xb6") == 1 and len(data) > _LEAST_VOP


class _Mpeg2(_Mpeg):
    def inspect(self, data: bytes) -> tuple[str, bool]:
        start = data.find(b"\0\0\1\0")
        extension = data.find(b"\0\0\1\xb5", max(start, 0))
        if start < 0 or extension < 0 or extension + 6 >= len(data) or data[extension + 4] >> 4 != 8:
            return "", False
        pictures = 1 if data[extension + 6] & 3 == 3 else 2  # a frame, or two fields
        return "?IPBD???"[data[start + 5] >> 3 & 7], data.count(b"\0\0\1\0") == pictures


_WITH_HEADERS = {"h264": H264, "hevc": Hevc}  # by FFmpeg's name of the decoder
_WITH_MEMORY = {"mpeg4": _Mpeg4, "mpeg2video": _Mpeg2}
_WITHOUT_MEMORY = {"vp8": _vp8, "vp9": _vp9, "av1": _av1, "libdav1d": _av1, "mjpeg": _mjpeg}
