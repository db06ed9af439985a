"""What people decide: assignments, waivers and attestations."""
