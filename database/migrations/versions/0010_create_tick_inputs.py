"""Create tick_inputs."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS tick_inputs (
    interval_ms INTEGER NOT NULL,
    tick_ms BIGINT NOT NULL,
    config_version VARCHAR(16) NOT NULL,
    source ENUM('live','backfill','history','missing') NOT NULL,
    payload MEDIUMBLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (interval_ms, tick_ms)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE tick_inputs")
