"""Commands that fill the store and show what is in it."""
