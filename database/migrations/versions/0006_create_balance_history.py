"""Create balance_history."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS balance_history (
    id BIGINT NOT NULL AUTO_INCREMENT,
    account_value NUMERIC(28, 10) NOT NULL,
    withdrawable NUMERIC(28, 10) NOT NULL,
    margin_used NUMERIC(28, 10) NOT NULL,
    total_notional NUMERIC(28, 10) NOT NULL,
    venue_ms BIGINT NOT NULL,
    read_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    KEY ix_balance_history_venue_ms (venue_ms)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE balance_history")
