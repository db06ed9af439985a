"""`secretive-agent` without a sub-command: the command line of ssh-agent(1)."""
