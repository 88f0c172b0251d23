"""A whole training step: every operation, on the machine and beside it."""
