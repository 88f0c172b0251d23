"""Published and reconstructed designs, one TOML file each."""
