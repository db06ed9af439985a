"""What is known of a request beside its key: the path it came by, and the data to be signed."""
