"""Where and how to compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def find_device(accelerator: str) -> torch.device:
    """Turn "auto", "cpu", "cuda", "mps", "cuda:1", ... into a device; "auto" takes an accelerator where there is one."""
    present = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator == "auto":
        return present or torch.device("cpu")
    try:
        device = torch.device(accelerator)
    except RuntimeError:
        device = None
    available = ["auto", "cpu", *([present.type] if present else [])]
    if device is None or device.type not in available:
        raise ValueError(f"accelerator {accelerator!r} is not available; this machine has {', '.join(available)}.")
    return device


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Compute float32 matrix products on the CPU with oneDNN, where it still computes in float32.

    With AMX it would round to bfloat16. Torch's setting is global, so it is restored; on a GPU it would allow TF32.
    """
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller chose a precision with torch's newer settings, which do not mix with this one
        before = "chosen"
    has_fast_float32 = torch.backends.cpu.get_cpu_capability() == "AVX512" and not torch.cpu._is_amx_tile_supported()
    if before != "highest" or not has_fast_float32 or torch.cuda.is_available():
        yield
        return
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
