"""Where the fleet is kept: the port in domain words, and one implementation a file."""
