"""Create iteration_shards."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS iteration_shards (
    id INTEGER NOT NULL,
    last_tick BIGINT NOT NULL,
    interval_ms INTEGER NOT NULL,
    version BIGINT NOT NULL,
    sums JSON NOT NULL,
    sums_tick BIGINT NOT NULL,
    committed_ms BIGINT NOT NULL,
    worker VARCHAR(128) NOT NULL,
    PRIMARY KEY (id)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE iteration_shards")
