-- Creates the database and its users. Run as root, with the passwords set before:
--   SET @app_password = '...'; SET @migrate_password = '...'; SOURCE database/init.sql;
-- 3t_app reads and writes rows; 3t_migrate owns the schema. Safe to run again.

CREATE DATABASE IF NOT EXISTS `3t` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

SET @statement = CONCAT('CREATE USER IF NOT EXISTS ''3t_app''@''%'' IDENTIFIED BY ', QUOTE(@app_password));
PREPARE create_app FROM @statement;
EXECUTE create_app;
DEALLOCATE PREPARE create_app;

SET @statement = CONCAT('CREATE USER IF NOT EXISTS ''3t_migrate''@''%'' IDENTIFIED BY ', QUOTE(@migrate_password));
PREPARE create_migrate FROM @statement;
EXECUTE create_migrate;
DEALLOCATE PREPARE create_migrate;

-- EXECUTE: partitions of run_fills come and go through procedures that run as 3t_migrate, so that
-- the application itself needs no right to change a table.
GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON `3t`.* TO '3t_app'@'%';
GRANT ALL PRIVILEGES ON `3t`.* TO '3t_migrate'@'%';
FLUSH PRIVILEGES;
