"""Create take_profit_state."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS take_profit_state (
    id INTEGER NOT NULL,
    baseline DOUBLE,
    peak DOUBLE,
    samples JSON NOT NULL,
    ledger_cursor_ms BIGINT NOT NULL,
    last_event_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE take_profit_state")
