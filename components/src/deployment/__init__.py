"""The container deployment: secrets per service, migration, launchers and health probes."""
