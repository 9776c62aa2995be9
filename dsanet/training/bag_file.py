"""Bags on disk: a sparse file with a slot for each bag, and an index with the length and CRC of those stored.

The file is a cache beside the state of an unfinished training. Every video's bags are stored when it is read
for the first time, by whichever process reads it; later steps read them from here. A slot has a fixed place,
so the processes need not agree on anything. An entry of the index counts only if the bytes in the slot have
its CRC: what a crash, a full disk or a bad block has left is read again from the feature file.

The file is read with `preadv` straight into a batch and not mapped: mapped pages would count as the
training's memory, and where the disk fails they end the process instead of raising an error.
"""

import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ENTRY = np.dtype([("rows", "<i4"), ("crc", "<u4")])
"""Index entry of a bag; 0 rows if the bag is not stored."""
_BLOCK = 4096
_INDEX_SUFFIX = ".index"


class BagSlots(NamedTuple):
    """The slots of one video's bags, as given to the process that fills them."""

    data: Path
    first: int
    """Number of the video's first bag."""
    slot_bytes: int

    def write(self, bags: Sequence[npt.NDArray[np.float16]]) -> npt.NDArray[np.void]:
        """Store the bags and their index entries, which are returned. Raises OSError."""
        entries = np.zeros(len(bags), ENTRY)
        data = os.open(self.data, os.O_WRONLY)
        try:
            for i, bag in enumerate(bags):
                content = bag.tobytes()
                _write_at(data, memoryview(content), (self.first + i) * self.slot_bytes)
                entries[i] = len(bag), zlib.crc32(content)
        finally:
            os.close(data)
        index = os.open(_index_path(self.data), os.O_WRONLY)
        try:
            _write_at(index, memoryview(entries.tobytes()), self.first * ENTRY.itemsize)
        finally:
            os.close(index)
        return entries


class BagFile:
    """The bag file at `path` for `count` bags of up to `rows` snippets, continued if it exists.

    Raises OSError if it cannot be created. May be used from several threads.
    """

    def __init__(self, path: Path, count: int, rows: int, width: int) -> None:
        self.path = path
        self._width = width
        self._slot_bytes = bytes_on_disk(rows, width)
        self._entries = np.zeros(count, ENTRY)
        self._data = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.ftruncate(self._data, count * self._slot_bytes)
            with _index_path(path).open("a+b") as index:
                index.truncate(self._entries.nbytes)
                index.seek(0)
                self._entries[:] = np.frombuffer(index.read(), ENTRY)
        except BaseException:
            self.remove()
            self.close()
            raise
        if hasattr(os, "posix_fadvise"):  # a bag's neighbours in the file are not read soon
            os.posix_fadvise(self._data, 0, 0, os.POSIX_FADV_RANDOM)

    @property
    def allocated(self) -> int:
        """Bytes that the file takes on the disk now."""
        return os.fstat(self._data).st_blocks * 512

    def read(self, bag: int, out_TD: npt.NDArray[np.float16]) -> int:
        """Read a bag into the first rows of `out_TD`; returns their number, 0 if it is not stored intact."""
        if self._entries[bag]["rows"] == 0:
            self._look_up(bag)
        rows, crc = self._entries[bag].item()
        if not 0 < rows <= len(out_TD):
            return 0
        content = out_TD[:rows].data.cast("B")
        with suppress(OSError):  # a bad block: the feature file is read instead
            if _read_at(self._data, content, bag * self._slot_bytes) and zlib.crc32(content) == crc:
                return int(rows)
        return 0

    def _look_up(self, bag: int) -> None:
        """Take over an entry that another process of a training on several devices has written meanwhile."""
        with suppress(OSError), _index_path(self.path).open("rb") as index:
            index.seek(bag * ENTRY.itemsize)
            if len(entry := index.read(ENTRY.itemsize)) == ENTRY.itemsize:
                self._entries[bag] = np.frombuffer(entry, ENTRY)[0]

    def slots(self, first: int) -> BagSlots:
        """The slots of the video whose first bag is `first`."""
        return BagSlots(self.path.absolute(), first, self._slot_bytes)

    def stored(self, first: int, entries: npt.NDArray[np.void]) -> None:
        """Take over the index entries that another process has written."""
        self._entries[first : first + len(entries)] = entries

    def close(self) -> None:
        """Close the file; what is stored can be used by a later training."""
        os.close(self._data)

    def remove(self) -> None:
        """Free the room on the disk; no bag is stored any more. The open file ends with `close`."""
        self._entries[:] = 0
        with suppress(OSError):
            os.ftruncate(self._data, 0)
        for path in (self.path, _index_path(self.path)):
            path.unlink(missing_ok=True)


def bytes_on_disk(rows: int, width: int) -> int:
    """Bytes that a bag of so many snippets takes in a bag file."""
    return -(-rows * width * 2 // _BLOCK) * _BLOCK


def remove_other_bag_files(folder: Path, keep: Sequence[Path]) -> None:
    """Remove the bag files of other trainings, for example of one with other features, from a folder."""
    kept = {path for data in keep for path in (data, _index_path(data))}
    for path in folder.glob("bags-*"):
        if path not in kept:
            path.unlink(missing_ok=True)


def _index_path(data: Path) -> Path:
    return data.with_name(data.name + _INDEX_SUFFIX)


def _write_at(descriptor: int, content: memoryview, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def _read_at(descriptor: int, content: memoryview, offset: int) -> bool:
    """False at the end of the file."""
    while content:
        read = os.preadv(descriptor, [content], offset)
        if read == 0:
            return False
        content, offset = content[read:], offset + read
    return True
