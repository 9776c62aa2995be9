"""A run in which nothing has changed, and one with a video more, against reading every file.

    python tests/benchmarks/rerun.py [--videos 2000 --rounds 2 --folder DIR]

The videos are tiny real clips with distinct bytes but few distinct pictures; only those are encoded, and the
feature files of the copies are made by the feature store. After a first run, not measured, `dsanet run` is
run again with nothing changed: as it is, and as the alternative with the index of digests deleted, so that
every feature file is read. Then a video is added and `dsanet extract` is run. The runs take turns; times are
the fastest, with the start of Python and of Prefect's embedded server. Memory is the peak of the command's
process. The share of the features is that of the bytes of all feature files that were opened.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if TYPE_CHECKING:
    from flows.workspace.workspace import Workspace

MOST_TESTS = 2000
"""Test videos at most: scoring and charting more is not what is measured."""


class Measured(NamedTuple):
    """One command: seconds, peak memory, and bytes of the feature files that it opened."""

    seconds: float
    mib: float
    feature_bytes: int


def make_workspace(folder: Path, videos: int) -> "Workspace":
    """A workspace with `videos` clips and their features, and one clip more, which is in no manifest yet."""
    from evaluate.annotations import Segment, write_annotations
    from extract.manifest import VideoRecord, write_manifest
    from extract.store import feature_image, feature_path
    from flows.workspace.inputs import configure_workspace
    from flows.workspace.workspace import Workspace
    from tests.benchmarks.flows_overhead import PICTURES, copied, free_box, make_pictures
    from tests.flows.tiny import SETTINGS

    clips, features = make_pictures(folder / "pictures")
    workspace = Workspace(folder / "ws")
    workspace.features.mkdir(parents=True)
    (folder / "footage").mkdir()
    records, truth = [], {}
    for number in range(videos + 1):
        clip, made = clips[number % PICTURES], features[number % PICTURES]
        path = folder / "footage" / f"v{number:06}.mp4"
        path.write_bytes(clip.path.read_bytes() + free_box(f"{number:08}".encode()))
        split = "test" if number < min(videos * 0.15, MOST_TESTS) else "train"
        records.append(VideoRecord(path.stem, path, (clip.label,), split))
        if number < videos:  # not flushed to the disk one by one, which takes most of the time
            feature_path(workspace.features, path.stem).write_bytes(feature_image(copied(made, path)))
        if clip.event and split == "test":
            truth[path] = [Segment(clip.label, *clip.event)]
    write_manifest(folder / "manifest.csv", records[:-1])
    write_manifest(folder / "one-more.csv", records)
    write_annotations(folder / "manifest.annotations.csv", truth)
    write_annotations(folder / "one-more.annotations.csv", truth)
    configure_workspace(
        workspace.root,
        folder / "manifest.csv",
        preset="small",
        weights="random",
        settings=[*SETTINGS, "train.steps=4"],
    )
    return workspace


def child(features: str, arguments: list[str]) -> None:
    """Run the command in this process; print what it took as the last line."""
    began = time.perf_counter()
    opened: set[str] = set()

    def hook(event: str, values: tuple[object, ...]) -> None:
        if event == "open" and str(values[0]).startswith(features) and str(values[0]).endswith(".h5"):
            opened.add(str(values[0]))

    sys.addaudithook(hook)
    from flows.cli.main import main

    sys.argv = ["dsanet", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    read = sum(Path(path).stat().st_size for path in opened)
    print(json.dumps(Measured(seconds, peak_kib / 1024, read)))


def command(workspace: "Workspace", *arguments: str) -> Measured:
    """What a command over the workspace took, in a new process."""
    call = [sys.executable, __file__, "--child", str(workspace.features)]
    done = subprocess.run(
        [*call, *arguments, "--out", str(workspace.root)], stdout=subprocess.PIPE, text=True, check=True
    )
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def show(name: str, one: Measured, workspace: "Workspace", against: Measured | None = None) -> None:
    share = one.feature_bytes / sum(path.stat().st_size for path in workspace.features.glob("*.h5"))
    ratio = f"   {against.seconds / one.seconds:5.1f}×" if against else ""
    print(
        f"  {name:<36} {one.seconds:7.1f} s   peak {one.mib:5.0f} MiB   "
        f"{100 * share:6.2f} % of the features read{ratio}"
    )


def measure(folder: Path, videos: int, rounds: int) -> None:
    began = time.perf_counter()
    workspace = make_workspace(folder, videos)
    print(f"{videos} videos, made in {time.perf_counter() - began:.0f} s (not measured)", flush=True)
    first = command(workspace, "run")
    print(f"  first run, not measured {first.seconds:.0f} s", flush=True)
    again, without_index = [], []
    for _ in range(rounds):
        again.append(command(workspace, "run"))
        (workspace.features / ".index.sqlite").unlink()
        without_index.append(command(workspace, "run"))
    alternative = min(without_index)
    show("nothing changed, every file read", alternative, workspace)
    show("nothing changed", min(again), workspace, alternative)
    added = command(workspace, "extract", "--manifest", str(folder / "one-more.csv"))
    show("one video added, extraction", added, workspace, alternative)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="working folder; default: a temporary folder")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="rerun-"))
    try:
        measure(folder, options.videos, options.rounds)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        main()
