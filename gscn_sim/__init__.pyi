from . import gpu as gpu
from .api import Run as Run
from .api import execute as execute
from .api import simulate as simulate
from .api import verify as verify
from .config import Config as Config
from .config import load_config as load_config
