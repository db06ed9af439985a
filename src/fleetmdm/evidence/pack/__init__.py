"""Writing a pack: its documents, its folder, and the export that fills it from the store."""
