from . import gpu as gpu
from .config import Config as Config
from .config import load_config as load_config
from .run.functional import execute as execute
from .run.simulate import Run as Run
from .run.simulate import simulate as simulate
from .run.verify import verify as verify
