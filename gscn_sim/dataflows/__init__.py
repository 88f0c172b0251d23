"""Which pairs of non-zeros a phase forms, what that costs, how values flow: a file each."""
