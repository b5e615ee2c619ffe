"""Create products."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS products (
    id INTEGER NOT NULL AUTO_INCREMENT,
    exchange_id INTEGER NOT NULL,
    instrument_id INTEGER NOT NULL,
    symbol VARCHAR(32) NOT NULL,
    asset_index INTEGER NOT NULL,
    sz_decimals TINYINT UNSIGNED NOT NULL,
    max_leverage INTEGER NOT NULL,
    only_isolated BOOL NOT NULL,
    active BOOL NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT uq_products_listing UNIQUE (exchange_id, instrument_id),
    UNIQUE (symbol)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE products")
