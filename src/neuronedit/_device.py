"""Where and how to compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

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


class _FastMatmul:
    """Who computes with fast products at the moment: torch's setting is that of all threads."""

    def __init__(self) -> None:
        self.lock, self.n_users, self.before = Lock(), 0, ""

    def enter(self) -> bool:
        """Change torch's setting for the first user, where that is right; return whether there is one to leave."""
        with self.lock:
            if not self.n_users:
                before = _read_matmul_precision()
                has_fast_float32 = _cpu_has_fast_float32()
                if before != "highest" or not has_fast_float32 or torch.cuda.is_available():
                    return False
                torch.set_float32_matmul_precision("medium")
                self.before = before
            self.n_users += 1
            return True

    def leave(self) -> None:
        """Restore torch's setting after the last user."""
        with self.lock:
            self.n_users -= 1
            if not self.n_users:
                torch.set_float32_matmul_precision(self.before)


_FAST_MATMUL = _FastMatmul()


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Compute float32 matrix products on the CPU with oneDNN, where it still computes in float32.

    With AMX it would round to bfloat16. On a GPU it would allow TF32. Torch's setting is that of all threads, so it is restored when
    the last thread leaves; and all public functions that compute are within it, as another thread may be at any moment: else
    their last bits would depend on it.
    """
    has_entered = _FAST_MATMUL.enter()
    try:
        yield
    finally:
        if has_entered:
            _FAST_MATMUL.leave()


def _read_matmul_precision() -> str:
    """Return torch's setting, "chosen" where the caller chose one with torch's newer settings, which do not mix with this one."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "chosen"


def _cpu_has_fast_float32() -> bool:
    """Return whether oneDNN is fast here, and does not round to bfloat16."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and not torch.cpu._is_amx_tile_supported()
