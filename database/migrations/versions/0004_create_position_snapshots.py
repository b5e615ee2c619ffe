"""Create position_snapshots."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS position_snapshots (
    voter VARCHAR(64) NOT NULL,
    venue_ms BIGINT NOT NULL,
    read_ms BIGINT NOT NULL,
    complete BOOL NOT NULL,
    dexes JSON NOT NULL,
    PRIMARY KEY (voter)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE position_snapshots")
