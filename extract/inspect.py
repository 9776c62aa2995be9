"""Look into a folder of feature files: what is there, and is it intact."""

from dataclasses import dataclass
from pathlib import Path

from extract.store import FeatureFileError, FeatureMeta, read_features


@dataclass(frozen=True)
class FeatureSummary:
    """One feature file. `problem` is empty, or says what is wrong; `meta` is None where it can't be read."""

    path: Path
    name: str
    snippets: int
    meta: FeatureMeta | None
    problem: str = ""


def show_features(features_dir: Path) -> list[FeatureSummary]:
    """Read and check every feature file of a folder. Raises FileNotFoundError if there is no folder."""
    if not features_dir.is_dir():
        raise FileNotFoundError(f"no folder {features_dir}; extract features into it first")
    return [_summary(path) for path in sorted(features_dir.glob("*.h5"))]


def _summary(path: Path) -> FeatureSummary:
    try:
        features = read_features(path)
    except (FeatureFileError, OSError) as error:
        return FeatureSummary(path, path.stem, 0, None, str(error))
    problem = "" if features.name == path.stem else f"{path} holds the features of {features.name}"
    return FeatureSummary(path, features.name, len(features.frame_index), features.meta, problem)
