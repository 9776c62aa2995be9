"""Imported features and annotations in a workspace: both ground truths of XD-Violence, several imports."""

import logging
from pathlib import Path

import numpy as np
import pytest

from evaluate.annotations import read_annotation_file
from evaluate.ground_truth import match_annotations
from extract.errors import MissingFileError
from flows.workspace.datasets import import_official_lists, read_official_annotations
from flows.workspace.feature_import import import_into_workspace, use_imported, workspace_of
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace
from tests.flows.commands import Dsanet

BOTH = "film__#1_label_B4-G-0"
SAME = "v=clip__#1_label_B1-0-0"
NORMAL = "v=calm__#1_label_A"
MULTICLASSES = f"{BOTH} B4 0 20 G 30 60\n{SAME} B1 5 9\n"
FRAMES = f"{BOTH}.mp4 0 60\n{SAME}.mp4 5 9\n"


def xd_lists(folder: Path) -> Path:
    folder.mkdir()
    (folder / "annotations_multiclasses.txt").write_text(MULTICLASSES)
    (folder / "annotations.txt").write_text(FRAMES)
    rows = "".join(
        f"/home/a/XDTest/{name}__0.npy,{name.rpartition('_')[2]}\n" for name in (BOTH, SAME, NORMAL)
    )
    (folder / "xd_CLIP_rgbtest.csv").write_text(f"path,label\n{rows}")
    (folder / "xd_CLIP_rgb.csv").write_text("path,label\nx/other_label_A__0.npy,A\n")
    return folder


def test_each_figure_of_xd_violence_has_the_ground_truth_it_was_published_with(tmp_path: Path) -> None:
    lists, videos = xd_lists(tmp_path / "lists"), tmp_path / "videos"
    videos.mkdir()
    for name in (BOTH, SAME, NORMAL):
        (videos / f"{name}.mp4").write_bytes(b"video")
    manifest = tmp_path / "xd.csv"
    records = import_official_lists("xd-violence", lists, videos, manifest).records
    file = read_annotation_file(tmp_path / "xd.annotations.csv")
    truths = {truth.name: truth for truth in match_annotations(records, file).truths}
    assert truths[BOTH].segments == (("riot", 0, 20), ("explosion", 30, 60))
    assert truths[BOTH].frames == (("riot", 0, 60),)
    assert truths[BOTH].frame_labels(48).all()
    assert truths[SAME].frames is None  # both files cover the same frames
    assert truths[NORMAL].segments == ()


@pytest.mark.parametrize(
    ("removed", "note", "segments", "frames"),
    [
        ("annotations.txt", "AUC and AP are those of annotations_multiclasses.txt", 2, 0),
        ("annotations_multiclasses.txt", "annotations.txt has no classes: there is no mAP", 0, 2),
    ],
)
def test_one_of_the_two_files_will_do(
    removed: str, note: str, segments: int, frames: int, tmp_path: Path
) -> None:
    lists = xd_lists(tmp_path / "lists")
    (lists / removed).unlink()
    annotations, said = read_official_annotations("xd-violence", lists)
    assert note in said
    assert (len(annotations.segments), len(annotations.frames)) == (segments, frames)
    for path in lists.glob("*.txt"):
        path.unlink()
    with pytest.raises(MissingFileError, match=r"expected annotations_multiclasses\.txt or annotations\.txt"):
        read_official_annotations("xd-violence", lists)


def save_arrays(folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        np.save(folder / f"{name}.npy", np.ones((3, 512), np.float16))
    return folder


def test_imports_one_after_the_other_make_one_workspace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = save_arrays(tmp_path / "arrays", ("a", "b", "n"))
    for name, rows in (("one", "a,Fire"), ("onetest", "b,Fire"), ("two_test", "n,Normal")):
        stem, label = rows.split(",")
        (tmp_path / f"{name}.csv").write_text(f"path,label\n/x/{stem}.npy, {label}\n")
    (tmp_path / "truth.json").write_text('{"b": [[2, 90]]}')
    workspace = workspace_of(tmp_path / "ws" / "features")
    assert workspace.root == tmp_path / "ws"
    with caplog.at_level(logging.WARNING):
        for name, truth in (("one", None), ("onetest", tmp_path / "truth.json"), ("two_test", None)):
            imported = import_into_workspace(workspace, arrays, [tmp_path / f"{name}.csv"], truth)
            use_imported(workspace, imported, "small", title="arrays")
    assert "1 videos are annotated beyond their end, which is cut: b (to frame 90 of 48)" in caplog.text
    run = Run.load(tmp_path / "ws")
    assert [(record.name, record.split) for record in run.records] == [
        ("a", "train"),
        ("b", "test"),
        ("n", "test"),
    ]
    assert run.inputs.annotations == workspace.features / "manifest.annotations.csv"
    file = read_annotation_file(run.inputs.annotations)
    (truth,) = match_annotations([record for record in run.records if record.name == "b"], file).truths
    assert truth.segments == (("fire", 2, 90),)
    assert truth.frame_labels(48).tolist() == [False] * 2 + [True] * 46
    assert run.config.preset == "small"
    run.check_sources()  # the videos need not exist


def test_another_manifest_of_the_workspace_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arrays = save_arrays(tmp_path / "arrays", ("a",))
    (tmp_path / "l.csv").write_text("path,label\na.npy,Fire\n")
    (tmp_path / "own.csv").write_text("path,labels,split\na.npy,fire,test\n")
    workspace = Workspace(tmp_path / "ws")
    imported = import_into_workspace(workspace, arrays, [tmp_path / "l.csv"])
    use_imported(workspace, imported)
    inputs = workspace.read_inputs()
    workspace.write_inputs(inputs.model_copy(update={"manifest": tmp_path / "own.csv"}))
    use_imported(workspace, imported)
    assert workspace.read_inputs().manifest == tmp_path / "own.csv"
    assert "keeps its manifest" in caplog.text


def test_annotations_of_other_formats_are_written_beside_a_manifest(tmp_path: Path, dsanet: Dsanet) -> None:
    manifest, masks = tmp_path / "videos.csv", tmp_path / "masks"
    manifest.write_text(
        "path,labels,split,frames\na.mp4,fire,test,6\nb.mp4,fire|riot,test,4\nt.mp4,fire,train,9\n"
    )
    masks.mkdir()
    np.save(masks / "a.npy", np.array([0, 1, 1, 0, 0, 1]))
    np.save(masks / "b.npy", np.array([1, 1, 0, 0]))
    code, out, err = dsanet("import-annotations", masks, "--manifest", manifest)
    assert (code, out) == (0, f"2 videos annotated; {tmp_path / 'videos.annotations.csv'}\n"), err
    written = (tmp_path / "videos.annotations.csv").read_text().splitlines()
    assert written[1:] == ["a.mp4,fire,1,3,", "a.mp4,fire,5,6,", "b.mp4,fire,0,2,frames"]
    np.save(masks / "b.npy", np.array([1, 1, 0]))
    code, _, err = dsanet("import-annotations", masks, "--manifest", manifest)
    assert code == 2
    assert "b.npy has 3 labels, but b have 4 frames" in err
