"""Synthetic footage: H.264 files with events in the annotated spans, reproducible to the byte."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from evaluate.annotations import read_annotations
from extract.manifest import read_manifest
from flows.demo.footage import EVENTS, ClipPlan, make_footage, plan_clips, render, write_clip


def test_manifest_and_annotations_describe_the_clips(tmp_path: Path) -> None:
    manifest, annotations = make_footage(tmp_path, seed=3, normal=2, per_event=1)
    records = read_manifest(manifest)
    assert {record.split for record in records} == {"train", "val", "test"}
    assert {label for record in records for label in record.labels} == {"normal", *EVENTS}
    truth = read_annotations(annotations)
    anomalous_tests = [r for r in records if r.split == "test" and r.labels != ("normal",)]
    assert {record.path.resolve() for record in anomalous_tests} == set(truth)
    for record in anomalous_tests:
        (segment,) = truth[record.path.resolve()]
        with av.open(str(record.path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.codec_context.name) == (320, 240, "h264")
            assert 0 < segment.start_frame < segment.end_frame < stream.frames


def test_existing_clips_are_kept(tmp_path: Path) -> None:
    manifest, _ = make_footage(tmp_path, seed=3, normal=1, per_event=1)
    before = {r.path: r.path.stat().st_mtime_ns for r in read_manifest(manifest)}
    make_footage(tmp_path, seed=3, normal=1, per_event=1)
    assert before == {r.path: r.path.stat().st_mtime_ns for r in read_manifest(manifest)}


def test_a_seed_determines_the_bytes(tmp_path: Path) -> None:
    one, again, other = (plan_clips(seed, 1, 1)[0] for seed in (0, 0, 1))
    assert one == again
    assert one != other
    paths = [tmp_path / f"{i}.mp4" for i in range(3)]
    for path, plan in zip(paths, (one, again, other), strict=True):
        write_clip(path, plan)
    first, second, third = (path.read_bytes() for path in paths)
    assert first == second
    assert first != third


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    plan = plan_clips(0, 1, 1)[0]
    write_clip(tmp_path / "here.mp4", plan)
    script = "import sys; from pathlib import Path; from flows.demo.footage import plan_clips, write_clip; "
    script += "write_clip(Path(sys.argv[1]), plan_clips(0, 1, 1)[0])"
    # glibc fills allocated memory with this byte, which reveals a dependence on uninitialised memory.
    memory = {**os.environ, "MALLOC_PERTURB_": "85"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "there.mp4")], check=True, env=memory)
    assert (tmp_path / "here.mp4").read_bytes() == (tmp_path / "there.mp4").read_bytes()


@pytest.mark.parametrize("label", EVENTS)
def test_the_event_is_drawn_only_in_its_span(label: str) -> None:
    anomalous = ClipPlan("a", "test", label, 30, (10, 20), seed=5)
    normal = ClipPlan("n", "test", "normal", 30, None, seed=5)
    changed = []
    # The event draws from the clip's generator before the noise, so the noise differs slightly.
    for with_event, without in zip(render(anomalous), render(normal), strict=True):
        difference = np.abs(with_event.astype(int) - without.astype(int))
        changed.append(bool((difference > 40).any()))
    assert changed == [10 <= t < 20 for t in range(30)]
