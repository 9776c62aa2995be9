"""Failed probes: how often a video could not be read, and when it is tried again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "failed_probes",
        sa.Column("video_id", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("video_id", name="pk_failed_probes"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_failed_probes_video_id"),
    )


def downgrade() -> None:
    op.drop_table("failed_probes")
