"""Create backups."""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS backups (
    id BIGINT NOT NULL AUTO_INCREMENT,
    finished_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE backups")
