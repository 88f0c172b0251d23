"""The machine as SimPy processes and resources, one component a file."""
