"""Compiling kernels: as numba does, with files that carry a digest of their content.

The digest is bound to the function, its signature, the processor and all sources, and is checked
before the content is unpickled: damaged or moved code is compiled again. Where the files lie is
decided in :mod:`gscn_sim.kernels.place`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import pickle
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.environment import Environment, lookup_environment
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps
from numba.core.types import unliteral

from gscn_sim.kernels import compiling
from gscn_sim.kernels.place import SOURCES, code_folders, sources_digest
from workloads.files import read_regular

MAX_CODE_BYTES = 1 << 28
DIGEST_BYTES = 32


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """As numba's ``njit``, with ``cache=True`` as this module says.

    Kernels of other packages that call ours must use it too, as ours are compiled into them.
    """
    cache = options.pop("cache", False)

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        _forget_literals(dispatcher)
        if cache and hasattr(dispatcher, "_cache"):  # not with NUMBA_DISABLE_JIT
            dispatcher._cache = _CodeCache(function)
        return dispatcher

    return compiled


def _forget_literals(dispatcher: Any) -> None:
    """Compile for the types of what other kernels pass, never for the value of a literal.

    As numba finds types, a variable that begins as 0 is a literal first and a number later: nearly
    every kernel that others call would be compiled twice, once for nothing.
    """
    if not hasattr(dispatcher, "get_call_template"):  # with NUMBA_DISABLE_JIT
        return
    template = dispatcher.get_call_template

    def of_types(args: Any, kws: Any) -> Any:
        return template(
            tuple(unliteral(each) for each in args),
            {name: unliteral(each) for name, each in kws.items()},
        )

    dispatcher.get_call_template = of_types


class _Reduced(CompileResultCacheImpl):
    """How compiled code is taken apart and put together; it has no place of its own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = self
        self._py_file = function.__code__.co_filename


class _Unpickler(pickle.Unpickler):
    """Puts compiled code together without the modules that only its compilation needed."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numba.core.environment", "_rebuild_env"):
            return _environment
        return super().find_class(module, name)


def _environment(module: str, constants: list[Any], name: str) -> Environment:
    """The constants of a compiled function; as numba's own, but that it imports no module.

    A function of numba's that was compiled into a kernel names its module, for the globals of code
    that runs in Python. Ours has none, and the module takes as long to import as all of pandas.
    """
    if (known := lookup_environment(name)) is not None:
        return known
    home = sys.modules.get(module)
    made = Environment({"__name__": module} if home is None else home.__dict__)
    made.consts[:] = constants
    made.env_name = name
    Environment._memo[name] = made
    return made


class _CodeCache(FunctionCache):
    """The compiled versions of one function, in the folders that this module chooses."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._short_name = function.__name__
        self._py_func = function
        self._impl = _Reduced(function)
        source = Path(function.__code__.co_filename)
        # Kernels of others depend on ours, and on the sources beside them.
        self._folders = {SOURCES, source.parent}
        self.enable()

    @property
    def cache_path(self) -> str:
        return str(code_folders()[1])

    def flush(self) -> None:
        for path in code_folders()[1].glob(f"{self._name}-*"):
            path.unlink(missing_ok=True)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not self._enabled:
            return None
        rtsys.initialize(target_context)  # all that numba's refresh() does for finished code
        name, identity = self._identity(sig, target_context.codegen())
        for folder in code_folders()[0]:
            with contextlib.suppress(OSError):
                content = read_regular(folder / name, MAX_CODE_BYTES)
                code = memoryview(content)[DIGEST_BYTES:]
                if content[:DIGEST_BYTES] == _digest(identity, code):
                    return self._impl.rebuild(target_context, _Unpickler(io.BytesIO(code)).load())
        compiling.begin(self._short_name)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        compiling.end(self._short_name)
        if not self._enabled or not self._impl.check_cachable(data):
            return
        name, identity = self._identity(sig, data.codegen)
        code = dumps(self._impl.reduce(data))
        path = code_folders()[1] / name
        temporary = path.with_name(f"{name}.{secrets.token_hex(6)}.tmp")
        try:  # compiled code is used all the same where it cannot be kept
            temporary.write_bytes(_digest(identity, code) + code)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _identity(self, sig: Any, codegen: Any) -> tuple[str, str]:
        """The file's name, and what its content's digest is bound to."""
        key = self._index_key(sig, codegen)
        digests = sorted(_known_digest(folder) for folder in self._folders)
        identity = repr((self._name, digests, key))
        return f"{self._name}-{hashlib.sha256(identity.encode()).hexdigest()[:32]}", identity


@functools.cache
def _known_digest(sources: Path) -> str:
    return sources_digest(sources)


def _digest(identity: str, code: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(b"gscn-sim compiled 1\0" + identity.encode() + b"\0")
    digest.update(code)
    return digest.digest()
