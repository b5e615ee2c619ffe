"""Create run_checkpoints."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS run_checkpoints (
    run_id BIGINT NOT NULL,
    tick BIGINT NOT NULL,
    record VARBINARY(320) NOT NULL,
    live_pnl DOUBLE NOT NULL,
    PRIMARY KEY (run_id, tick)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE run_checkpoints")
