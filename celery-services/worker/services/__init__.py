"""The use cases that the tasks call: functions of ports and settings."""
