"""Create risk_state."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS risk_state (
    name VARCHAR(64) NOT NULL,
    value JSON NOT NULL,
    reason VARCHAR(255) NOT NULL,
    actor VARCHAR(64) NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (name)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE risk_state")
