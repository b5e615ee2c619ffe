"""Create the procedure that makes partitions of run_fills ahead of time.

The application may call it, and so change the layout of this table without the right to change a
table: the procedure runs as its owner.
"""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

CREATE = """
CREATE OR REPLACE PROCEDURE add_run_fills_days(IN until_ms BIGINT)
SQL SECURITY DEFINER
MODIFIES SQL DATA
COMMENT 'A partition for each UTC day up to until_ms, at most a week from now.'
BEGIN
    DECLARE day_ms BIGINT DEFAULT 86400000;
    DECLARE today_ms BIGINT DEFAULT FLOOR(UNIX_TIMESTAMP() / 86400) * 86400000;
    DECLARE bound_ms BIGINT;
    IF until_ms IS NULL OR until_ms > today_ms + 8 * day_ms THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'partitions of run_fills are made at most a week ahead';
    END IF;
    SET SESSION lock_wait_timeout = 10;
    SELECT COALESCE(MAX(CAST(partition_description AS SIGNED)), today_ms) INTO bound_ms
    FROM information_schema.partitions
    WHERE table_schema = DATABASE() AND table_name = 'run_fills' AND partition_name <> 'p_future';
    WHILE bound_ms < until_ms DO
        EXECUTE IMMEDIATE CONCAT(
            'ALTER TABLE run_fills REORGANIZE PARTITION p_future INTO (PARTITION p',
            REPLACE(DATE('1970-01-01') + INTERVAL bound_ms DIV day_ms DAY, '-', ''),
            ' VALUES LESS THAN (', bound_ms + day_ms, '), PARTITION p_future VALUES LESS THAN MAXVALUE)'
        );
        SET bound_ms = bound_ms + day_ms;
    END WHILE;
END
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP PROCEDURE add_run_fills_days")
