"""Create runs."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS runs (
    id BIGINT NOT NULL AUTO_INCREMENT,
    shard_id INTEGER NOT NULL,
    product_id INTEGER NOT NULL,
    symbol VARCHAR(32) NOT NULL,
    status ENUM('active','completed') NOT NULL,
    interpretation ENUM('direct','inverse','breakout','swing') NOT NULL,
    parent_id BIGINT,
    generation INTEGER NOT NULL,
    spawn_tick BIGINT NOT NULL,
    exit_tick BIGINT,
    exit_reason VARCHAR(32),
    height INTEGER,
    height_tick BIGINT,
    completed_tick BIGINT,
    start_balance DOUBLE NOT NULL,
    live_pnl DOUBLE NOT NULL,
    fill_count INTEGER NOT NULL,
    run_state JSON NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    KEY ix_runs_height (height),
    KEY ix_runs_shard_status (shard_id, status),
    KEY ix_runs_status_symbol (status, symbol)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE runs")
