"""Create positions."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS positions (
    voter VARCHAR(64) NOT NULL,
    symbol VARCHAR(32) NOT NULL,
    size NUMERIC(28, 10) NOT NULL,
    entry_price NUMERIC(28, 10) NOT NULL,
    unrealised_usd NUMERIC(28, 10) NOT NULL,
    margin_used_usd NUMERIC(28, 10) NOT NULL,
    venue_ms BIGINT NOT NULL,
    read_ms BIGINT NOT NULL,
    PRIMARY KEY (voter, symbol)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE positions")
