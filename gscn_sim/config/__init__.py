"""The configuration of one machine: sections, validation, presets, files and overrides."""

from gscn_sim.config.loader import dump_toml, load_config, preset_names
from gscn_sim.config.sections import (
    ArrayConfig,
    BufferConfig,
    Config,
    DataflowConfig,
    DrainConfig,
    DramConfig,
    MappingConfig,
    NetworkConfig,
    PeConfig,
    PolicyConfig,
)

__all__ = [
    "ArrayConfig",
    "BufferConfig",
    "Config",
    "DataflowConfig",
    "DrainConfig",
    "DramConfig",
    "MappingConfig",
    "NetworkConfig",
    "PeConfig",
    "PolicyConfig",
    "dump_toml",
    "load_config",
    "preset_names",
]
