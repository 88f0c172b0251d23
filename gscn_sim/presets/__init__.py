"""Published and reconstructed designs, one TOML file each; ``dram/`` holds memory presets."""
