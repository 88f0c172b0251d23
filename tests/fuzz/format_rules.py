"""Is this a trace? By docs/reference/trace-format.md alone, not by the package."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

TOP_1 = {
    *("format", "schema_version", "network", "dataset", "batch_size", "epoch", "iteration"),
    *("reuse_sparsity", "reuse_sparsity_reached", "loss", "seed", "versions", "layers"),
}
TOP_2 = {*TOP_1, "method", "step"}
RECORD_1 = {"name", "iteration", "samples", "input_gradient", "shape", "masks", "values"}
RECORD_2 = {*RECORD_1, "kind", "weight_gradient", "batch_size", "extra_phases"}
STEP = {
    *("network", "batch_size", "input_shapes", "optimizer", "synchronisations", "left_out"),
    *("versions", "member", "size_bytes", "operations"),
}
OPERATION = {
    *("phase", "kind", "name", "module", "use", "inputs", "outputs", "layer", "macs"),
    *("depends_on", "attributes", "priced", "layer_phase"),
}
PHASES = {"forward", "dgrad", "wgrad", "pre_dgrad", "pre_wgrad"}
STEP_PHASES = {"forward", "backward", "optimizer"}
KINDS = {
    *("convolution", "matmul", "normalisation", "activation", "addition", "pooling", "loss"),
    *("resprop", "optimizer", "cast", "other"),
}
SIZES = ("C", "H", "W", "K", "R", "S", "groups")
PAIRS = ("stride", "padding", "dilation")
OPERANDS = {"activation", "gradient", "weight"}
DTYPES = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "float32", "float64",
}  # fmt: skip
STEP_DTYPES = {
    *DTYPES, "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
    "complex32", "complex64", "complex128",
}  # fmt: skip


def is_trace(metadata: Any, arrays: dict[str, np.ndarray]) -> bool:
    """Whether metadata and members keep every rule of the page."""
    if not isinstance(metadata, dict) or not whole(metadata.get("schema_version"), 1, 2):
        return False
    version = metadata["schema_version"]
    if set(metadata) != (TOP_1 if version == 1 else TOP_2):
        return False
    m = metadata
    fine = (
        m["format"] == "gscn-trace"
        and (m.get("method") is None or label(m["method"]))
        and label(m["network"])
        and (m["dataset"] is None or label(m["dataset"]))
        and whole(m["batch_size"], 1)
        and all(m[k] is None or whole(m[k], 0) for k in ("epoch", "iteration", "seed"))
        and all(
            m[k] is None or number(m[k], 0, 1) for k in ("reuse_sparsity", "reuse_sparsity_reached")
        )
        and (m["loss"] is None or number(m["loss"], -math.inf, math.inf))
        and isinstance(m["versions"], dict)
        and all(label(k) and label(v) for k, v in m["versions"].items())
        and isinstance(m["layers"], list)
        and len(m["layers"]) > 0
    )
    if not fine:
        return False
    used: list[str] = []
    names = set()
    for record in m["layers"]:
        if not is_record(record, version, m["batch_size"], arrays, used):
            return False
        names.add((record["iteration"], record["name"]))
    if m.get("step") is not None and not is_step(m["step"], arrays, used):
        return False
    return (
        len(names) == len(m["layers"])
        and len(set(used)) == len(used)
        and set(used) == set(arrays)
        and "metadata" not in used
    )


def is_record(
    r: Any, version: int, batch: int, arrays: dict[str, np.ndarray], used: list[str]
) -> bool:
    """Whether one layer record and its members keep the rules; adds its members to ``used``."""
    if not isinstance(r, dict) or set(r) != (RECORD_1 if version == 1 else RECORD_2):
        return False
    if version == 2:
        extra = r["extra_phases"]
        if not (
            r["kind"] in ("convolution", "matmul")
            and isinstance(r["weight_gradient"], bool)
            and (r["batch_size"] is None or whole(r["batch_size"], 1))
            and isinstance(extra, list)
            and any(
                all(phase in (f"{when}_dgrad", f"{when}_wgrad") for phase in extra)
                for when in ("pre", "post")
            )
            and len(set(extra)) == len(extra)
            and not (extra and r["kind"] == "matmul")
        ):
            return False
        batch = batch if r["batch_size"] is None else r["batch_size"]
    if not (
        label(r["name"])
        and whole(r["iteration"], 0)
        and whole(r["samples"], 1, batch)
        and isinstance(r["input_gradient"], bool)
    ):
        return False
    shapes = operand_shapes(r["shape"], r["samples"], r.get("kind") == "matmul")
    masks, values = r["masks"], r["values"]
    if shapes is None or not isinstance(masks, dict) or not isinstance(values, dict):
        return False
    if not (set(masks) <= OPERANDS and set(values) <= OPERANDS and set(masks) - {"weight"}):
        return False
    bits: dict[str, np.ndarray] = {}
    for operand, member in masks.items():
        if not label(member) or member not in arrays:
            return False
        used.append(member)
        count = math.prod(shapes[operand])
        packed = arrays[member]
        if count > 2**32 or packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
            return False
        every = np.unpackbits(packed)
        if every[count:].any():
            return False
        bits[operand] = every[:count].reshape(shapes[operand])
    for operand, stored in values.items():
        if not isinstance(stored, dict) or set(stored) != {"member", "dtype"}:
            return False
        if not isinstance(stored["dtype"], str) or stored["dtype"] not in DTYPES:
            return False
        if not label(stored["member"]) or stored["member"] not in arrays:
            return False
        if operand != "weight" and operand not in masks:
            return False
        used.append(stored["member"])
        array = arrays[stored["member"]]
        if array.dtype.str.lstrip("<=|") != np.dtype(stored["dtype"]).str.lstrip("<=|"):
            return False
        if array.shape != shapes[operand] or not array.flags.c_contiguous:
            return False
        if not np.isfinite(array.astype(np.float64)).all():
            return False
        if ((array != 0) != bits.get(operand, np.ones(array.shape, np.uint8))).any():
            return False
    return True


def is_step(s: Any, arrays: dict[str, np.ndarray], used: list[str]) -> bool:
    """Whether the step and its member keep the rules; adds the member to ``used``."""
    if not isinstance(s, dict) or set(s) != STEP:
        return False
    shapes = s["input_shapes"]
    fine = (
        label(s["network"])
        and label(s["optimizer"])
        and whole(s["batch_size"], 1)
        and whole(s["synchronisations"], 0)
        and isinstance(shapes, list)
        and all(isinstance(shape, list) and all(whole(n, 0) for n in shape) for shape in shapes)
        and isinstance(s["left_out"], dict)
        and all(label(k) and whole(v, 0) for k, v in s["left_out"].items())
        and isinstance(s["versions"], dict)
        and all(label(k) and label(v) for k, v in s["versions"].items())
        and label(s["member"])
        and s["member"] in arrays
        and whole(s["size_bytes"], 1, 2**25)
        and whole(s["operations"], 1, 2**25)
    )
    if not fine:
        return False
    used.append(s["member"])
    text = arrays[s["member"]]
    if text.dtype != np.uint8 or text.shape != (s["size_bytes"],):
        return False
    try:
        listed = json.loads(bytes(text))
    except ValueError:
        return False
    return (
        isinstance(listed, list)
        and len(listed) == s["operations"]
        and all(is_operation(o, i) for i, o in enumerate(listed))
    )


def is_operation(o: Any, position: int) -> bool:
    """Whether one operation of a step keeps the rules."""
    if not isinstance(o, dict) or not {"phase", "kind", "name"} <= set(o) <= OPERATION:
        return False
    module, layer = o.get("module", ""), o.get("layer")
    return (
        isinstance(o["phase"], str)
        and o["phase"] in STEP_PHASES
        and isinstance(o["kind"], str)
        and o["kind"] in KINDS
        and label(o["name"])
        and (module == "" or label(module))
        and whole(o.get("use", 1), 1)
        and whole(o.get("macs", 0), 0)
        and isinstance(o.get("priced", True), bool)
        and isinstance(o.get("attributes", {}), dict)
        and (layer is None or operand_shapes(layer, 1, False) is not None)
        and (o.get("layer_phase") is None or o["layer_phase"] in list(PHASES))
        and isinstance(o.get("depends_on", []), list)
        and all(whole(i, 0, position - 1) for i in o.get("depends_on", []))
        and all(is_tensors(o.get(key, [])) for key in ("inputs", "outputs"))
    )


def is_tensors(listed: Any) -> bool:
    """Whether these are tensors that an operation reads or writes."""
    return isinstance(listed, list) and all(
        isinstance(t, list)
        and len(t) == 4
        and whole(t[0], 0)
        and isinstance(t[1], str)
        and t[1] in STEP_DTYPES
        and isinstance(t[2], list)
        and len(t[2]) <= 64
        and all(whole(n, 0) for n in t[2])
        and whole(t[3], 0)
        for t in listed
    )


def operand_shapes(shape: Any, n: int, matmul: bool) -> dict[str, tuple[int, ...]] | None:
    """The shape of each operand, None if no convolution, or matmul, has this shape."""
    if not isinstance(shape, dict) or set(shape) != {*SIZES, *PAIRS}:
        return None
    if not all(whole(shape[k], 1, 2**24) for k in SIZES):
        return None
    for name in PAIRS:
        pair = shape[name]
        if not isinstance(pair, list) or len(pair) != 2:
            return None
        if not all(whole(v, 0 if name == "padding" else 1, 2**24) for v in pair):
            return None
    c, h, w, k, r, s, groups = (shape[name] for name in SIZES)
    (sh, sw), (ph, pw), (dh, dw) = (shape[name] for name in PAIRS)
    p = (h + 2 * ph - dh * (r - 1) - 1) // sh + 1
    q = (w + 2 * pw - dw * (s - 1) - 1) // sw + 1
    if c % groups or k % groups or p < 1 or q < 1:
        return None
    if matmul and ((w, r, s), (sh, sw), (ph, pw), (dh, dw)) != ((1,) * 3, (1, 1), (0, 0), (1, 1)):
        return None
    return {
        "activation": (n, c, h, w),
        "gradient": (n, k, p, q),
        "weight": (k * n if matmul else k, c // groups, r, s),
    }


def whole(value: Any, low: int, high: int = 2**63 - 1) -> bool:
    """Whether it is an int, and no bool, in a range."""
    return type(value) is int and low <= value <= high


def number(value: Any, low: float, high: float) -> bool:
    """Whether it is a finite number in a range."""
    if type(value) not in (int, float):
        return False
    try:
        return math.isfinite(float(value)) and low <= value <= high
    except OverflowError:
        return False


def label(value: Any) -> bool:
    """Whether it is 1 to 200 printable characters."""
    return isinstance(value, str) and 1 <= len(value) <= 200 and value.isprintable()
