"""Where decoding may begin in an H.264 or H.265 stream, read from the packets' NAL unit headers.

A container's key flag is not enough: ffmpeg also sets it on pictures from which a decoder only
*recovers* (intra refresh), where the frames that follow are wrong for a while.
ITU-T H.264 table 7-1 and annex D.2.8 (recovery point), H.265 table 7-1.
"""

from collections.abc import Iterator

NAL_CODECS = ("h264", "hevc")
_H264_SLICES, _H264_IDR, _H264_SEI = range(1, 6), 5, 6
_H264_RECOVERY_POINT = 6
_HEVC_CLOSED, _HEVC_CRA = range(16, 21), 21


class EntryPoints:
    """Tells entry points: `closed`, `open` (its leading pictures need what came before) or None."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._hevc = codec == "hevc"
        self._length_bytes = _length_bytes(extradata or b"", self._hevc)

    def kind(self, packet: memoryview) -> str | None:
        for unit in self._units(packet):
            if self._hevc:
                unit_type = unit[0] >> 1 & 0x3F
                if unit_type in _HEVC_CLOSED:
                    return "closed"
                if unit_type <= _HEVC_CRA:  # the first slice decides
                    return "open" if unit_type == _HEVC_CRA else None
            else:
                unit_type = unit[0] & 0x1F
                if unit_type == _H264_SEI and _recovers_at_once(unit):
                    return "open"
                if unit_type in _H264_SLICES:
                    return "closed" if unit_type == _H264_IDR else None
        return None

    def _units(self, packet: memoryview) -> Iterator[memoryview]:
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


def _length_bytes(extradata: bytes, hevc: bool) -> int | None:
    """Width of the length before each unit (avcC, hvcC), or None for start codes (annex B)."""
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


def _recovers_at_once(sei: memoryview) -> bool:
    """True if the SEI unit holds a recovery point with recovery_frame_cnt = 0 (one set bit, ue(v))."""
    at = 1
    while at + 2 < len(sei):
        kind, at = _sei_number(sei, at)
        size, at = _sei_number(sei, at)
        if kind == _H264_RECOVERY_POINT:
            return at < len(sei) and bool(sei[at] & 0x80)
        at += size
    return False


def _sei_number(sei: memoryview, at: int) -> tuple[int, int]:
    number = 0
    while at < len(sei) and sei[at] == 0xFF:
        number, at = number + 255, at + 1
    return number + (sei[at] if at < len(sei) else 0), at + 1
