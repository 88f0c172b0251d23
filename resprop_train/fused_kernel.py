"""The kernel of :mod:`resprop_train.fused`; importing this needs Triton."""

# Triton reads the source of the function: no annotations, and its own arithmetic only.
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def delta_kernel(
    gradient,
    reused,
    threshold,
    out,
    count,
    size,
    sample_size,
    HAS_REUSED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One block of elements in memory order; the count is added up over blocks."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    value = tl.load(gradient + place, mask=inside, other=0.0)
    if HAS_REUSED:
        shared = tl.load(reused + place % sample_size, mask=inside, other=0.0)
        # Rounded to the gradient's own type before it is compared, as in separate operations.
        value = (value.to(tl.float32) - shared.to(tl.float32)).to(value.dtype)
    limit = tl.load(threshold).to(tl.float32)
    dropped = tl.abs(value.to(tl.float32)) <= limit  # what is no number stays
    value = tl.where(dropped, 0.0, value.to(tl.float32)).to(value.dtype)
    tl.store(out + place, value, mask=inside)
    kept = tl.where(dropped, 0, 1) * inside.to(tl.int32)
    tl.atomic_add(count, tl.sum(kept).to(tl.int64))
