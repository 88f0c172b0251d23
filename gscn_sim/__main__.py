"""``python -m gscn_sim``: the ``gscn-sim`` command."""

from gscn_sim.cli import main

main(prog_name="gscn-sim")
