"""All metrics of a run from its files: definitions, videos left out, missing annotations, errors."""

from pathlib import Path

import numpy as np
import pytest

from evaluate.annotations import Segment, VideoTruth, frame_labels
from evaluate.config import EvaluateConfig
from evaluate.evaluation import Evaluation, evaluate_scores
from evaluate.metrics.bootstrap import ConfidenceInterval
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
    assert [found.label for found in evaluation.per_class] == list(CLASSES)
    assert (normal.videos, normal.segments, normal.auc, normal.detection_auc) == (3, None, None, None)
    assert (riot.videos, riot.segments) == (2, 2)
    assert (fire.videos, fire.segments) == (2, 3)
    assert riot.map_corrected == evaluation.segments["corrected"].per_class["riot"]
    assert riot.map_published == evaluation.segments["published"].per_class["riot"]
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
    assert video.auc == video.ap == 1  # the scores are close to the ground truth
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


def write_predictions(
    scores_dir: Path, rows: list[tuple[str, tuple[str, ...], int, float]]
) -> list[VideoTruth]:
    """Two-snippet videos (name, labels, predicted class index, anomaly score); their ground truth."""
    truths = []
    for name, labels, index, anomaly in rows:
        classes_TC = np.tile(0.1 + 0.7 * np.eye(3)[index], (2, 1))
        scores = video_scores(name, 32, anomaly_T=[anomaly] * 2, classes_TC=classes_TC)
        write_scores(score_path(scores_dir, name), scores, {})
        truths.append(VideoTruth(name, labels, tuple(Segment(x, 0, 32) for x in labels if x != "normal")))
    return truths


def test_accuracies_and_confusion_of_predictions(tmp_path: Path) -> None:
    rows = [
        ("a", ("riot", "fire"), 2, 0.9),  # correct: one of its labels
        ("b", ("riot",), 2, 0.8),  # fire instead of riot
        ("c", ("riot",), 1, 0.1),  # riot, but below the threshold
        ("d", ("normal",), 1, 0.2),
        ("e", ("normal",), 1, 0.7),  # false alarm
    ]
    evaluation = evaluate_scores(tmp_path, write_predictions(tmp_path, rows), QUICK)
    assert (evaluation.video.accuracy, evaluation.video.anomaly_accuracy) == (2 / 5, pytest.approx(2 / 3))
    assert evaluation.video.auc == pytest.approx(4 / 6)
    assert [found.accuracy for found in evaluation.per_class] == [1 / 2, pytest.approx(1 / 3), 1]
    (confusion,) = evaluation.confusions
    assert confusion.classes == CLASSES
    assert confusion.counts_CC.tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 1]]
    assert confusion.counts_CC.dtype == np.int64


def test_a_single_video_is_evaluated(tmp_path: Path) -> None:
    (truth,) = write_predictions(tmp_path, [("a", ("riot",), 1, 0.9)])
    evaluation = evaluate_scores(tmp_path, [truth], QUICK)
    assert (evaluation.video.accuracy, evaluation.video.auc) == (1, None)
    riot, fire = evaluation.per_class[1:]
    assert (riot.accuracy, riot.auc, riot.ap, fire.videos) == (1, None, 1, 0)
    assert (fire.accuracy, fire.auc, fire.ap, fire.detection_auc) == (None, None, None, None)
    assert evaluation.confidence["far"] is None  # every frame is anomalous


def test_without_class_scores_the_rest_is_evaluated(tmp_path: Path) -> None:
    truths = [VideoTruth("a", ("riot",), (Segment("riot", 0, 16),)), VideoTruth("b", ("normal",), ())]
    for truth, anomaly in zip(truths, ([0.9, 0.2], [0.1, 0.3]), strict=True):
        scores = video_scores(truth.name, 32, anomaly_T=anomaly, classes_TC=None)
        write_scores(score_path(tmp_path, truth.name), scores, {})
    evaluation = evaluate_scores(tmp_path, truths, QUICK)
    assert evaluation.frame is not None
    assert (evaluation.frame.auc, evaluation.video.auc) == (1, 1)
    assert (evaluation.video.accuracy, evaluation.video.anomaly_accuracy) == (None, None)
    assert (evaluation.segments, evaluation.confusions) == ({}, ())
    riot = evaluation.per_class[1]
    assert (riot.accuracy, riot.auc, riot.map_published, riot.detection_auc) == (None, None, None, 1)


def test_false_alarms_at_the_threshold_count_in_the_interval_too(tmp_path: Path) -> None:
    truths = [VideoTruth("a", ("riot",), (Segment("riot", 0, 16),)), VideoTruth("b", ("normal",), ())]
    for truth in truths:
        write_scores(score_path(tmp_path, truth.name), video_scores(truth.name, 32, anomaly_T=[0.5, 0.5]), {})
    evaluation = evaluate_scores(tmp_path, truths, QUICK)
    assert evaluation.frame is not None
    assert evaluation.frame.far == 1
    assert evaluation.confidence["far"] == ConfidenceInterval(1, 1)


def test_a_normal_video_is_one_segment_of_all_its_snippets(tmp_path: Path) -> None:
    """The proposal, its first snippet, has IoU 0.1 with that segment: a hit at one of five thresholds."""
    classes_TC = np.tile([0.1, 0.5, 0.4], (10, 1))
    classes_TC[0] = [0.8, 0.1, 0.1]
    write_scores(score_path(tmp_path, "quiet"), video_scores("quiet", 160, classes_TC=classes_TC), {})
    found = evaluate_scores(tmp_path, [VideoTruth("quiet", ("normal",), ())], QUICK).segments["published"]
    assert found.per_class["normal"] == pytest.approx(20)


def test_a_snippet_is_anomalous_from_half_of_its_frames_on(tmp_path: Path) -> None:
    segments = (Segment("riot", 0, 8), Segment("riot", 25, 32), Segment("riot", 34, 36))
    scores = video_scores("a", 36, normal_distance_T=[0.1, 0.2, 0.3])  # of 16, 16 and 4 frames
    write_scores(score_path(tmp_path, "a"), scores, {})
    distances = evaluate_scores(tmp_path, [VideoTruth("a", ("riot",), segments)], QUICK).distances
    assert distances is not None
    assert distances.anomalous.tolist() == pytest.approx([0.1, 0.3])
    assert distances.normal.tolist() == pytest.approx([0.2])
    for segment in (Segment("riot", 0, 36), Segment("riot", 0, 1)):  # all snippets, or none
        evaluation = evaluate_scores(tmp_path, [VideoTruth("a", ("riot",), (segment,))], QUICK)
        assert evaluation.distances is None


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
    assert [found.auc for found in evaluation.per_class] == [None, None, None]
    assert evaluation.per_class[1].accuracy == 1
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
