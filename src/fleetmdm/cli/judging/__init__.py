"""Judging the fleet and showing what came of it: `check` and `report`."""
