"""One process of the load: its clients, its event loop, and the check of what came back."""
