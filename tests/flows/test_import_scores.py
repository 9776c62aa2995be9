"""`dsanet import-scores` and `dsanet leaderboard`: scores without a detector, evaluated and compared."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate.annotations import Segment, write_annotations
from evaluate.foreign_scores.lengths import Every
from evaluate.foreign_scores.rules import ImportRules
from evaluate.metrics.paired_difference import whole_figures
from evaluate.report.compare import compare_runs
from evaluate.report.metrics_file import read_metrics
from evaluate.scores import read_scores, score_path
from extract.errors import InputError, MissingFileError
from extract.manifest import VideoRecord, write_manifest
from flows.pipeline.import_scores import import_scores
from flows.pipeline.stages import EVALUATE
from flows.pipeline.stages.evaluate import read_truths
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace
from tests.flows.commands import Dsanet
from tests.flows.tiny import N_FRAMES

FRAMES = {"riot": 40, "fire": 48, "calm": 32}
"""Test videos; frames 16 to 31 of `riot` and 0 to 15 of `fire` are anomalous."""
SCORES = {"riot": [0.1, 0.9, 0.2], "fire": [0.8, 0.3, 0.3], "calm": [0.3, 0.1]}
"""A score a snippet. Of the 32 anomalous frames all are above the 88 normal ones: AUC 1."""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest with the columns frames and fps, and annotations; no video exists."""
    path = tmp_path / "videos.csv"
    labels = {"riot": "riot", "fire": "fire", "calm": "normal"}
    rows = [f"{name}.mp4,{labels[name]},test,{FRAMES[name]},25" for name in FRAMES]
    path.write_text("\n".join(["path,labels,split,frames,fps", *rows, "other.mp4,fire,train,,"]) + "\n")
    segments = {"riot.mp4": [Segment("riot", 16, 32)], "fire.mp4": [Segment("fire", 0, 16)]}
    write_annotations(
        path.with_suffix(".annotations.csv"), {tmp_path / name: found for name, found in segments.items()}
    )
    return path


def frames_of(name: str) -> list[float]:
    return np.repeat(SCORES[name], 16)[: FRAMES[name]].tolist()


def written(folder: Path, **arrays: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", np.array(values))
    return folder


def evaluated(out: Path) -> dict[str, Any]:
    """The metrics of a workspace, by the stage without its cache."""
    EVALUATE.work(Run.load(out))
    return read_metrics(out / "report" / "metrics.json")


def snippets(folder: Path) -> tuple[Path, ImportRules]:
    return written(folder / "method", **SCORES), ImportRules(Every(16))


def one_array_of_frames(folder: Path) -> tuple[Path, ImportRules]:
    np.save(folder / "method.npy", np.concatenate([frames_of(name) for name in FRAMES]))
    return folder / "method.npy", ImportRules(Every(1))


def one_array_of_snippets(folder: Path) -> tuple[Path, ImportRules]:
    np.save(folder / "method.npy", np.concatenate(list(SCORES.values())))
    return folder / "method.npy", ImportRules(Every(16))


def one_csv(folder: Path) -> tuple[Path, ImportRules]:
    rows = [f"{name},{score}" for name in reversed(FRAMES) for score in frames_of(name)]
    (folder / "method.csv").write_text("\n".join(["video,score", *rows]))
    return folder / "method.csv", ImportRules(Every(1))


def one_json(folder: Path) -> tuple[Path, ImportRules]:
    (folder / "method.json").write_text(json.dumps({f"{name}.mp4": SCORES[name] for name in SCORES}))
    return folder / "method.json", ImportRules(Every(16))


def intervals_in_seconds(folder: Path) -> tuple[Path, ImportRules]:
    records = [
        {"video": name, "start_s": 16 * i / 25, "end_s": min(16 * i + 16, FRAMES[name]) / 25, "score": score}
        for name in SCORES
        for i, score in enumerate(SCORES[name])
    ]
    (folder / "method.json").write_text(json.dumps(records))
    return folder / "method.json", ImportRules(Every(1))


FORMS = (
    snippets, one_array_of_frames, one_array_of_snippets, one_csv, one_json, intervals_in_seconds
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_same_figures(
    form: Callable[[Path], tuple[Path, ImportRules]], manifest: Path, tmp_path: Path
) -> None:
    scores, rules = form(tmp_path)
    result = import_scores(scores, manifest, tmp_path / "ws", rules)
    assert (result.videos, result.missing, result.unknown) == (3, (), ())
    metrics = evaluated(tmp_path / "ws")
    assert metrics["title"] == "method"
    assert metrics["counts"]["frames"] == 120
    assert (metrics["auc"], metrics["ap"], metrics["anomaly_auc"], metrics["far"]) == (1, 1, 1, 0)
    assert metrics["video"]["auc"] == 1
    assert metrics["map"] is None
    assert metrics["notes"] == list(result.notes)
    assert metrics["notes"][0] == f"imported scores: {scores.name}"
    stretched = any("interpolated" in note for note in metrics["notes"])
    assert stretched == (rules.every.frames > 1 or form is intervals_in_seconds)
    assert metrics["config"]["imported"]["source"] == scores.name
    assert "model" not in metrics["config"]
    assert set(metrics["digests"]) == {"scores", "truth", "annotations"}


def test_an_imported_workspace_holds_no_more_than_scores(manifest: Path, tmp_path: Path) -> None:
    scores, rules = snippets(tmp_path)
    import_scores(scores, manifest, tmp_path / "ws", rules, title="My <method>")
    evaluated(tmp_path / "ws")
    assert {path.name for path in (tmp_path / "ws").iterdir()} == {
        ".lock", "workspace.json", "scores", "report"
    }  # fmt: skip
    page = (tmp_path / "ws" / "report" / "index.html").read_text()
    assert "My &lt;method&gt;" in page
    assert "interpolated: every score stands for 16 frames" in page


def test_figures_by_hand_where_the_scores_are_wrong(manifest: Path, tmp_path: Path) -> None:
    scores = written(tmp_path / "m", riot=[0.1, 0.4, 0.2], fire=[0.8, 0.3, 0.3], calm=[0.6, 0.1])
    import_scores(scores, manifest, tmp_path / "ws", ImportRules(Every(16)))
    metrics = evaluated(tmp_path / "ws")
    # 16 of the 32 anomalous frames (0.4) are below the 16 frames of 0.6, above the other 72 normal ones.
    assert metrics["auc"] == pytest.approx((16 * 88 + 16 * 72) / (32 * 88))
    assert metrics["ap"] == pytest.approx(0.5 * 1 + 0.5 * 32 / 48)
    assert metrics["anomaly_auc"] == 1
    assert metrics["far"] == pytest.approx(16 / 88)


def test_class_scores_give_map_and_accuracy(manifest: Path, tmp_path: Path) -> None:
    def rows(name: str, column: int) -> list[list[float]]:
        return [[1 - s, *(s if c == column else 0.0 for c in (1, 2))] for s in SCORES[name]]

    arrays = {"riot": rows("riot", 2), "fire": rows("fire", 1), "calm": rows("calm", 1)}
    rules = ImportRules(Every(16), classes=("normal", "fire", "riot"))
    import_scores(written(tmp_path / "m", **arrays), manifest, tmp_path / "ws", rules)
    metrics = evaluated(tmp_path / "ws")
    assert metrics["auc"] == 1
    assert metrics["map"]["corrected"]["average"] == 100
    assert metrics["video"]["accuracy"] == 1
    assert metrics["video"]["anomaly_accuracy"] == 1


def test_segments_are_interpolated_and_the_report_says_so(manifest: Path, tmp_path: Path) -> None:
    scores = written(tmp_path / "m", riot=[0.1, 0.9], fire=[0.8, 0.2], calm=[0.3, 0.1])
    result = import_scores(scores, manifest, tmp_path / "ws", ImportRules(Every(segments=2)))
    assert (
        result.notes[1]
        == "interpolated: 2 scores a video, each of them for one of 2 equal parts of its frames"
    )
    found = read_scores(score_path(tmp_path / "ws" / "scores", "riot"))
    assert (found.snippet_length, found.n_frames, found.fps) == (1, 40, 25)
    assert found.anomaly_T == pytest.approx(np.repeat([0.1, 0.9], 20))
    # Anomalous: frames 16 to 31 of riot (4 of 0.1, 12 of 0.9) and 0 to 15 of fire (0.8).
    normal = [0.1] * 16 + [0.9] * 8 + [0.8] * 8 + [0.2] * 24 + [0.3] * 16 + [0.1] * 16
    anomalous = [0.1] * 4 + [0.9] * 12 + [0.8] * 16
    pairs = [(a > n) + 0.5 * (a == n) for a in anomalous for n in normal]
    assert evaluated(tmp_path / "ws")["auc"] == pytest.approx(np.mean(pairs))


def test_a_published_list_with_official_annotations_becomes_a_manifest(tmp_path: Path) -> None:
    """Paths of another machine, crops, class names of UCF-Crime, no split; scores of whole snippets."""
    (tmp_path / "test.csv").write_text(
        "path,label,frames\n"
        "/home/x/UCF/Arson/Arson011_x264__5.npy,Arson,1266\n"
        "/home/x/UCF/Normal/Normal_Videos_003_x264__5.npy,Normal,2820\n"
    )
    (tmp_path / "Temporal_Anomaly_Annotation.txt").write_text(
        "Arson011_x264.mp4  Arson  150  420  680  1267\nNormal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1\n"
    )
    lengths = (1264, 2816)  # whole snippets; the last annotation ends 3 frames later
    truth = np.zeros(sum(lengths))
    truth[150:420] = truth[680:1264] = 1
    np.save(tmp_path / "perfect.npy", truth)
    given = (tmp_path / "perfect.npy", tmp_path / "test.csv", tmp_path / "ws")
    annotations = tmp_path / "Temporal_Anomaly_Annotation.txt"
    with pytest.raises(
        InputError, match=r"4,080 scores, .* 4,086 frames: 4,086 scores .*allow that with --cut"
    ):
        import_scores(*given, ImportRules(Every(1)), annotations=annotations)
    assert not (tmp_path / "ws").exists()
    result = import_scores(*given, ImportRules(Every(1), cut=True), annotations=annotations)
    assert result.notes[1].startswith(
        "the ends of 2 video(s), up to 4 frames, are left out (--cut): Arson011_x264"
    )
    metrics = evaluated(tmp_path / "ws")
    assert (metrics["auc"], metrics["ap"], metrics["counts"]["frames"]) == (1, 1, 4080)
    assert [video["labels"] for video in metrics["videos"]] == [["arson"], ["normal"]]


def test_lengths_come_from_videos_and_arrays_if_the_manifest_has_none(footage: Path, tmp_path: Path) -> None:
    clips = sorted(path.stem for path in footage.parent.glob("test-*.mp4"))
    scores = written(tmp_path / "m", **{name: np.linspace(0, 1, N_FRAMES) for name in clips})
    result = import_scores(scores, footage, tmp_path / "ws", ImportRules(Every(1)))
    assert result.notes == ("imported scores: m",)  # nothing is assumed
    assert read_scores(score_path(tmp_path / "ws" / "scores", clips[0])).fps == 30
    assert 0 < evaluated(tmp_path / "ws")["auc"] < 1
    shorter = written(tmp_path / "m", **{clips[0]: np.zeros(N_FRAMES + 1)})
    with pytest.raises(InputError, match=f"{clips[0]}: {N_FRAMES + 1} scores, .* has {N_FRAMES} frames"):
        import_scores(shorter, footage, tmp_path / "ws", ImportRules(Every(1)))

    np.save(tmp_path / "features.npy", np.zeros((3, 512), np.float16))
    write_manifest(
        tmp_path / "arrays.csv", [VideoRecord("a", tmp_path / "features.npy", ("normal",), "test")]
    )
    single = written(tmp_path / "single", a=np.zeros(3))
    import_scores(single, tmp_path / "arrays.csv", tmp_path / "ws2", ImportRules(Every(16)))
    with pytest.raises(InputError, match="4 scores, a score for 16 frames, but the video has 48 frames"):
        import_scores(
            written(single, a=np.zeros(4)), tmp_path / "arrays.csv", tmp_path / "ws2", ImportRules(Every(16))
        )


def test_without_any_length_the_scores_tell_it(manifest: Path, tmp_path: Path) -> None:
    manifest.write_text(re.sub(r",\d+,25", ",,", manifest.read_text()))
    scores, rules = snippets(tmp_path)
    result = import_scores(scores, manifest, tmp_path / "ws", rules)
    assert result.notes[2:] == (
        "the number of frames of 3 video(s) is that of their scores, nothing else tells it",
        "no frame rate known of 3 video(s): 30 a second assumed for times",
    )
    assert evaluated(tmp_path / "ws")["counts"]["frames"] == 8 * 16
    joined, rules = one_array_of_snippets(tmp_path)
    with pytest.raises(InputError, match=r"number of frames of riot, fire, calm is not known; give a column"):
        import_scores(joined, manifest, tmp_path / "ws", rules)


def test_missing_videos_are_an_error_or_left_out(manifest: Path, tmp_path: Path) -> None:
    scores, rules = snippets(tmp_path)
    (scores / "calm.npy").rename(scores / "clam.npy")
    with pytest.raises(InputError, match=r"no scores of 1 of the 3 test videos: calm \(nearest: clam\)"):
        import_scores(scores, manifest, tmp_path / "ws", rules)
    skipping = ImportRules(Every(16), skip_missing=True)
    result = import_scores(scores, manifest, tmp_path / "ws", skipping)
    assert (result.videos, result.missing, result.unknown) == (2, ("calm",), ("clam",))
    metrics = evaluated(tmp_path / "ws")
    assert (metrics["left_out"], metrics["counts"]["scored"]) == (["calm"], 2)
    (scores / "clam.npy").rename(scores / "calm.npy")
    import_scores(scores, manifest, tmp_path / "ws", rules)
    assert evaluated(tmp_path / "ws")["left_out"] == []


def test_a_second_import_replaces_the_first(manifest: Path, tmp_path: Path) -> None:
    scores, rules = snippets(tmp_path)
    import_scores(scores, manifest, tmp_path / "ws", rules)
    first = score_path(tmp_path / "ws" / "scores", "calm").read_bytes()
    (scores / "calm.npy").unlink()
    import_scores(scores, manifest, tmp_path / "ws", ImportRules(Every(16), skip_missing=True))
    assert not score_path(tmp_path / "ws" / "scores", "calm").exists()
    import_scores(written(scores, **SCORES), manifest, tmp_path / "ws", rules)
    assert score_path(tmp_path / "ws" / "scores", "calm").read_bytes() == first


def test_the_scores_of_a_detector_are_not_replaced(manifest: Path, tmp_path: Path) -> None:
    scores, rules = snippets(tmp_path)
    import_scores(scores, manifest, tmp_path / "ws", rules)
    (tmp_path / "ws" / "model").mkdir()
    (tmp_path / "ws" / "model" / "model.json").write_text("{}")
    with pytest.raises(InputError, match="has a model or scores of its own; give another folder to --out"):
        import_scores(scores, manifest, tmp_path / "ws", rules)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("riot,test,40", "flood,test,40"),
            "riot is annotated with|has the label 'riot', which is not one of",
        ),
        (("test,40", "test,20"), "riot: 3 scores, a score for 16 frames, but the video has 20 frames"),
        (("test,40", "test,4.5"), "line 2: 4.5 frames, expected a whole number"),
        (("test,40,25", "test,40,-1"), "line 2: fps is '-1', expected a positive number"),
        (("test,40", "test,many"), "line 2: frames is 'many', expected a positive number"),
        (("riot,test", "riot,train"), r"test video|not used"),
        ((",test,", ",train,"), "no video of split `test`"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(
    change: tuple[str, str], message: str, manifest: Path, tmp_path: Path
) -> None:
    scores, _ = snippets(tmp_path)
    rules = ImportRules(Every(16), classes=("normal", "fire", "flood"))
    manifest.write_text(manifest.read_text().replace(*change))
    if change == ("riot,test", "riot,train"):
        assert import_scores(scores, manifest, tmp_path / "ws", rules).videos == 2
        return
    with pytest.raises(InputError, match=message):
        import_scores(scores, manifest, tmp_path / "ws", rules)
    assert not (tmp_path / "ws" / "workspace.json").exists()


def test_names_that_are_not_utf_8_are_shown_with_escapes(manifest: Path, tmp_path: Path) -> None:
    try:
        scores = written(tmp_path / os.fsdecode(b"caf\xe9"), **SCORES)
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    result = import_scores(scores, manifest, tmp_path / "ws", ImportRules(Every(16)))
    assert result.notes[0] == r"imported scores: caf\xe9"
    assert Workspace(tmp_path / "ws").read_inputs().title == r"caf\xe9"


def test_missing_files_are_named(manifest: Path, tmp_path: Path) -> None:
    scores, rules = snippets(tmp_path)
    with pytest.raises(MissingFileError, match="no manifest at"):
        import_scores(scores, tmp_path / "none.csv", tmp_path / "ws", rules)
    with pytest.raises(MissingFileError, match="no annotations at"):
        import_scores(scores, manifest, tmp_path / "ws", rules, annotations=tmp_path / "none.csv")
    with pytest.raises(MissingFileError, match="no scores at"):
        import_scores(tmp_path / "none", manifest, tmp_path / "ws", rules)


def test_the_cache_key_of_the_evaluation_follows_the_imported_scores(manifest: Path, tmp_path: Path) -> None:
    scores, rules = snippets(tmp_path)
    import_scores(scores, manifest, tmp_path / "ws", rules)
    key = EVALUATE.cache_key(Run.load(tmp_path / "ws"))
    assert EVALUATE.output_digest(Run.load(tmp_path / "ws")) is None
    evaluated(tmp_path / "ws")
    assert EVALUATE.output_digest(Run.load(tmp_path / "ws"))
    import_scores(scores, manifest, tmp_path / "ws", rules)
    assert EVALUATE.cache_key(Run.load(tmp_path / "ws")) == key
    import_scores(written(scores, calm=[0.3, 0.2]), manifest, tmp_path / "ws", rules)
    assert EVALUATE.cache_key(Run.load(tmp_path / "ws")) != key


def test_the_commands_from_import_to_comparison(manifest: Path, tmp_path: Path, dsanet: Dsanet) -> None:
    good, bad = (
        written(tmp_path / "good", **SCORES),
        written(tmp_path / "bad", riot=[0.1, 0.4, 0.2], fire=[0.8, 0.3, 0.3], calm=[0.6, 0.1]),
    )
    for folder in (good, bad):
        out = tmp_path / f"ws-{folder.name}"
        code, shown, error = dsanet(
            "import-scores", folder, "--manifest", manifest, "--out", out, "--every", "snippet"
        )
        assert (code, error) == (0, "")
        assert f"3 videos imported; next: dsanet evaluate --out {out}" in shown
        evaluated(out)
    workspaces = [tmp_path / "ws-good", tmp_path / "ws-bad"]
    compare_runs(workspaces, tmp_path / "comparison.html")
    code, shown, error = dsanet("leaderboard", *workspaces, "--out", tmp_path / "board.html")
    assert (code, error) == (0, "")
    assert "difference from good" in shown
    (first, second) = csv.DictReader((tmp_path / "board.csv").read_text().splitlines())
    assert (first["name"], second["name"], first["auc_difference"]) == ("good", "bad", "")
    assert float(second["auc_difference"]) == pytest.approx(100 * ((16 * 88 + 16 * 72) / (32 * 88) - 1))
    assert second["anomaly_auc_includes_zero"] == "True"
    assert "imported scores: good" in (tmp_path / "board.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--every", "sometimes"), "--every is 'sometimes'; expected frame, snippet (16 frames)"),
        (("--classes", "fire,riot"), "`normal` among them"),
        (("--class-scores", "none"), "no scores at none"),
    ],
)
def test_invalid_options_end_with_one_line(
    arguments: tuple[str, ...], message: str, manifest: Path, tmp_path: Path, dsanet: Dsanet
) -> None:
    scores, _ = snippets(tmp_path)
    given = ("import-scores", scores, "--manifest", manifest, "--out", tmp_path / "ws", "--every", "snippet")
    code, _, error = dsanet(*given, *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_ordinary_workspaces_are_not_taken_for_imported_ones(tmp_path: Path) -> None:
    from flows.workspace.imported_scores import import_record
    from tests.evaluate.videos import small_test_set, write_run

    truths = write_run(tmp_path / "scores", small_test_set())
    names = [truth.name for truth in truths]
    workspace = Workspace(tmp_path)
    assert import_record(workspace, names) is None
    assert import_record(workspace, ["nobody"]) is None
    shutil.copy(tmp_path / "scores" / "riot.h5", tmp_path / "scores" / "damaged.h5")
    (tmp_path / "scores" / "damaged.h5").write_bytes(b"no HDF5")
    assert import_record(workspace, ["damaged"]) is None


def test_the_published_list_of_ucf_crime_with_perfect_scores_in_one_array(
    shared: Path, tmp_path: Path
) -> None:
    data = shared / "data" / "ucf-crime"
    counts = [line.split() for line in (data / "test-frame-counts.tsv").read_text().splitlines()]
    by_name = {row[0].removesuffix(".mp4"): row for row in counts}
    with (data / "ucf_CLIP_rgbtest.csv").open() as file:
        listed = list(csv.DictReader(file))
    names = [row["path"].rpartition("/")[2].removesuffix("__5.npy") for row in listed]
    rows = [
        f"{row['path']},{row['label']},{by_name[name][6]},30" for row, name in zip(listed, names, strict=True)
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,frames,fps", *rows]))
    truth = []
    for name in names:
        frames_F = np.zeros(int(by_name[name][6]), dtype=np.uint8)
        for start, end in (by_name[name][2:4], by_name[name][4:6]):
            if start != "-1":
                frames_F[int(start) : int(end)] = 1
        truth.append(frames_F)
    np.save(tmp_path / "perfect.npy", np.concatenate(truth))
    given = (tmp_path / "list.csv", tmp_path / "ws", ImportRules(Every(1)))
    annotations = data / "Temporal_Anomaly_Annotation.txt"
    import_scores(tmp_path / "perfect.npy", *given, annotations=annotations)
    truths = read_truths(Run.load(tmp_path / "ws"))
    whole = whole_figures(tmp_path / "ws" / "scores", truths, ("auc", "ap", "anomaly_auc", "far"))
    assert whole == {"auc": 1, "ap": 1, "anomaly_auc": 1, "far": 0}
    np.save(tmp_path / "published.npy", np.load(data / "gt-ucf-frames.npz")["labels"])  # for I3D features
    with pytest.raises(
        InputError, match="1,109,680 scores, a score a frame, but the 290 videos have 1,111,808"
    ):
        import_scores(tmp_path / "published.npy", *given, annotations=annotations)


def test_both_official_files_of_xd_violence_in_a_folder_are_used(tmp_path: Path) -> None:
    name = "v=x__#1_label_B1-G-0"
    (tmp_path / "test.csv").write_text(
        f"path,label\n/home/x/{name}__0.npy,B1-G-0\n/home/x/y_label_A__0.npy,A\n"
    )
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "annotations.txt").write_text(f"{name}.mp4 0 32\n")
    (lists / "annotations_multiclasses.txt").write_text(f"{name} B1 0 16 G 16 24\n")
    scores = written(tmp_path / "m", **{name: [0.9, 0.8, 0.1], "y_label_A": [0.2]})
    given = (scores, tmp_path / "test.csv", tmp_path / "ws", ImportRules(Every(16)))
    import_scores(*given, annotations=lists)
    (first, _) = read_truths(Run.load(tmp_path / "ws"))
    assert first.segments == (Segment("fighting", 0, 16), Segment("explosion", 16, 24))
    assert first.frame_labels(48).nonzero()[0].tolist() == list(range(32))
    assert evaluated(tmp_path / "ws")["auc"] == 1
    (lists / "Temporal_Anomaly_Annotation.txt").write_text("a Arson 1 2 -1 -1\n")
    with pytest.raises(
        InputError, match=r"annotations of ucf-crime and xd-violence; give --annotations one file"
    ):
        import_scores(*given, annotations=lists)
