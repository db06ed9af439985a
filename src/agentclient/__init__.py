"""Talks to any running SSH agent, blocking (`client`) or under asyncio (`aio`)."""
