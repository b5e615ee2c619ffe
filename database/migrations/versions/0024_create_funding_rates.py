"""Create funding_rates."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS funding_rates (
    symbol VARCHAR(32) NOT NULL,
    time_ms BIGINT NOT NULL,
    rate DOUBLE NOT NULL,
    oracle_price DOUBLE NOT NULL,
    index_usd DOUBLE NOT NULL,
    PRIMARY KEY (symbol, time_ms)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE funding_rates")
