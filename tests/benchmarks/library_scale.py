"""A library of many videos: what a retraining asks of it when nothing has changed, against the plain way.

    python tests/benchmarks/library_scale.py [--videos 100000 --folder DIR]

The library (SQLite) has that many videos with a file, labels, features and a score each; the files are in an
inbox and in a manifest. Each line is one action, each side in a process of its own, the faster of two runs:
seconds, and the memory that it needs beyond the library's code. The plain way asks the database about one
video after the other, or reads the feature files.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sqlalchemy import insert

from extract.config import EncoderFingerprint, ExtractConfig
from extract.manifest import VideoRecord
from extract.source import SourceInfo
from extract.store import FeatureMeta, VideoFeatures, feature_path, read_features, write_features
from flows.library import from_manifest, inbox, pages, results
from flows.library import library as library_module
from flows.library.from_manifest import MANIFEST, import_manifest
from flows.library.inbox import scan
from flows.library.labels import label_queue
from flows.library.library import Library
from flows.library.tables import FeatureRow, LabelRow, LocationRow, ScoreRow, VideoRow
from flows.retraining.drift import feature_drift
from flows.workspace.retrain_config import DriftConfig

ROUNDS = 2
SNIPPETS = 16
MODEL = "champion"
DISTINCT = 50
"""Different feature files; the others are copies."""
NEW = 100
"""Videos that arrived after the training: without labels, and compared with the others for drift."""


def digest(number: int) -> str:
    return f"{number:064x}"


def fill(root: Path, count: int) -> None:
    """The inbox, the library and the feature files."""
    (root / "inbox").mkdir(parents=True)
    (root / "features").mkdir()
    random, made = np.random.default_rng(0), root / "made.h5"
    means, images = [], []
    for number in range(DISTINCT):
        features = random.normal(size=(SNIPPETS, 1, 512)).astype(np.float16)
        write_features(made, video_features(number, features))
        images.append(made.read_bytes())
        means.append(features.astype(np.float32).mean(axis=(0, 1)).tobytes())
    for number in range(count):
        (root / "inbox" / f"v{number}.mp4").write_bytes(b"%d" % number)
        feature_path(root / "features", f"v{number}").write_bytes(images[number % DISTINCT])
    with Library.open(root) as library, library._session() as session:
        numbers = range(1, count + 1)
        session.execute(
            insert(VideoRow),
            [
                {"id": n, "digest": digest(n), "name": f"v{n - 1}", "split": "train"}
                | {"current_labels": "normal" if n > NEW else ""}
                for n in numbers
            ],
        )
        files = [(n, root / "inbox" / f"v{n - 1}.mp4") for n in numbers]
        session.execute(
            insert(LocationRow),
            [
                {"video_id": n, "path": str(p), "size": s.st_size, "mtime_ns": s.st_mtime_ns}
                for n, p in files
                for s in (p.stat(),)
            ],
        )
        labels = {"labels": "normal", "given_by": MANIFEST, "source": MANIFEST}
        session.execute(insert(LabelRow), [{"video_id": n} | labels for n in numbers if n > NEW])
        facts = {"digest": "f" * 64, "encoder": "e" * 16, "snippets": SNIPPETS, "duration_s": 8.5}
        features = [{"video_id": n, "mean": means[(n - 1) % DISTINCT]} | facts for n in numbers]
        session.execute(insert(FeatureRow), features)
        score = {"model": MODEL, "predicted": "normal", "entropy": 0.5}
        session.execute(insert(ScoreRow), [{"video_id": n, "anomaly": n / count} | score for n in numbers])


def video_features(number: int, features: np.ndarray) -> VideoFeatures:
    frames, name = np.arange(len(features)) * 16 + 8, f"v{number}"
    source = SourceInfo(name, digest(number + 1), 1, 0, "h264", 30.0, 16 * SNIPPETS, 320, 240, 8.5)
    encoder = EncoderFingerprint(
        architecture="ViT-B-16", weights_digest="random-0", preprocessing="clip", precision="fp32"
    )
    meta = FeatureMeta(
        source=source, encoder=encoder, config=ExtractConfig(), decoder="pyav-full", decoder_reason=""
    )
    return VideoFeatures(name, features, frames, frames / 30, meta)


def records(root: Path, count: int) -> list[VideoRecord]:
    paths = (root / "inbox" / f"v{number}.mp4" for number in range(NEW, count))
    return [VideoRecord(path.stem, path, ("normal",), "train") for path in paths]


def one_by_one() -> None:
    """Let the library ask about one video in each query."""
    for module in (pages, inbox, from_manifest, library_module, results):
        module.in_pages = lambda items, size=1: ([item] for item in items)  # type: ignore[attr-defined]
    library_module.video_page = lambda session, after, *conditions: pages.video_page(  # type: ignore[attr-defined]
        session, after, *conditions, size=1
    )


def drift_of_stored(library: Library, root: Path) -> None:
    digests = [digest(number) for number in range(1, len(library.features()) + 1)]
    compare(library.mean_features(digests))


def drift_of_files(library: Library, root: Path) -> None:
    names = (f"v{number}" for number in range(len(library.features())))
    files = (feature_path(root / "features", name) for name in names)
    compare(np.stack([read_features(file).features.astype(np.float32).mean(axis=(0, 1)) for file in files]))


def compare(means_VD: np.ndarray) -> None:
    assert feature_drift(means_VD[NEW:], means_VD[:NEW], DriftConfig()) is not None


Action = Callable[[Library, Path], object]
ACTIONS: dict[str, Action] = {
    "scan of an unchanged inbox": lambda library, root: scan(library, [root / "inbox"], 0),
    "import of an unchanged manifest": lambda library, root: import_manifest(
        library, records(root, len(library.features())), root / "features"
    ),
    "list of all videos": lambda library, root: library.videos(),
    "label queue, first 30": lambda library, root: label_queue(library, MODEL, 30),
    "drift of the features": drift_of_stored,
}
PLAIN: dict[str, Action] = {
    "label queue, first 30": lambda library, root: label_queue(library, MODEL)[:30],
    "drift of the features": drift_of_files,
}
"""Plain ways that are not the same action, one video after the other."""


def measure(action: str, root: Path, *, plain: bool) -> dict[str, float]:
    """Seconds and MB of an action in this process."""
    if plain:
        one_by_one()
    chosen = (PLAIN if plain else {}).get(action, ACTIONS[action])
    with Library.open(root) as library:
        library.has_video(digest(1))
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins with the present size
        before, began = peak_mb(), time.monotonic()
        chosen(library, root)
        return {"s": time.monotonic() - began, "mb": peak_mb() - before}


def peak_mb() -> float:
    """Peak size of this process; unlike that of `getrusage`, not of the process that started it."""
    (line,) = (t for t in Path("/proc/self/status").read_text().splitlines() if t.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def in_process(action: str, root: Path, *, plain: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--folder", str(root), "--action", action]
    done = subprocess.run([*command, *(["--plain"] if plain else [])], check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=5000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--action", choices=ACTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.action:
        print(json.dumps(measure(given.action, given.folder, plain=given.plain)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        root = Path(folder)
        fill(root / "ws", given.videos)
        print(f"| {given.videos:,} videos | plain | in pages | |\n|---|---|---|---|")
        for action in ACTIONS:
            both = [
                [in_process(action, root / "ws", plain=plain) for plain in (True, False)]
                for _ in range(ROUNDS)
            ]
            plain, ours = (min(runs, key=lambda run: run["s"]) for runs in zip(*both, strict=True))
            cells = [f"{one['s']:.2f} s, {one['mb']:.0f} MB" for one in (plain, ours)]
            print(f"| {action} | {' | '.join(cells)} | {plain['s'] / ours['s']:.1f}× |", flush=True)


if __name__ == "__main__":
    main()
