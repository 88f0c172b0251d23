"""Pictures of results: one self-contained HTML page, or static figures for papers."""
