"""Overhead of the orchestration: the whole flow over many unchanged videos, with and without Prefect.

    python tests/benchmarks/flows_overhead.py [--videos 200 2000 --folder DIR]

The videos are tiny real clips with distinct bytes but few distinct pictures. Only the distinct pictures are
encoded; the feature files of their copies are written by the feature store. The flow first runs once, not
measured, against a private Prefect server. Then the flow and the plain functions that compute cache keys and
output digests run again, each in a new process. Times are the fastest of three, without the start of Python;
memory is the peak of the process.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evaluate.annotations import Segment, write_annotations
from extract.engine import extract_videos
from extract.manifest import VideoRecord, write_manifest
from extract.source import file_digest
from extract.store import FeatureMeta, VideoFeatures, feature_path, read_features, write_features
from flows.workspace.config import override, preset_config
from flows.workspace.inputs import configure_workspace
from flows.workspace.workspace import Workspace
from tests.flows.tiny import SETTINGS, TinyClip, write_tiny_clip
from tests.prefect_server import running_server

ROUNDS = 3
PICTURES = 8
TEST_SHARE = 0.15


def make_pictures(folder: Path) -> tuple[list[TinyClip], list[VideoFeatures]]:
    """Clips with distinct pictures, and their features."""
    folder.mkdir(parents=True)
    clips = [write_tiny_clip(folder / f"picture-{i}.mp4", i, burns=i % 2 == 1) for i in range(PICTURES)]
    records = [VideoRecord(clip.path.stem, clip.path, (clip.label,), "train") for clip in clips]
    config = override(preset_config("small"), [*SETTINGS, "extract.weights=random"])
    extract_videos(records, folder / "features", config.extract, config.runtime)
    return clips, [read_features(feature_path(folder / "features", record.name)) for record in records]


def make_workspace(folder: Path, videos: int) -> Path:
    """A workspace with `videos` clips and their features. A numbered `free` box makes each clip distinct."""
    clips, features = make_pictures(folder / "pictures")
    workspace = Workspace(folder / "ws")
    workspace.features.mkdir(parents=True)
    (folder / "footage").mkdir()
    records, truth = [], {}
    for number in range(videos):
        clip, made = clips[number % PICTURES], features[number % PICTURES]
        path = folder / "footage" / f"v{number:05}.mp4"
        path.write_bytes(clip.path.read_bytes() + free_box(f"{number:08}".encode()))
        write_features(feature_path(workspace.features, path.stem), copied(made, path))
        split = "test" if number < videos * TEST_SHARE else "train"
        records.append(VideoRecord(path.stem, path, (clip.label,), split))
        if clip.event and split == "test":
            truth[path] = [Segment(clip.label, *clip.event)]
    write_manifest(folder / "manifest.csv", records)
    write_annotations(folder / "manifest.annotations.csv", truth)
    configure_workspace(
        workspace.root, folder / "manifest.csv", preset="small", weights="random", settings=SETTINGS
    )
    return workspace.root


def copied(made: VideoFeatures, path: Path) -> VideoFeatures:
    """The same features, with the clip at `path` as their source."""
    status, values = path.stat(), made.meta.model_dump()
    of_file = {"file_name": path.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    values["source"] |= of_file | {"sha256": file_digest(path)}
    return replace(made, name=path.stem, meta=FeatureMeta.model_validate(values))


def free_box(content: bytes) -> bytes:
    """An ISO base media `free` box (ISO/IEC 14496-12, 8.1.2)."""
    return (8 + len(content)).to_bytes(4, "big") + b"free" + content


def run_flow(workspace: Path) -> None:
    from flows.pipeline.prefect_flows import extract_train_eval

    extract_train_eval(workspace)


def run_plain(workspace: Path) -> None:
    """Compute the cache key and the output digest of each stage, without Prefect."""
    from flows.pipeline.stages import STAGES
    from flows.workspace.run import Run

    run = Run.load(workspace)
    run.check()
    for stage in STAGES:
        stage.cache_key(run)
        stage.output_digest(run)


WORK: dict[str, Callable[[Path], None]] = {"flow": run_flow, "plain": run_plain}


def child(kind: str, workspace: Path) -> None:
    """Run WORK[kind] once; print seconds and MiB as JSON."""
    import flows.pipeline.prefect_flows  # noqa: F401 - imported before the clock starts

    began = time.perf_counter()
    WORK[kind](workspace)
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def in_child(kind: str, workspace: Path, api: str) -> tuple[float, float]:
    """Seconds and MiB of one run in a new process."""
    command = [sys.executable, __file__, "--child", kind, str(workspace)]
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def task_runs(api: str) -> int:
    """Number of task runs on the server."""
    request = urllib.request.Request(f"{api}/task_runs/count", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return int(answer.read())


def measure(videos: int, folder: Path, api: str) -> None:
    workspace = make_workspace(folder / f"{videos}-videos", videos)
    began = time.perf_counter()
    in_child("flow", workspace, api)
    print(f"{videos} videos, first run {time.perf_counter() - began:.0f} s (not measured)")
    tasks = task_runs(api)
    flow = [in_child("flow", workspace, api) for _ in range(ROUNDS)]
    tasks = (task_runs(api) - tasks) // ROUNDS
    plain = [in_child("plain", workspace, api) for _ in range(ROUNDS)]
    (flow_s, flow_mib), (plain_s, plain_mib) = min(flow), min(plain)
    print(f"  the flow, nothing changed  {flow_s:6.2f} s   peak {flow_mib:5.0f} MiB   {tasks} task runs")
    print(f"  the plain functions        {plain_s:6.2f} s   peak {plain_mib:5.0f} MiB")
    print(f"  overhead                   {flow_s - plain_s:6.2f} s   ratio {flow_s / plain_s:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--folder", type=Path, help="working folder; default: a temporary folder")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="overhead-"))
    try:
        home = folder / "prefect"
        private = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        os.environ.update(private, PREFECT_HOME=str(home))
        with running_server(home) as api:
            for videos in options.videos:
                measure(videos, folder, api)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
