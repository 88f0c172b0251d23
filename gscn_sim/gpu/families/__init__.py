"""The algorithm families; importing this registers those that ship with the package."""

from gscn_sim.gpu.families import direct as direct
from gscn_sim.gpu.families import hopper_fp32 as hopper_fp32
from gscn_sim.gpu.families import tensor_core as tensor_core
from gscn_sim.gpu.families import transforms as transforms
from gscn_sim.gpu.families.base import Algorithm as Algorithm
from gscn_sim.gpu.families.base import Cost as Cost
from gscn_sim.gpu.families.base import families as families
from gscn_sim.gpu.families.base import family as family
