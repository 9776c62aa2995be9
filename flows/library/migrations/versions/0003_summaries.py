"""Summaries of feature files and the origin of scores, so that a retraining need not read all files again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("features", sa.Column("mean", sa.LargeBinary, nullable=True))
    op.add_column("scores", sa.Column("made_from", sa.String(64), nullable=True))
    op.create_index("ix_scores_model", "scores", ["model"])


def downgrade() -> None:
    op.drop_index("ix_scores_model", "scores")
    op.drop_column("scores", "made_from")
    op.drop_column("features", "mean")
