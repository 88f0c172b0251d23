"""A discrete-event model of GSCN, a sparse convolution accelerator, and the GPU beside it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
