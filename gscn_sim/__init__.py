"""A discrete-event model of GSCN, a sparse convolution accelerator, and the GPU beside it."""
