"""Make the missing partitions of run_fills in one statement, however many they are.

One statement each copied the rows that had come in meanwhile once per day.
"""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

HEAD = """
CREATE OR REPLACE PROCEDURE add_run_fills_days(IN until_ms BIGINT)
SQL SECURITY DEFINER
MODIFIES SQL DATA
COMMENT 'A partition for each UTC day up to until_ms, at most a week from now.'
BEGIN
    DECLARE day_ms BIGINT DEFAULT 86400000;
    DECLARE today_ms BIGINT DEFAULT FLOOR(UNIX_TIMESTAMP() / 86400) * 86400000;
    DECLARE bound_ms BIGINT;
"""
CHECK = """
    IF until_ms IS NULL OR until_ms > today_ms + 8 * day_ms THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'partitions of run_fills are made at most a week ahead';
    END IF;
    SET SESSION lock_wait_timeout = 10;
    SELECT COALESCE(MAX(CAST(partition_description AS SIGNED)), today_ms) INTO bound_ms
    FROM information_schema.partitions
    WHERE table_schema = DATABASE() AND table_name = 'run_fills' AND partition_name <> 'p_future';
"""
AT_ONCE = (
    """
    DECLARE parts LONGTEXT DEFAULT '';
"""
    + CHECK
    + """
    WHILE bound_ms < until_ms DO
        SET parts = CONCAT(
            parts, 'PARTITION p', REPLACE(DATE('1970-01-01') + INTERVAL bound_ms DIV day_ms DAY, '-', ''),
            ' VALUES LESS THAN (', bound_ms + day_ms, '), '
        );
        SET bound_ms = bound_ms + day_ms;
    END WHILE;
    IF parts <> '' THEN
        EXECUTE IMMEDIATE CONCAT(
            'ALTER TABLE run_fills REORGANIZE PARTITION p_future INTO (',
            parts, 'PARTITION p_future VALUES LESS THAN MAXVALUE)'
        );
    END IF;
END
"""
)
ONE_BY_ONE = (
    CHECK
    + """
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
)


def upgrade() -> None:
    op.execute(HEAD + AT_ONCE)


def downgrade() -> None:
    op.execute(HEAD + ONE_BY_ONE)
