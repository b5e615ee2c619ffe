"""Create attribution, attribution_books and attribution_runs."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

EVENTS = """
CREATE TABLE IF NOT EXISTS attribution (
    kind ENUM('fill','funding','transfer') NOT NULL,
    time_ms BIGINT NOT NULL,
    ref BIGINT NOT NULL,
    symbol VARCHAR(32) NOT NULL,
    intent_id VARCHAR(96),
    size DECIMAL(28,10) NOT NULL,
    price DECIMAL(28,10) NOT NULL,
    account_usd DECIMAL(28,10) NOT NULL,
    runs_usd DOUBLE NOT NULL,
    house_usd DOUBLE NOT NULL,
    runs INTEGER NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, time_ms, ref, symbol)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""

BOOKS = """
CREATE TABLE IF NOT EXISTS attribution_books (
    symbol VARCHAR(32) NOT NULL,
    shares MEDIUMBLOB NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (symbol)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""

RUNS = """
CREATE TABLE IF NOT EXISTS attribution_runs (
    run_id BIGINT NOT NULL,
    symbol VARCHAR(32) NOT NULL,
    pnl_usd DOUBLE NOT NULL,
    fees_usd DOUBLE NOT NULL,
    funding_usd DOUBLE NOT NULL,
    fills INTEGER NOT NULL,
    PRIMARY KEY (run_id, symbol)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(EVENTS)
    op.execute(BOOKS)
    op.execute(RUNS)


def downgrade() -> None:
    op.execute("DROP TABLE attribution_runs")
    op.execute("DROP TABLE attribution_books")
    op.execute("DROP TABLE attribution")
