"""Entry points of H.264 and H.265 streams, read from the NAL unit headers of the packets.

Decoding can begin at an entry point. The container's key flag does not suffice: ffmpeg also sets it on
pictures where a decoder only starts to recover (intra refresh), and the frames that follow are wrong for a
while. Sources: ITU-T H.264 table 7-1 and annex D.2.8 (recovery point), ITU-T H.265 table 7-1.
"""

from collections.abc import Iterator
from typing import Literal

NAL_CODECS = ("h264", "hevc")
_H264_SLICES, _H264_IDR, _H264_SEI = range(1, 6), 5, 6
_H264_RECOVERY_POINT = 6
_HEVC_CLOSED, _HEVC_CRA = range(16, 21), 21

EntryKind = Literal["closed", "open"]
"""`open`: leading pictures, shown before the entry point but sent after it, need earlier packets."""


class EntryPointParser:
    """Classifies the packets of one H.264 or H.265 stream."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._hevc = codec == "hevc"
        self._length_bytes = _length_bytes(extradata or b"", self._hevc)

    def kind(self, packet: memoryview) -> EntryKind | None:
        """The kind of entry point that a packet is, or None; the first slice of the picture decides."""
        classify = _hevc_kind if self._hevc else _h264_kind
        return classify(self._units(packet))

    def _units(self, packet: memoryview) -> Iterator[memoryview]:
        """The NAL units of a packet, without their length or start code."""
        if self._length_bytes is None:
            yield from _annex_b_units(packet)
            return
        at = 0
        while at + self._length_bytes < len(packet):
            size = int.from_bytes(packet[at : at + self._length_bytes], "big")
            at += self._length_bytes
            if size == 0 or at + size > len(packet):
                return
            yield packet[at : at + size]
            at += size


def _h264_kind(units: Iterator[memoryview]) -> EntryKind | None:
    for unit in units:
        unit_type = unit[0] & 0x1F
        if unit_type == _H264_SEI and _has_exact_recovery_point(unit):
            return "open"
        if unit_type in _H264_SLICES:
            return "closed" if unit_type == _H264_IDR else None
    return None


def _hevc_kind(units: Iterator[memoryview]) -> EntryKind | None:
    for unit in units:
        unit_type = unit[0] >> 1 & 0x3F
        if unit_type in _HEVC_CLOSED:
            return "closed"
        if unit_type <= _HEVC_CRA:
            return "open" if unit_type == _HEVC_CRA else None
    return None


def _length_bytes(extradata: bytes, hevc: bool) -> int | None:
    """Bytes of the length field before each unit (avcC, hvcC), or None for start codes (annex B)."""
    if (len(extradata) < 23 and (hevc or len(extradata) < 5)) or extradata[0] != 1:
        return None
    return (extradata[21 if hevc else 4] & 3) + 1


def _annex_b_units(packet: memoryview) -> Iterator[memoryview]:
    data = bytes(packet)
    start = data.find(b"\0\0\1")
    while start >= 0:
        end = data.find(b"\0\0\1", start + 3)
        unit = packet[start + 3 : end if end >= 0 else None]
        if len(unit):
            yield unit
        start = end


def _has_exact_recovery_point(sei: memoryview) -> bool:
    """True if the SEI unit has a recovery point with recovery_frame_cnt = 0, coded as a single set bit."""
    at = 1
    while at + 2 < len(sei):
        kind, at = _sei_number(sei, at)
        size, at = _sei_number(sei, at)
        if kind == _H264_RECOVERY_POINT:
            return at < len(sei) and bool(sei[at] & 0x80)
        at += size
    return False


def _sei_number(sei: memoryview, at: int) -> tuple[int, int]:
    """A payload type or size at position `at`, and the position after it; each 0xFF byte adds 255."""
    number = 0
    while at < len(sei) and sei[at] == 0xFF:
        number, at = number + 255, at + 1
    return number + (sei[at] if at < len(sei) else 0), at + 1
