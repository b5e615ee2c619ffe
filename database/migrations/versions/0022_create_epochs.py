"""Create epochs."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS epochs (
    height INTEGER NOT NULL,
    kind VARCHAR(32) NOT NULL,
    effective_tick BIGINT NOT NULL,
    account_value DOUBLE,
    run_count INTEGER NOT NULL,
    mean_log_growth DOUBLE,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (height)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE epochs")
