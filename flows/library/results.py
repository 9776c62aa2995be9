"""The part of the library about features and scores."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, and_, delete, insert, select

from extract.config import FEATURE_DIM
from flows.library.pages import HAS_LABELS, PAGE, USABLE, in_pages, row_ids
from flows.library.records import Features, RecordedFeatures, RecordedScore, Score, ScoredVideo
from flows.library.tables import FeatureRow, ScoreRow, VideoRow
from flows.library.transactions import Transactions

MEAN_DTYPE = "<f4"
"""Numbers of a mean feature as they are stored."""
SCORE_COLUMNS = (ScoreRow.anomaly, ScoreRow.predicted, ScoreRow.entropy, ScoreRow.made_from)


class Results(Transactions):
    """The features of videos, and their scores by model versions, by the digest of the video."""

    def write_features(self, features: Mapping[str, Features]) -> None:
        """Record feature files by the digest of their video."""
        for page in in_pages(features):
            with self._writing() as session:
                ids = row_ids(session, page)
                session.execute(delete(FeatureRow).where(FeatureRow.video_id.in_(list(ids.values()))))
                session.execute(
                    insert(FeatureRow), [_feature_row(ids[digest], features[digest]) for digest in page]
                )

    def features(self) -> dict[str, Features]:
        """The recorded feature files by the digest of their video, without the mean features."""
        columns = (FeatureRow.digest, FeatureRow.encoder, FeatureRow.snippets, FeatureRow.duration_s)
        with self._session() as session:
            rows = session.execute(select(VideoRow.digest, *columns).join(FeatureRow))
            return {digest: Features(*values) for digest, *values in rows}

    def recorded_features(self) -> Iterator[RecordedFeatures]:
        """The state of the features of every video, in the order in which the videos were added."""
        facts = (FeatureRow.digest, FeatureRow.made_with, FeatureRow.file_size, FeatureRow.file_mtime_ns)
        columns = (VideoRow.digest, VideoRow.name, USABLE, *facts, FeatureRow.mean.is_not(None))
        query = select(VideoRow.id, *columns).outerjoin(FeatureRow)
        for row in self._by_number(query):
            yield RecordedFeatures(*row)

    def forget_features(self, digests: Iterable[str]) -> None:
        """Delete what is recorded of the feature files of these videos."""
        for page in in_pages(digests):
            with self._writing() as session:
                ids = list(row_ids(session, page).values())
                session.execute(delete(FeatureRow).where(FeatureRow.video_id.in_(ids)))

    def mean_features(self, digests: Sequence[str]) -> NDArray[np.float32]:
        """(V, D) mean feature of each of these videos, all of which have one recorded."""
        means_VD = np.empty((len(digests), FEATURE_DIM), np.float32)
        places = {digest: place for place, digest in enumerate(digests)}
        for page in in_pages(digests):
            with self._session() as session:
                rows = session.execute(
                    select(VideoRow.digest, FeatureRow.mean)
                    .join(FeatureRow)
                    .where(VideoRow.digest.in_(page), FeatureRow.mean.is_not(None))
                )
                for digest, mean in rows:
                    means_VD[places.pop(digest)] = np.frombuffer(mean, MEAN_DTYPE)
        assert not places, f"{len(places)} videos have no mean feature recorded"
        return means_VD

    def write_scores(self, model: str, scores: Mapping[str, Score], made_with: str | None = None) -> None:
        """Record the scores of a model version (its key) by the digest of the video.

        `made_with` is a digest of the settings of the inference.
        """
        for page in in_pages(scores):
            with self._writing() as session:
                ids = row_ids(session, page)
                session.execute(
                    delete(ScoreRow).where(ScoreRow.video_id.in_(list(ids.values())), ScoreRow.model == model)
                )
                facts = {"model": model, "made_with": made_with}
                rows = [{"video_id": ids[d], **facts, **vars(scores[d])} for d in page]
                session.execute(insert(ScoreRow), rows)

    def scores(self, model: str) -> dict[str, Score]:
        """The recorded scores of a model version (its key) by the digest of the video."""
        with self._session() as session:
            rows = session.execute(
                select(VideoRow.digest, *SCORE_COLUMNS).join(ScoreRow).where(ScoreRow.model == model)
            )
            return {row.digest: score for row in rows if (score := score_of(row))}

    def recorded_scores(self, model: str) -> Iterator[RecordedScore]:
        """What the scores by a model version were made from, of every video with features."""
        columns = (VideoRow.digest, VideoRow.name, FeatureRow.digest, ScoreRow.made_from, ScoreRow.made_with)
        query = (
            select(VideoRow.id, *columns)
            .join(FeatureRow)
            .outerjoin(ScoreRow, and_(ScoreRow.video_id == VideoRow.id, ScoreRow.model == model))
        )
        for row in self._by_number(query):
            yield RecordedScore(*row)

    def scored_videos(self, model: str) -> Iterator[ScoredVideo]:
        """The videos with features and a score by this model version."""
        columns = (VideoRow.digest, VideoRow.name, VideoRow.split, HAS_LABELS)
        values = (ScoreRow.anomaly, ScoreRow.predicted, ScoreRow.entropy)
        query = (
            select(VideoRow.id, *columns, *values)
            .join(FeatureRow)
            .join(ScoreRow, and_(ScoreRow.video_id == VideoRow.id, ScoreRow.model == model))
        )
        for digest, name, split, labelled, anomaly, predicted, entropy in self._by_number(query):
            text = sys.intern(predicted)  # one of a few
            yield ScoredVideo(digest, name, sys.intern(split), bool(labelled), anomaly, text, entropy)

    def _by_number(self, query: Select[Any]) -> Iterator[Sequence[Any]]:
        """The rows of a query, whose first column is the number of the video's row, without that column.

        Each page is a transaction of its own.
        """
        last, size = 0, PAGE * 5
        while True:
            page = query.where(VideoRow.id > last).order_by(VideoRow.id).limit(size)
            with self._session() as session:
                rows = session.execute(page).all()
            for row in rows:
                yield row[1:]
            if len(rows) < size:
                return
            last = rows[-1][0]


def _feature_row(video_id: int, features: Features) -> dict[str, object]:
    mean = None if features.mean is None else features.mean.astype(MEAN_DTYPE).tobytes()
    return {"video_id": video_id, **vars(features), "mean": mean}


def score_of(row: Any) -> Score | None:
    """The score in a row with SCORE_COLUMNS, all of them NULL where there is none."""
    if row.anomaly is None:
        return None
    return Score(row.anomaly, row.predicted, row.entropy, row.made_from or "")
