"""The part of the library about features and scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, insert, select

from extract.config import FEATURE_DIM
from flows.library.pages import in_pages, row_ids
from flows.library.records import Features, Score
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

    def without_mean(self) -> set[str]:
        """Digests of the videos whose recorded features lack the mean: rows of an earlier version."""
        with self._session() as session:
            return set(
                session.scalars(select(VideoRow.digest).join(FeatureRow).where(FeatureRow.mean.is_(None)))
            )

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

    def write_scores(self, model: str, scores: Mapping[str, Score]) -> None:
        """Record the scores of a model version (its key) by the digest of the video."""
        for page in in_pages(scores):
            with self._writing() as session:
                ids = row_ids(session, page)
                session.execute(
                    delete(ScoreRow).where(ScoreRow.video_id.in_(list(ids.values())), ScoreRow.model == model)
                )
                rows = [{"video_id": ids[d], "model": model, **vars(scores[d])} for d in page]
                session.execute(insert(ScoreRow), rows)

    def scores(self, model: str) -> dict[str, Score]:
        """The recorded scores of a model version (its key) by the digest of the video."""
        with self._session() as session:
            rows = session.execute(
                select(VideoRow.digest, *SCORE_COLUMNS).join(ScoreRow).where(ScoreRow.model == model)
            )
            return {row.digest: score for row in rows if (score := score_of(row))}


def _feature_row(video_id: int, features: Features) -> dict[str, object]:
    mean = None if features.mean is None else features.mean.astype(MEAN_DTYPE).tobytes()
    return {"video_id": video_id, **vars(features), "mean": mean}


def score_of(row: Any) -> Score | None:
    """The score in a row with SCORE_COLUMNS, all of them NULL where there is none."""
    if row.anomaly is None:
        return None
    return Score(row.anomaly, row.predicted, row.entropy, row.made_from or "")
