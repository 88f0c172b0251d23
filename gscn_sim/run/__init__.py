"""The road from a trace to records, and what goes along it."""
