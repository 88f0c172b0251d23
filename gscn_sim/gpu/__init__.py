"""What a named GPU needs for the same convolutions."""
