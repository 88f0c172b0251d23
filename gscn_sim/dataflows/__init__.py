"""Which pairs of non-zeros a phase forms, and what that costs."""
