"""Create config_versions."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS config_versions (
    version VARCHAR(16) NOT NULL,
    content JSON NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (version)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE config_versions")
