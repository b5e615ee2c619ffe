"""Create plan_epochs."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS plan_epochs (
    symbol VARCHAR(32) NOT NULL,
    epoch BIGINT NOT NULL,
    advanced_ms BIGINT NOT NULL,
    PRIMARY KEY (symbol)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE plan_epochs")
