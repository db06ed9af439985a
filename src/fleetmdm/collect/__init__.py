"""Inventory over SSH fan-out, through any agent."""
