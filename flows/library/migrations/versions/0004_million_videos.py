"""Newest labels in the table of videos, file names, and indexes: no question reads a million rows."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NEWEST_LABELS = """
    UPDATE videos SET current_labels = (
        SELECT labels.labels FROM labels WHERE labels.video_id = videos.id ORDER BY labels.id DESC LIMIT 1
    )
    WHERE EXISTS (SELECT 1 FROM labels WHERE labels.video_id = videos.id)
"""
# rtrim takes away the characters behind the last slash.
_FILE_NAMES = "UPDATE locations SET file_name = substr(path, length(rtrim(path, replace(path, '/', ''))) + 1)"
_PARTIAL_INDEXES = {
    "ix_videos_unlabelled": ("videos", ["name"], "current_labels = '' AND problem = ''"),
    "ix_videos_labelled": ("videos", ["current_labels", "id"], "current_labels <> ''"),
    "ix_videos_unusable": ("videos", ["id"], "problem <> ''"),
}
_FEATURES: dict[str, sa.types.TypeEngine[Any]] = {
    "made_with": sa.String(16),
    "file_size": sa.BigInteger(),
    "file_mtime_ns": sa.BigInteger(),
}


def upgrade() -> None:
    op.add_column(
        "videos", sa.Column("current_labels", sa.Text, nullable=False, server_default=sa.text("''"))
    )
    op.add_column("locations", sa.Column("file_name", sa.Text, nullable=False, server_default=sa.text("''")))
    for name, type_ in _FEATURES.items():
        op.add_column("features", sa.Column(name, type_, nullable=True))
    op.add_column("scores", sa.Column("made_with", sa.String(16), nullable=True))
    op.execute(_NEWEST_LABELS)
    op.execute(_FILE_NAMES)
    for name, (table, columns, where) in _PARTIAL_INDEXES.items():
        condition = sa.text(where)
        op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
    op.create_index("ix_locations_file_name", "locations", ["file_name"])
    op.create_index("ix_scores_model_entropy", "scores", ["model", "surprise", "video_id"])
    op.drop_index("ix_scores_model", "scores")


def downgrade() -> None:
    op.create_index("ix_scores_model", "scores", ["model"])
    op.drop_index("ix_scores_model_entropy", "scores")
    op.drop_index("ix_locations_file_name", "locations")
    for name, (table, _, _) in _PARTIAL_INDEXES.items():
        op.drop_index(name, table)
    op.drop_column("scores", "made_with")
    for name in _FEATURES:
        op.drop_column("features", name)
    op.drop_column("locations", "file_name")
    op.drop_column("videos", "current_labels")
