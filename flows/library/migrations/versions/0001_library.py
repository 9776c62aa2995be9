"""First tables: videos, locations, labels, features, scores."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "videos",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("split", sa.String(5), nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_videos"),
        sa.UniqueConstraint("digest", name="uq_videos_digest"),
        sa.UniqueConstraint("name", name="uq_videos_name"),
    )
    op.create_table(
        "locations",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("video_id", sa.Integer, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_locations"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_locations_video_id"),
        sa.UniqueConstraint("path", name="uq_locations_path"),
    )
    op.create_index("ix_locations_video_id", "locations", ["video_id"])
    op.create_table(
        "labels",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("video_id", sa.Integer, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("given_by", sa.String(255), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_labels"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_labels_video_id"),
    )
    op.create_index("ix_labels_video_id", "labels", ["video_id"])
    op.create_table(
        "features",
        sa.Column("video_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("encoder", sa.String(16), nullable=False),
        sa.Column("snippets", sa.Integer, nullable=False),
        sa.Column("duration_s", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("video_id", name="pk_features"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_features_video_id"),
    )
    op.create_table(
        "scores",
        sa.Column("video_id", sa.Integer, nullable=False),
        sa.Column("model", sa.String(16), nullable=False),
        sa.Column("anomaly", sa.Float, nullable=False),
        sa.Column("predicted", sa.String(255), nullable=False),
        sa.Column("surprise", sa.Float, nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("video_id", "model", name="pk_scores"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_scores_video_id"),
    )


def downgrade() -> None:
    for table in ("scores", "features", "labels", "locations", "videos"):
        op.drop_table(table)
