"""What the pages show, read from the store: functions of a connection that return JSON values."""
