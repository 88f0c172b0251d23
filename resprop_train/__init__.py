"""ReSprop training in PyTorch, and the recorder that turns it into traces."""
