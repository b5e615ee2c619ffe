"""Create leases."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS leases (
    name VARCHAR(64) NOT NULL,
    owner VARCHAR(128) NOT NULL,
    expires_ms BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    PRIMARY KEY (name)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE leases")
