"""From feature files to bags: which files go together, and the shortened crops of one file.

No torch: the processes that read feature files for a training import this module, and torch would make each
of them ten times as large.

T snippets, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from dsanet.training.bag_file import BagSlots
from extract.config import COMPARED_SETTINGS, PUBLISHED, EncoderFingerprint, ExtractConfig
from extract.errors import InputError
from extract.store import FeatureMeta, content_digest, read_features

Settings = tuple[tuple[str, str], ...]


class FileFacts(NamedTuple):
    """Facts about a feature file, whose checksum has not been compared since they were recorded."""

    digest: str
    snippets: int
    crops: int
    settings: Settings
    """The attributes of its groups `encoder` and `config`, in the order of their names."""


class BagShape(NamedTuple):
    """Number of snippets or segments of a bag."""

    length: int
    """Snippets of a bag at most."""
    segmented: bool
    """True if a bag has exactly `length` segments."""

    def rows(self, snippets: int) -> int:
        """Snippets of the bag of a video with `snippets`."""
        return self.length if self.segmented else min(snippets, self.length)

    def shorten(self, features_TD: np.ndarray) -> npt.NDArray[np.float16]:
        """The bag of one crop."""
        shorten = segments if self.segmented else average_down
        return shorten(features_TD, self.length).astype(np.float16)


class FileJob(NamedTuple):
    """The first `crops` crops of a feature file as bags, and where they are to be stored."""

    path: Path
    digest: str
    """The digest that the file had when the training began."""
    crops: int
    shape: BagShape
    slots: BagSlots | None


class FileBags(NamedTuple):
    """The result of a FileJob: the bags that were asked for, and what became of storing all of them."""

    rows: list[npt.NDArray[np.float16]]
    stored: npt.NDArray[np.void] | None
    """Index entries of all crops; None if they have not been stored."""
    why_not: str = ""
    """The error that storing has met."""


def average_down(features_TD: np.ndarray, length: int) -> np.ndarray:
    """The features unchanged, or `length` segments if there are more than `length` snippets."""
    return features_TD if len(features_TD) <= length else segments(features_TD, length)


def segments(features_TD: np.ndarray, length: int) -> np.ndarray:
    """(length, D) float32: means of the spans between the integer parts of linspace(0, n, length + 1).

    An empty span takes the snippet at its start, so that a short video repeats its snippets.
    """
    edges = np.linspace(0, len(features_TD), length + 1).astype(np.int64)
    # For an empty span reduceat returns the snippet at its start.
    sums = np.add.reduceat(features_TD.astype(np.float32), edges[:-1], axis=0)
    return sums / np.maximum(np.diff(edges), 1)[:, None]


def require_same_features(
    meta: FeatureMeta, encoder: EncoderFingerprint, extract: ExtractConfig, path: Path
) -> None:
    """Raise ValueError unless the file's features are comparable with those of `encoder` and `extract`."""
    if not meta.encoder.same_features_as(encoder):
        raise InputError(
            f"{path} holds features of another encoder ({meta.encoder.digest}, expected {encoder.digest}: "
            f"{encoder.architecture}, weights {encoder.weights_digest[:23]}); extract the video with that one"
        )
    # Nobody knows how published features were made: their own settings are placeholders.
    published = PUBLISHED in (meta.encoder.weights_digest, encoder.weights_digest)
    for field in ("snippet_length",) if published else COMPARED_SETTINGS:
        got, expected = getattr(meta.config, field), getattr(extract, field)
        if got != expected:
            raise InputError(
                f"{path} was extracted with {field} = {got}, expected {expected}; extract it again"
            )


def attribute_texts(settings: EncoderFingerprint | ExtractConfig) -> Settings:
    """The part of `FileFacts.settings` that comes from these settings."""
    return tuple(sorted((name, str(value)) for name, value in settings.model_dump().items()))


def read_facts(paths: Sequence[Path]) -> list[FileFacts]:
    """The facts of these feature files, about 0.3 ms each: only headers are read.

    Raises MissingFileError and FeatureFileError as `read_features`.
    """
    known: dict[Settings, Settings] = {}  # equal settings are one object, which is also sent only once
    facts = [_file_facts(path) for path in paths]
    return [fact._replace(settings=known.setdefault(fact.settings, fact.settings)) for fact in facts]


def read_file_bags(job: FileJob, wanted: Sequence[int]) -> FileBags:
    """Read and check a feature file, store all its bags, and return those of the crops `wanted`.

    Raises as `read_features`, and InputError for a file that has been replaced since the training began.
    """
    features = read_features(job.path)
    if content_digest(job.path) != job.digest:
        raise InputError(
            f"{job.path} has changed since the training began; start the training again with the new features"
        )
    bags = [job.shape.shorten(features.features[:, crop]) for crop in range(job.crops)]
    rows = [bags[crop] for crop in wanted]
    if job.slots is None:
        return FileBags(rows, None)
    try:
        return FileBags(rows, job.slots.write(bags))
    except OSError as error:  # the bags are a cache: the training can do without
        return FileBags(rows, None, error.strerror or str(error))


def _file_facts(path: Path) -> FileFacts:
    try:
        digest = content_digest(path)
        file = h5py.h5f.open(bytes(path), h5py.h5f.ACC_RDONLY, _without_locks())
        snippets, crops, _ = h5py.h5d.open(file, b"features").shape
        return FileFacts(
            digest, snippets, crops, (*_attributes(file, b"encoder"), *_attributes(file, b"config"))
        )
    except Exception:  # HDF5 raises errors of many kinds for a damaged file
        read_features(path)  # raises what is wrong with the file
        raise


def _without_locks() -> h5py.h5p.PropFAID:
    """Access without HDF5's file locks, which some network file systems do not have."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_file_locking(False, True)
    return access


def _attributes(file: h5py.h5f.FileID, group: bytes) -> Settings:
    """The attributes of a group; through h5py's low-level functions, which take half the time."""
    place = h5py.h5o.open(file, group)
    attributes = []
    for i in range(h5py.h5a.get_num_attrs(place)):
        attribute = h5py.h5a.open(place, index=i)
        value = np.empty(attribute.shape, attribute.dtype)
        attribute.read(value)
        plain = value.item()
        attributes.append(
            (attribute.name.decode(), plain.decode() if isinstance(plain, bytes) else str(plain))
        )
    return tuple(attributes)
