"""The features of bags in memory or on disk, whichever suits their number.

In memory: every feature file is read before the first step. On disk: a feature file is read and checked when
its first bag is needed, by a process ahead of the training; its bags go into a bag file beside the state of
the training (`training.bag_file`), from which all later steps read. Both give the same batches.

B bags, T snippets, D width.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt

from dsanet.training.bag_file import BagFile, bytes_on_disk, remove_other_bag_files
from dsanet.training.bags import BagList, Bags
from dsanet.training.feature_bags import FileJob, read_file_bags
from dsanet.training.reader_processes import ReaderProcesses
from extract.config import FEATURE_DIM

log = logging.getLogger(__name__)

IN_MEMORY_BYTES = 1 << 30
IN_MEMORY_VIDEOS = 4000
"""More are not read before the first step: with 10 crops each takes about 3 ms."""
_FREE_BYTES = 1 << 30
"""Left free on the disk, for the state of the training and its checkpoint."""
_MOST_PROCESSES = 15
_THREADS = 4
"""Reads of the bag file at the same time."""
_VIDEOS_A_TASK = 8
"""Read by one thread, because a task takes as long to start as a small bag to read."""


@contextmanager
def opened_bags(lists: Sequence[BagList], folder: Path, sharing: int = 1) -> Iterator[list[Bags]]:
    """These bags with their features, ready for a training whose state is in `folder`.

    `sharing` processes of this training on this machine share its cores and the bag files.
    Raises FeatureFileError for a damaged file: here if the bags fit in memory, else when its bags are needed.
    """
    videos = sum(len(listed.names) for listed in lists)
    size = sum(map(_bytes_needed, lists))
    if videos <= IN_MEMORY_VIDEOS and size <= IN_MEMORY_BYTES:
        yield [Bags(listed, MemoryBags(listed)) for listed in lists]
        return
    log.info("%-9s %.1f GB of bags are read from disk", "train", size / 1e9)
    count = max(1, min(_MOST_PROCESSES, joblib.cpu_count() // sharing - 1))
    with ExitStack() as stack:
        files = _open_files(lists, folder)
        for file in files or ():
            stack.callback(file.close)
        processes = stack.enter_context(ReaderProcesses(count))
        threads = stack.enter_context(ThreadPoolExecutor(count + _THREADS, "bags"))
        yield [
            Bags(listed, DiskBags(listed, file, processes, threads))
            for listed, file in zip(lists, files or (None,) * len(lists), strict=True)
        ]


class MemoryBags:
    """Bags in memory: at most T × 1 kB each."""

    def __init__(self, listed: BagList) -> None:
        self._bags: list[npt.NDArray[np.float16]] = []
        for path, fact, crops in zip(listed.paths, listed.facts, listed.crops_V.tolist(), strict=True):
            job = FileJob(path, fact.digest, crops, listed.shape, None)
            self._bags += read_file_bags(job, range(crops)).rows

    def fill(self, bags_B: npt.NDArray[np.int64], out_BTD: npt.NDArray[np.float16]) -> npt.NDArray[np.int64]:
        """As `BagSource.fill`."""
        lengths = [_put(self._bags[bag], out_TD) for bag, out_TD in zip(bags_B, out_BTD, strict=True)]
        return np.array(lengths)


class DiskBags:
    """Bags in a bag file, or in the feature files as long as they are not there. For several threads."""

    def __init__(
        self,
        listed: BagList,
        file: BagFile | None,
        processes: ReaderProcesses,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._listed, self._file = listed, file
        self._processes, self._threads = processes, threads

    def fill(self, bags_B: npt.NDArray[np.int64], out_BTD: npt.NDArray[np.float16]) -> npt.NDArray[np.int64]:
        """As `BagSource.fill`. Raises FeatureFileError or MissingFileError, naming the feature file."""
        rows_of_video: dict[int, list[int]] = {}
        for row, video in enumerate(self._listed.video_of_bag[bags_B].tolist()):
            rows_of_video.setdefault(video, []).append(row)
        lengths_B = np.zeros(len(bags_B), np.int64)

        def fill_videos(videos: list[int]) -> None:
            for video in videos:
                rows = rows_of_video[video]
                lengths_B[rows] = self._fill_video(video, bags_B[rows].tolist(), [out_BTD[i] for i in rows])

        videos = list(rows_of_video)
        tasks = [videos[i : i + _VIDEOS_A_TASK] for i in range(0, len(videos), _VIDEOS_A_TASK)]
        list(self._threads.map(fill_videos, tasks))
        return lengths_B

    def _fill_video(self, video: int, bags: list[int], outs: list[npt.NDArray[np.float16]]) -> list[int]:
        """Fill in the bags of one video; returns their lengths."""
        if self._file is not None:
            lengths = [self._file.read(bag, out_TD) for bag, out_TD in zip(bags, outs, strict=True)]
            if all(lengths):
                for rows, out_TD in zip(lengths, outs, strict=True):
                    out_TD[rows:] = 0
                return lengths
        read = self._read_file(video, bags)
        return [_put(bag_TD, out_TD) for bag_TD, out_TD in zip(read, outs, strict=True)]

    def _read_file(self, video: int, bags: list[int]) -> list[npt.NDArray[np.float16]]:
        """These bags of a video from its feature file, in a process that also stores all of its bags."""
        listed, file = self._listed, self._file
        first = int(listed.first_bag[video])
        slots = file.slots(first) if file is not None else None
        digest, crops = listed.facts[video].digest, int(listed.crops_V[video])
        job = FileJob(listed.paths[video].absolute(), digest, crops, listed.shape, slots)
        result = self._processes.call(read_file_bags, job, [bag - first for bag in bags])
        if file is not None and result.stored is not None:
            file.stored(first, result.stored)
        elif file is not None and self._file is not None:
            self._file = None  # a thread that still reads from it finds nothing there
            file.remove()
            log.warning("%s: %s; every epoch reads the feature files instead", file.path, result.why_not)
        return result.rows


def _put(bag_TD: npt.NDArray[np.float16], out_TD: npt.NDArray[np.float16]) -> int:
    """Copy a bag and zero the rest; returns its length."""
    out_TD[: len(bag_TD)] = bag_TD
    out_TD[len(bag_TD) :] = 0
    return len(bag_TD)


def _open_files(lists: Sequence[BagList], folder: Path) -> list[BagFile]:
    """The bag files of a training; none, with a warning, where the disk has no room for them."""
    paths = [folder / f"bags-{listed.key[:32]}" for listed in lists]
    files: list[BagFile] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_other_bag_files(folder, paths)
        for path, listed in zip(paths, lists, strict=True):
            files.append(BagFile(path, int(listed.crops_V.sum()), listed.shape.length, FEATURE_DIM))
        missing = sum(map(_bytes_needed, lists)) - sum(file.allocated for file in files)
        free = shutil.disk_usage(folder).free - _FREE_BYTES
        if missing <= free:
            return files
        reason = f"the bags need {missing / 1e9:.1f} GB, {max(free, 0) / 1e9:.1f} GB can be used"
    except OSError as error:
        reason = error.strerror or str(error)
    for file in files:
        file.remove()
        file.close()
    log.warning("%s: %s; every epoch reads the feature files instead", folder, reason)
    return []


def _bytes_needed(listed: BagList) -> int:
    rows = np.array([bytes_on_disk(int(rows), FEATURE_DIM) for rows in listed.snippets])
    return int((rows * listed.crops_V).sum())
