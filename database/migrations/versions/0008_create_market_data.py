"""Create market_data."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS market_data (
    symbol VARCHAR(32) NOT NULL,
    timeframe VARCHAR(4) NOT NULL,
    open_ms BIGINT NOT NULL,
    open DOUBLE NOT NULL,
    high DOUBLE NOT NULL,
    low DOUBLE NOT NULL,
    close DOUBLE NOT NULL,
    volume DOUBLE NOT NULL,
    PRIMARY KEY (symbol, timeframe, open_ms)
) ENGINE=MEMORY CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE market_data")
