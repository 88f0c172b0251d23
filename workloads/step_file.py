"""Steps in files of their own, those of well-known networks too, and steps put into traces."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from typing import Any, NoReturn

from workloads.archive import MAX_STEP_BYTES
from workloads.errors import TraceError, one_line, reason
from workloads.files import atomic_file, read_regular
from workloads.phase import Phase
from workloads.reader import load
from workloads.records import canonical_json, check_keys, parse_json, shown
from workloads.shape import LayerShape
from workloads.step import Step
from workloads.step_json import (
    HEADER,
    header_from_json,
    header_json,
    operations_from_json,
    operations_json,
)
from workloads.trace import Trace
from workloads.writer import save

FORMAT = "gscn-step"
SCHEMA_VERSION = 1
SHIPPED = "workloads.data.steps"
_GZIP = b"\x1f\x8b"


def save_step(step: Step, path: str | os.PathLike[str]) -> None:
    """Write a step to a file: JSON with a digest of the step, gzipped.

    The file appears whole or not at all.

    Raises:
        TraceError: the file cannot be written.
    """
    header = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "digest": _digest(step)}
    text = canonical_json(header)[:-1] + b"," + _content(step)[1:]
    try:
        with atomic_file(path) as file:
            file.write(gzip.compress(text, mtime=0))
    except (OSError, ValueError) as error:
        raise TraceError(f"{one_line(path)}: cannot write step: {reason(error)}") from None


def load_step(path: str | os.PathLike[str]) -> Step:
    """Return the step in a file, gzipped or plain JSON.

    Files of version 0.2 have no digest; whoever edits one deletes it.

    Raises:
        TraceError: one line that names the file and what was expected there.
    """
    where = one_line(os.fspath(path))

    def fail(message: str) -> NoReturn:
        raise TraceError(f"{where}: {message}")

    try:
        content = read_regular(path, MAX_STEP_BYTES)
        if content.startswith(_GZIP):
            unpacker = zlib.decompressobj(wbits=31)
            content = unpacker.decompress(content, MAX_STEP_BYTES + 1)
            if len(content) <= MAX_STEP_BYTES and (not unpacker.eof or unpacker.unused_data):
                fail("expected a step, whole and nothing else")
        if len(content) > MAX_STEP_BYTES:
            fail(f"expected a step of at most {MAX_STEP_BYTES} bytes")
        obj = parse_json(content)
    except FileNotFoundError:
        fail("no such file")
    except OSError as error:
        fail(f"cannot be read: {reason(error)}")
    except (ValueError, zlib.error, RecursionError) as error:
        fail(f"expected a step (JSON, or that gzipped): {one_line(error)[:200]}")
    try:
        return _parse(obj)
    except TraceError as error:
        fail(str(error))


def _parse(obj: object) -> Step:
    if not isinstance(obj, dict) or obj.get("format") != FORMAT:
        raise TraceError(f"expected an object with format {FORMAT!r}, got {shown(obj)}")
    if obj.get("schema_version") != SCHEMA_VERSION:
        raise TraceError(
            f"schema_version must be {SCHEMA_VERSION}, got {shown(obj.get('schema_version'))}"
        )
    written = obj.pop("digest", None)
    fields = check_keys("step", obj, {"format", "schema_version", "operations", *HEADER})
    header = header_from_json("step", {key: fields[key] for key in HEADER})
    operations = operations_from_json(fields["operations"])
    step = Step(**header.metadata(), operations=operations)
    if written is not None and written != _digest(step):
        raise TraceError(
            "is not the step that was written; if it was changed on purpose, delete its digest"
        )
    return step


def _content(step: Step) -> bytes:
    """The step as JSON."""
    operations = operations_json(step.operations)
    return canonical_json(header_json(step))[:-1] + b',"operations":' + operations + b"}"


def _digest(step: Step) -> str:
    return hashlib.sha256(_content(step)).hexdigest()


def known_steps() -> list[tuple[str, int]]:
    """Network and batch size of the steps that come with the package."""
    found = []
    for entry in resources.files(SHIPPED).iterdir():
        name, _, batch = entry.name.removesuffix(".json.gz").rpartition("_n")
        if entry.name.endswith(".json.gz"):
            found.append((name, int(batch)))
    return sorted(found)


def known_step(network: str, batch_size: int) -> Step:
    """Return the step of a well-known network, as trained with ReSprop on 224x224 and 1000 classes.

    ``resnet8`` at batch 64 is that of the 8x8 digits.

    Raises:
        TraceError: no such step comes with the package.
    """
    if (network, batch_size) not in known_steps():
        known = ", ".join(f"{name} at {batch}" for name, batch in known_steps())
        raise TraceError(
            f"no step of network {network!r} at batch {batch_size} is known; there are {known}. "
            "resprop-train step makes others"
        )
    entry = resources.files(SHIPPED) / f"{network}_n{batch_size}.json.gz"
    with resources.as_file(entry) as path:
        return load_step(path)


def add_step(
    path: str | os.PathLike[str], step: Step, output: str | os.PathLike[str] | None = None
) -> Trace:
    """Put a step into a trace file (or a copy of it), in place of one that is there.

    Raises:
        TraceError: the trace cannot be read or written, or its layers are not those of the step.
    """
    trace = load(path)
    convolutions = [layer for layer in trace.layers if not layer.is_matmul]
    layer_operations(step, [(layer.name, layer.shape) for layer in convolutions])
    stored = {bool(layer.stored_values) for layer in trace.layers}
    if len(stored) > 1:
        raise TraceError(f"{one_line(path)}: all layers or none must have values to be copied")
    target = path if output is None else output
    save(replace(trace, step=step), target, values=stored.pop())
    return load(target)


def sparse_layers(step: Step) -> list[tuple[str, LayerShape]]:
    """Names and shapes of the layers that the step trains sparsely: those with pre-phases.

    Of an ordinary step, which has none, all convolutions. The second use of a module ``conv`` is
    ``conv#2``.
    """
    shapes: dict[tuple[str, int], LayerShape] = {}
    converted: set[tuple[str, int]] = set()
    convolutions: set[tuple[str, int]] = set()
    for operation in step.operations:
        if operation.layer is None or operation.layer_phase is None:
            continue
        key = (operation.module, operation.use)
        shapes.setdefault(key, operation.layer)
        if operation.layer_phase.one_sample:
            converted.add(key)
        if operation.kind == "convolution":
            convolutions.add(key)
    chosen = converted or convolutions
    return [
        (module if use == 1 else f"{module}#{use}", shape)
        for (module, use), shape in shapes.items()
        if (module, use) in chosen
    ]


def layer_operations(
    step: Step, layers: Iterable[tuple[str, LayerShape]]
) -> dict[str, dict[Phase, int]]:
    """Return for each layer record, by name, which operation of the step is which of its phases.

    A record named ``conv#2`` is the second use of the module ``conv``.

    Raises:
        TraceError: a layer that the step lacks, or has with another shape.
    """
    places: dict[tuple[str, int], dict[Phase, int]] = {}
    for position, operation in enumerate(step.operations):
        if operation.layer is not None and operation.layer_phase is not None:
            phases = places.setdefault((operation.module, operation.use), {})
            phases.setdefault(operation.layer_phase, position)
    found: dict[str, dict[Phase, int]] = {}
    for name, shape in layers:
        module, _, use = name.partition("#")
        phases = places.get((module, int(use) if use.isdecimal() else 1), {})
        if not phases:
            raise TraceError(
                f"layer {name!r} is not in the step of {step.network}; trace and step must be of "
                "the same network"
            )
        of_step: Any = step.operations[next(iter(phases.values()))].layer
        if of_step != shape:
            raise TraceError(f"layer {name!r} must be {of_step} as in the step, got {shape}")
        found[name] = phases
    return found
