"""FleetMDM: local-first compliance with evidence that anyone can verify."""
