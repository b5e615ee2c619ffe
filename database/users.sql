-- After database/init.sql: the reader of dashboards, the server's exporter, and passwords as secrets.yml has them now. Safe to run again.
SET @statement = CONCAT('CREATE USER IF NOT EXISTS ''3t_reader''@''%'' IDENTIFIED BY ', QUOTE(@reader_password));
PREPARE create_reader FROM @statement;
EXECUTE create_reader;
DEALLOCATE PREPARE create_reader;

GRANT SELECT ON `3t`.* TO '3t_reader'@'%';

SET @statement = CONCAT('ALTER USER ''3t_app''@''%'' IDENTIFIED BY ', QUOTE(@app_password));
PREPARE alter_app FROM @statement;
EXECUTE alter_app;
DEALLOCATE PREPARE alter_app;

SET @statement = CONCAT('ALTER USER ''3t_migrate''@''%'' IDENTIFIED BY ', QUOTE(@migrate_password));
PREPARE alter_migrate FROM @statement;
EXECUTE alter_migrate;
DEALLOCATE PREPARE alter_migrate;

SET @statement = CONCAT('ALTER USER ''3t_reader''@''%'' IDENTIFIED BY ', QUOTE(@reader_password));
PREPARE alter_reader FROM @statement;
EXECUTE alter_reader;
DEALLOCATE PREPARE alter_reader;

-- The server's own counters need PROCESS and nothing else: it reads no table of ours.
SET @statement = CONCAT('CREATE USER IF NOT EXISTS ''3t_exporter''@''%'' IDENTIFIED BY ', QUOTE(@exporter_password), ' WITH MAX_USER_CONNECTIONS 3');
PREPARE create_exporter FROM @statement;
EXECUTE create_exporter;
DEALLOCATE PREPARE create_exporter;

GRANT PROCESS ON *.* TO '3t_exporter'@'%';

SET @statement = CONCAT('ALTER USER ''3t_exporter''@''%'' IDENTIFIED BY ', QUOTE(@exporter_password));
PREPARE alter_exporter FROM @statement;
EXECUTE alter_exporter;
DEALLOCATE PREPARE alter_exporter;
