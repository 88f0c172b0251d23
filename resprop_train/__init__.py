"""ReSprop training in PyTorch, and the recorder that turns it into traces.

``convert`` makes any model train with ReSprop, ``record`` writes a trace of the steps inside a
``with`` block.

Names are listed in ``__init__.pyi`` and looked up when they are first used, so that a command's
``--help`` loads none of the libraries behind them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
