"""Design-space exploration: spaces, searches, a store that survives, and answers as tables.

Names are listed in ``__init__.pyi`` and looked up when they are first used, so that a command's
``--help`` loads none of the libraries behind them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
