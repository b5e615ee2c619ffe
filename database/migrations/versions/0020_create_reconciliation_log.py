"""Create reconciliation_log."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS reconciliation_log (
    id BIGINT NOT NULL AUTO_INCREMENT,
    at_ms BIGINT NOT NULL,
    symbol VARCHAR(32) NOT NULL,
    decision VARCHAR(32) NOT NULL,
    intent_id VARCHAR(96),
    gap_usd DOUBLE,
    detail JSON NOT NULL,
    PRIMARY KEY (id),
    KEY ix_reconciliation_log_intent (intent_id),
    KEY ix_reconciliation_log_symbol (symbol, at_ms)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE reconciliation_log")
