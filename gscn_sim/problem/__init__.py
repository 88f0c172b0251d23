"""What is to be computed: the geometry of a phase, and its operands."""
