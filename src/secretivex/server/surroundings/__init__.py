"""What a server has around it: the service manager, the configuration, signals, the audit log."""
