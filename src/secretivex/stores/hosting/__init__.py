"""Stores in processes of their own: what one of them does to itself, it does to no other."""
