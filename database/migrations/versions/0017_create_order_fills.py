"""Create order_fills."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS order_fills (
    tid BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    coin VARCHAR(32) NOT NULL,
    cloid VARCHAR(34),
    oid BIGINT NOT NULL,
    intent_id VARCHAR(96),
    side ENUM('buy','sell') NOT NULL,
    price NUMERIC(28, 10) NOT NULL,
    size NUMERIC(28, 10) NOT NULL,
    fee_usd NUMERIC(28, 10) NOT NULL,
    closed_pnl_usd NUMERIC(28, 10) NOT NULL,
    start_position NUMERIC(28, 10) NOT NULL,
    dir VARCHAR(32) NOT NULL,
    crossed BOOL NOT NULL,
    PRIMARY KEY (tid, time_ms, coin),
    KEY ix_order_fills_cloid (cloid),
    KEY ix_order_fills_coin_time (coin, time_ms)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE order_fills")
