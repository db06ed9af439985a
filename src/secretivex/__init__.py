"""SecretiveX: a high-throughput SSH agent with pluggable key stores."""
