"""Create run_fills."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS run_fills (
    run_id BIGINT NOT NULL,
    fill_seq INTEGER NOT NULL,
    tick_ms BIGINT NOT NULL,
    product_id INTEGER NOT NULL,
    size DOUBLE NOT NULL,
    price DOUBLE NOT NULL,
    fee DOUBLE NOT NULL,
    funding_index DOUBLE NOT NULL,
    reason TINYINT UNSIGNED NOT NULL,
    PRIMARY KEY (run_id, fill_seq, tick_ms)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
PARTITION BY RANGE (tick_ms) (PARTITION p_future VALUES LESS THAN MAXVALUE)
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE run_fills")
