"""What a run found: records, energy, tables, timeline, where it came from."""
