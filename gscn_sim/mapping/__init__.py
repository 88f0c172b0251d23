"""How a layer-phase is split over the PEs and over time."""
