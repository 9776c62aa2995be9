"""All metrics of a run from its files: definitions, videos left out, missing annotations, errors."""

from pathlib import Path

import numpy as np
import pytest

from evaluate.annotations import Segment, VideoTruth, frame_labels
from evaluate.config import EvaluateConfig
from evaluate.evaluation import Evaluation, evaluate_scores
from evaluate.metrics.frames import frame_metrics
from evaluate.metrics.segments import segment_map
from evaluate.predictions import video_score
from evaluate.scores import VideoScores, expand_to_frames, read_scores, score_path, write_scores
from extract.labels import UCF_CRIME_CLASSES
from tests.evaluate.videos import CLASSES, informed_scores, small_test_set, video_scores, write_run

QUICK = EvaluateConfig(bootstrap=50)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, list[VideoTruth], Evaluation]:
    truths = write_run(tmp_path, small_test_set())
    return tmp_path, truths, evaluate_scores(tmp_path, truths, QUICK)


def test_metrics_equal_those_of_the_metric_functions(run: tuple[Path, list[VideoTruth], Evaluation]) -> None:
    scores_dir, truths, evaluation = run
    scores = [read_scores(score_path(scores_dir, truth.name)) for truth in truths]
    values = [expand_to_frames(s.anomaly_T, 16, s.n_frames) for s in scores]
    labels = [frame_labels(t.segments or (), s.n_frames) for t, s in zip(truths, scores, strict=True)]
    assert evaluation.frame == frame_metrics(values, labels)
    segments = [
        t.segments or [Segment("normal", 0, 16 * len(s.anomaly_T))]
        for t, s in zip(truths, scores, strict=True)
    ]
    for protocol, found in evaluation.segments.items():
        assert found == segment_map([s.classes_TC for s in scores], segments, CLASSES, protocol)
    assert evaluation.missing_frames is None
    assert evaluation.classes == CLASSES
    for name in ("auc", "ap", "anomaly_auc", "far"):
        low_high = evaluation.confidence[name]
        assert low_high is not None
        assert low_high.low <= getattr(evaluation.frame, name) <= low_high.high


def test_intervals_depend_on_the_seed(run: tuple[Path, list[VideoTruth], Evaluation]) -> None:
    scores_dir, truths, evaluation = run
    assert evaluate_scores(scores_dir, truths, QUICK).confidence == evaluation.confidence
    other = evaluate_scores(scores_dir, truths, EvaluateConfig(bootstrap=50, seed=1))
    assert other.confidence != evaluation.confidence
    without = evaluate_scores(scores_dir, truths, EvaluateConfig(bootstrap=0))
    assert set(without.confidence.values()) == {None}


def test_class_metrics(run: tuple[Path, list[VideoTruth], Evaluation]) -> None:
    _, _, evaluation = run
    normal, riot, fire = evaluation.per_class
    assert (normal.videos, normal.segments, normal.auc) == (3, None, None)
    assert (riot.videos, riot.segments) == (2, 2)
    assert (fire.videos, fire.segments) == (2, 3)
    assert riot.map_corrected == evaluation.segments["corrected"].per_class["riot"]
    # Recomputed: the riot column against riot frames, over all videos.
    columns, labels = [], []
    for video in evaluation.videos:
        columns.append(expand_to_frames(video.scores.classes_TC[:, 1], 16, video.scores.n_frames))
        own = [segment for segment in video.truth.segments or () if segment.label == "riot"]
        labels.append(frame_labels(own, video.scores.n_frames))
    expected = frame_metrics(columns, labels)
    assert riot.auc == pytest.approx(expected.auc)
    assert riot.ap == pytest.approx(expected.ap)
    own_videos = [index for index, video in enumerate(evaluation.videos) if "riot" in video.truth.labels]
    anomaly = [expand_to_frames(v.scores.anomaly_T, 16, v.scores.n_frames) for v in evaluation.videos]
    truth = [frame_labels(v.truth.segments or (), v.scores.n_frames) for v in evaluation.videos]
    detection = frame_metrics([anomaly[i] for i in own_videos], [truth[i] for i in own_videos])
    assert riot.detection_auc == pytest.approx(detection.auc)


def test_video_level_metrics_and_confusion(run: tuple[Path, list[VideoTruth], Evaluation]) -> None:
    _, _, evaluation = run
    video = evaluation.video
    assert video.auc == 1  # the scores are close to the ground truth
    assert video.anomaly_accuracy == 1
    assert video.event_accuracy == 1
    assert video.background_accuracy == 1
    titles = [matrix.title for matrix in evaluation.confusions]
    assert titles == ["Class of the video", "Event prototype", "Background prototype"]
    event, background = evaluation.confusions[1:]
    assert event.counts_CC.tolist() == [[3, 0, 0], [0, 2, 0], [0, 0, 1]]
    assert background.counts_CC.tolist() == [[3, 0, 0], [2, 0, 0], [1, 0, 0]]
    assert evaluation.distances is not None
    assert evaluation.distances.normal.mean() < 0.4 < evaluation.distances.anomalous.mean()


def test_the_error_of_a_video_is_missed_or_false_alarm(tmp_path: Path) -> None:
    truth = VideoTruth("missed", ("riot",), (Segment("riot", 0, 16),))
    write_scores(score_path(tmp_path, "missed"), video_scores("missed", 64, anomaly_T=[0.1, 0, 0, 0.2]), {})
    write_scores(score_path(tmp_path, "quiet"), video_scores("quiet", 32, anomaly_T=[0.3, 0.5]), {})
    missed, quiet = evaluate_scores(tmp_path, [truth, VideoTruth("quiet", ("normal",), ())], QUICK).videos
    assert missed.missed == pytest.approx(0.9)
    assert missed.false_alarm == pytest.approx(0.2 / 3)
    assert missed.error == missed.missed
    assert (quiet.missed, quiet.false_alarm) == (None, pytest.approx(0.4))
    assert quiet.error == quiet.false_alarm


def test_without_temporal_annotations_video_level_metrics_remain(tmp_path: Path) -> None:
    truths = write_run(tmp_path, small_test_set())
    blind = [VideoTruth(t.name, t.labels, None) if t.name == "fire" else t for t in truths]
    evaluation = evaluate_scores(tmp_path, blind, QUICK)
    assert evaluation.frame is None
    assert evaluation.segments == {}
    assert evaluation.missing_frames == "1 anomalous video(s) without temporal annotations, first: fire"
    assert evaluation.video.auc == 1
    assert evaluation.confidence["accuracy"] is not None
    by_name = {video.truth.name: video for video in evaluation.videos}
    assert by_name["fire"].missed == pytest.approx(1 - video_score(by_name["fire"].scores))
    assert by_name["quiet0"].false_alarm == pytest.approx(video_score(by_name["quiet0"].scores))


def test_only_scored_lists_the_videos_left_out(tmp_path: Path) -> None:
    truths = write_run(tmp_path, small_test_set())
    score_path(tmp_path, "fire").unlink()
    with pytest.raises(ValueError, match=r"^fire: no score file .* \(missing for 1 of 6 videos\)"):
        evaluate_scores(tmp_path, truths, QUICK)
    evaluation = evaluate_scores(tmp_path, truths, EvaluateConfig(bootstrap=0, only_scored=True))
    assert evaluation.left_out == ("fire",)
    assert len(evaluation.videos) == 5
    with pytest.raises(ValueError, match="none of the 6 test videos has a score file"):
        evaluate_scores(tmp_path / "empty", truths, EvaluateConfig(only_scored=True))


def test_the_normal_class_of_ucf_crime_has_no_segments(tmp_path: Path) -> None:
    """Published protocol: only with UCF-Crime's class list does the normal class score 0."""
    rng = np.random.default_rng(0)
    truths = [VideoTruth("quiet", ("normal",), ()), VideoTruth("x", ("arson",), (Segment("arson", 0, 32),))]
    for truth in truths:
        classes_TC = rng.dirichlet(np.ones(14), size=12)
        scores = VideoScores(truth.name, rng.random(12), classes_TC, UCF_CRIME_CLASSES, 16, 192, 30.0)
        write_scores(score_path(tmp_path, truth.name), scores, {})
    found = evaluate_scores(tmp_path, truths, QUICK).segments["published"]
    assert found.per_class["normal"] == 0
    for truth in truths:
        write_scores(score_path(tmp_path, truth.name), informed_scores(truth_with_fire(truth), 192, 0), {})
    own = evaluate_scores(tmp_path, [truth_with_fire(truth) for truth in truths], QUICK).segments["published"]
    assert own.per_class["normal"] > 0


def truth_with_fire(truth: VideoTruth) -> VideoTruth:
    return truth if truth.is_normal else VideoTruth(truth.name, ("fire",), (Segment("fire", 0, 32),))


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (VideoTruth("riot", ("flood",), None), "riot: label 'flood' is not a class of the model"),
        (VideoTruth("riot", ("riot",), (Segment("flood", 0, 9),)), "riot: label 'flood'"),
        (VideoTruth("riot", ("riot",), (Segment("riot", 0, 999),)), "riot: segment riot 0-999 is outside"),
        (VideoTruth("quiet0", ("normal",), ()), "quiet0: this video name occurs more than once"),
    ],
)
def test_errors_name_the_video(tmp_path: Path, truth: VideoTruth, message: str) -> None:
    truths = write_run(tmp_path, small_test_set())
    rest = [other for other in truths if other.name != "riot"]
    with pytest.raises(ValueError, match=message):
        evaluate_scores(tmp_path, [*rest, truth], QUICK)


def test_scores_of_another_model_or_video_are_refused(tmp_path: Path) -> None:
    truths = write_run(tmp_path, small_test_set())
    path = score_path(tmp_path, "riot")
    write_scores(path, video_scores("riot", 200, classes=("normal", "riot", "flood")), {})
    with pytest.raises(ValueError, match=r"fire: .*score all videos with one model"):
        evaluate_scores(tmp_path, truths, QUICK)
    write_scores(path, video_scores("other", 200), {})
    with pytest.raises(ValueError, match="riot: its score file contains the scores of 'other'"):
        evaluate_scores(tmp_path, truths, QUICK)


def test_tsne_needs_learned_features(tmp_path: Path) -> None:
    write_scores(score_path(tmp_path, "quiet"), video_scores("quiet", 32), {})
    with pytest.raises(ValueError, match="tsne needs learned features"):
        evaluate_scores(tmp_path, [VideoTruth("quiet", ("normal",), ())], EvaluateConfig(tsne=True))
