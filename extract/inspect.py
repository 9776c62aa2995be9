"""Summaries of the feature files of a folder, with the result of their integrity check."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from extract.display import MOST_NAMES
from extract.errors import MissingFileError
from extract.feature_index import FeatureIndex
from extract.store import FeatureFileError, FeatureMeta, read_features


@dataclass(frozen=True)
class FeatureSummary:
    """One feature file. `problem` is empty for an intact file; `meta` is None if the file is unreadable."""

    path: Path
    name: str
    snippets: int
    meta: FeatureMeta | None
    problem: str = ""


def summarise_features(features_dir: Path) -> list[FeatureSummary]:
    """Read and check every feature file of a folder, sorted by file name.

    Raises FileNotFoundError if the folder does not exist.
    """
    return [_summary(path) for path in _feature_files(features_dir)]


def verify_features(
    features_dir: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[int, list[str]]:
    """Read every feature file of a folder: the number of files, and what is wrong with each damaged one.

    The next extraction replaces the damaged ones. `on_progress` is called with the files read and of all.
    Raises FileNotFoundError if the folder does not exist.
    """
    files, problems = _feature_files(features_dir), []
    with closing(FeatureIndex(features_dir)) as index, ThreadPoolExecutor() as pool:
        for done, (path, problem) in enumerate(zip(files, pool.map(_problem, files), strict=True), start=1):
            if problem:
                problems.append(problem)
                index.forget(path)
            on_progress(done, len(files))
    return len(files), problems


def _feature_files(features_dir: Path) -> list[Path]:
    if not features_dir.is_dir():
        raise MissingFileError(f"no folder {features_dir}; extract features into it first")
    return sorted(features_dir.glob("*.h5"))


def timing_lines(timing: Mapping[str, str]) -> list[str]:
    """One line for each of the first ten irregular recordings, and how many more there are.

    `timing` maps names of videos to what `SourceInfo.timing` says of them; empty texts are left out.
    """
    lines = [f"{name}: {found}" for name, found in sorted(timing.items()) if found]
    rest = len(lines) - MOST_NAMES
    more = [f"{rest:,} more recordings are irregular; their feature files say how"] if rest > 0 else []
    return lines[:MOST_NAMES] + more


def _problem(path: Path) -> str:
    return _summary(path).problem


def _summary(path: Path) -> FeatureSummary:
    try:
        features = read_features(path)
    except (FeatureFileError, OSError) as error:
        return FeatureSummary(path, path.stem, 0, None, str(error))
    problem = "" if features.name == path.stem else f"{path} holds the features of {features.name}"
    return FeatureSummary(path, features.name, len(features.frame_index), features.meta, problem)
