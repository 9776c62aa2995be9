"""`videos.csv`: all videos of an evaluation by descending error, for test sets that one page cannot show."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from evaluate.evaluated_videos import EvaluatedVideo
from evaluate.snippet_times import seconds_at
from extract.atomic import write_atomically

COLUMNS = ("name", "labels", "predicted", "error", "missed", "false_alarm", "seconds")


def by_error(videos: Sequence[EvaluatedVideo]) -> list[EvaluatedVideo]:
    """The videos by descending error, then by name."""
    return sorted(videos, key=lambda video: (-video.error, video.truth.name))


def write_video_table(path: Path, videos: Sequence[EvaluatedVideo]) -> None:
    """Write one row per video: labels joined by `|`, errors as fractions (empty if undefined), length."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for video in by_error(videos):
        errors = (video.error, video.missed, video.false_alarm)
        writer.writerow(
            (
                video.truth.name,
                "|".join(video.truth.labels),
                video.predicted,
                *("" if value is None else f"{value:.6f}" for value in errors),
                f"{seconds_at(video.scores, video.scores.n_frames):.2f}",
            )
        )
    write_atomically(path, text.getvalue())
