"""CPU, CUDA and MPS: which there are, which precision each can do, and how much memory is in use."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from lmstudio_app.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bf16")


@dataclass(frozen=True)
class Device:
    name: str  # "cpu", "cuda", "mps"
    title: str  # what a person calls it
    memory: int  # bytes in all


def available_devices() -> list[Device]:
    """Every device that can be used now, the best first. Imports torch."""
    import torch

    found = []
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found.append(Device("cuda", properties.name, properties.total_memory))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU (Metal)", psutil.virtual_memory().total))
    found.append(Device("cpu", f"CPU, {os.cpu_count() or 1} cores", psutil.virtual_memory().total))
    return found


def resolve_device(name: str) -> torch.device:
    """``auto`` is the best there is; a device that is not there is a :class:`UserError`."""
    import torch

    names = [device.name for device in available_devices()]
    if name == "auto":
        return torch.device(names[0])
    if name not in names:
        raise UserError(
            "There is no {name} device here.", "Choose one of: auto, {names}.", name=name, names=", ".join(names)
        )
    return torch.device(name)


def has_fast_bf16(device: torch.device) -> bool:
    """Does bfloat16 arithmetic run in hardware (not emulated, which is slower than float32)?"""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the matrix products: ``auto`` is bfloat16 where the hardware has it, else float32."""
    import torch

    if name not in PRECISIONS:
        raise UserError("Unknown precision {name}.", "Choose one of: {names}.", name=name, names=", ".join(PRECISIONS))
    if name == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32


def memory_in_use(device: torch.device) -> int:
    """Bytes: on a GPU what torch has reserved, on a CPU the resident set of this process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return int(psutil.Process().memory_info().rss)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h> of glibc
_GLIBC_DYNAMIC_LIMIT = 32 << 20  # up to here glibc by itself learns to keep blocks


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the C library keep the large blocks a training frees and asks for again in every step.

    Without this glibc gives each gradient back to the system, and the next step pays for fresh pages (about an eighth
    of a small model's step on a CPU). Everything is given back at the end. Without glibc it does nothing.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _GLIBC_DYNAMIC_LIMIT)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _GLIBC_DYNAMIC_LIMIT)
        libc.malloc_trim(0)


def return_freed_memory() -> None:
    """Let the C library give what was freed back to the system, which glibc does only at the end of its heap."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
