"""What runs in a worker: accepting, connections, signing, and the process around them."""
