"""Lower bounds: what no plan and no rule of a machine can be below, without forming a product.

One layer-phase at a time: what must be done whatever the plan (:mod:`gscn_sim.bounds.work`) over
what a machine can do at best (:mod:`gscn_sim.bounds.machine`), one bound after another
(:mod:`gscn_sim.bounds.cycles`). All of it takes one machine, or many at once: then a field of the
machine is an array with an element each.
"""
