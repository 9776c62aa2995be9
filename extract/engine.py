"""Extraction of a list of videos: those with features are reused, the others go to one or several devices."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from extract.cluster.extraction import RayCluster
from extract.config import ExtractConfig, ExtractRuntime
from extract.decode.decoder_choice import require_decoder
from extract.devices import DeviceProcesses, selected_devices
from extract.encoder import FrameEncoder, load_encoder
from extract.errors import InputError, MissingFileError
from extract.extraction import OneDevice
from extract.failures import Failure, read_failures, write_failures
from extract.feature_index import FeatureIndex
from extract.manifest import VideoRecord, check_name
from extract.outcomes import Outcomes
from extract.progress import ExtractProgress
from extract.remembered import FailureLog
from extract.remote.listings import one_listing
from extract.remote.path import read_listings
from extract.reuse import are_up_to_date, is_imported, locked_feature_folder
from extract.store import feature_path
from extract.termination import sigterm_as_exit


@dataclass(frozen=True)
class ExtractResult:
    """Names of the videos extracted and of those with up-to-date feature files, and the failures."""

    extracted: list[str]
    reused: list[str]
    failures: list[Failure]
    timing: dict[str, str] = field(default_factory=dict, repr=False)
    """Irregularities of extracted recordings by the video's name, for example pauses."""


@one_listing()
def extract_videos(
    records: Sequence[VideoRecord],
    features_dir: Path,
    config: ExtractConfig,
    runtime: ExtractRuntime = ExtractRuntime(),  # noqa: B008  # frozen
    on_progress: Callable[[ExtractProgress], None] | None = None,
    *,
    encoder: FrameEncoder | None = None,
    retry: bool = False,
    on_written: Callable[[Path], None] | None = None,
) -> ExtractResult:
    """Extract the features of videos: writes `features_dir/NAME.h5` per video, and `failures.csv`.

    Videos with an up-to-date feature file are skipped, so a repeated or interrupted run does only the rest. A
    video that can't be decoded does not end the run: it is listed in `failures.csv`, and tried again when it
    or the settings change or, unchanged, after a time that doubles with each failed try.

    Args:
        records: The videos, with unique names; their labels and splits are not used.
        features_dir: Folder of the feature files; created if missing, locked during the run.
        config: Settings that determine the features.
        runtime: Device, decoder processes and error handling.
        on_progress: Called with the state of the run at most twice a second.
        encoder: Replaces the encoder that `config` and `runtime` select.
        retry: Try all failed videos now.
        on_written: Called with the path of each new feature file. An error of it ends the run.

    Returns:
        The names of the videos extracted and reused, and the failures with their reasons, those included
        that were not tried again.

    Raises:
        FileNotFoundError: There are no weights.
        InputError: The weights or the device are not usable, a name cannot be a file's, two videos have the
            same name, a video is gone whose features are outdated, the folder is not writable, or another
            extraction is running in it.

    Examples:
        >>> from pathlib import Path
        >>> from extract import ExtractConfig, extract_videos
        >>> from extract.manifest import VideoRecord
        >>> video = VideoRecord("video", Path("video.mp4"), ("normal",), "test")
        >>> extract_videos([video], Path("features"), ExtractConfig(weights="random"))
        ExtractResult(extracted=['video'], reused=[], failures=[])
    """
    _check_names(records)
    read_listings(record.path for record in records)
    with (
        sigterm_as_exit(),
        locked_feature_folder(features_dir) as lock,
        closing(FeatureIndex(features_dir)) as index,
    ):
        if all(is_imported(record, index) for record in records):
            return _only_reused(records, features_dir)  # needs no weights
        with _devices(features_dir, index, config, runtime, encoder, lock) as devices:
            done = are_up_to_date(records, index, config, devices.fingerprint, runtime)
            todo = [record for record, up_to_date in zip(records, done, strict=True) if not up_to_date]
            failures = FailureLog(features_dir, config, runtime, records, [] if retry else todo)
            todo = [record for record in todo if record.name not in failures.waiting]
            _require_sources(todo, features_dir)
            reused = [record.name for record, up_to_date in zip(records, done, strict=True) if up_to_date]
            finished = len(records) - len(todo)
            outcomes = Outcomes(todo, finished, features_dir, failures, on_progress, on_written)
            outcomes.report(force=True)
            if todo:
                require_decoder(runtime.decoder)
                devices.extract(outcomes.largest_first(todo), outcomes)
            outcomes.finish()
        return ExtractResult(sorted(outcomes.extracted), reused, failures.failures, outcomes.timing)


@contextmanager
def _devices(
    features_dir: Path,
    index: FeatureIndex,
    config: ExtractConfig,
    runtime: ExtractRuntime,
    encoder: FrameEncoder | None,
    lock: int,
) -> Iterator[OneDevice | DeviceProcesses | RayCluster]:
    """The devices of an extraction: one, used by this process, several with a process each, or a cluster."""
    if runtime.runner == "ray" and encoder is None:
        with RayCluster(index, config, runtime) as cluster:
            yield cluster
        return
    selected = selected_devices(runtime) if encoder is None else []
    if len(selected) > 1:
        with DeviceProcesses(selected, features_dir, config, runtime, lock) as processes:
            yield processes
        return
    if selected:
        runtime = runtime.model_copy(update={"device": selected[0]})
    encoder = encoder or load_encoder(config.weights, runtime.device, config.precision, runtime.batch_size)
    yield OneDevice(index, config, runtime, encoder)


def _only_reused(records: Sequence[VideoRecord], features_dir: Path) -> ExtractResult:
    names = [record.name for record in records]
    write_failures(features_dir, [one for one in read_failures(features_dir) if one.name not in names])
    return ExtractResult([], names, [])


def _check_names(records: Sequence[VideoRecord]) -> None:
    for record in records:
        check_name(record.name)
    name, count = next(iter(Counter(record.name for record in records).most_common(1)), ("", 0))
    if count > 1:
        raise InputError(f"{count} videos are named {name!r}; names must be unique, feature files carry them")


def _require_sources(todo: Sequence[VideoRecord], features_dir: Path) -> None:
    """Raise MissingFileError for videos that are gone and have outdated features, before any is decoded.

    A video that is gone and has no features is a failure like others: its file may have been moved meanwhile.
    """
    gone = [r for r in todo if not r.path.exists() and feature_path(features_dir, r.name).is_file()]
    if gone:
        raise MissingFileError(
            f"{len(gone)} videos are gone whose features must be extracted again (made with other settings "
            f"or weights, or damaged), first: {gone[0].name}, {gone[0].path}; restore the videos, return to "
            f"the settings of the features, or delete the feature files in {features_dir} and the rows"
        )
