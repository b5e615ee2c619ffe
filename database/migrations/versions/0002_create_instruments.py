"""Create instruments."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS instruments (
    id INTEGER NOT NULL AUTO_INCREMENT,
    symbol VARCHAR(32) NOT NULL,
    base VARCHAR(32) NOT NULL,
    quote VARCHAR(16) NOT NULL,
    kind ENUM('perpetual') NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (symbol)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE instruments")
