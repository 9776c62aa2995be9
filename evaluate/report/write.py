"""Write `metrics.json` and the page `index.html` of one evaluation into one folder.

Metrics are fractions in the JSON file and percent on the page; mAP is percent in both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluate.evaluation import Evaluation
from evaluate.report.charts import RawFeatures
from evaluate.report.files import MAX_CARDS, METRICS_FILE, PAGE_FILE, TABLE_FILE
from evaluate.report.metrics_file import build_metrics, write_metrics
from evaluate.report.page import Thumbnail, render_report
from evaluate.report.video_table import write_video_table
from extract.atomic import write_atomically


def write_report(
    out_dir: Path,
    evaluation: Evaluation,
    *,
    title: str,
    notes: Sequence[str] = (),
    curves_csv: Path | None = None,
    thumbnail: Thumbnail | None = None,
    raw_features: RawFeatures | None = None,
    run_config: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
    causal: Evaluation | None = None,
) -> Path:
    """Write `metrics.json` and the page `index.html` into `out_dir`.

    Equal arguments give equal bytes. The page is a single file that makes no requests. It shows the 300
    videos with the largest errors; if there are more, `videos.csv` beside it lists all.

    Args:
        out_dir: Folder of the report; created if missing.
        evaluation: Result of `evaluate_scores`.
        title: Title of the page.
        notes: Remarks at the top of the page, such as "random CLIP weights: a trial, not a result".
        curves_csv: Training curves to draw; ignored if the file does not exist (imported weights have none).
        thumbnail: Function of video name and frame number that returns a JPEG, or None without a picture.
        raw_features: Function of the video name that returns the features (T, D) before the model, for t-SNE
            (`EvaluateConfig.tsne`).
        run_config: Further settings for `config` in `metrics.json`, next to those of the evaluation.
        digests: Further digests for `digests` in `metrics.json`, such as those of model and features.
        causal: Result of `evaluate_scores` for causal scores of the same videos, shown beside `evaluation`.

    Returns:
        Path of the page.

    Raises:
        ValueError: Raw features with another number of snippets than the scores, an invalid `curves_csv`, or
            causal scores of other videos.

    Examples:
        >>> from pathlib import Path
        >>> from evaluate import evaluate_scores, write_report
        >>> from evaluate.annotations import Segment, VideoTruth
        >>> truths = [VideoTruth("street", ("riot",), (Segment("riot", 16, 32),))]
        >>> evaluation = evaluate_scores(Path("scores"), truths)
        >>> write_report(Path("report"), evaluation, title="One street").as_posix()
        'report/index.html'
    """
    metrics = build_metrics(
        evaluation, title=title, notes=notes, run_config=run_config, digests=digests, causal=causal
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(out_dir / METRICS_FILE, metrics)
    existing_curves = curves_csv if curves_csv and curves_csv.is_file() else None
    if len(evaluation.videos) > MAX_CARDS:
        write_video_table(out_dir / TABLE_FILE, evaluation.videos)
    else:
        (out_dir / TABLE_FILE).unlink(missing_ok=True)
    page = render_report(evaluation, metrics, existing_curves, thumbnail, raw_features)
    write_atomically(out_dir / PAGE_FILE, page)
    return out_dir / PAGE_FILE
