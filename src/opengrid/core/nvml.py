"""NVIDIA's management library through ctypes: which GPUs this host has, who uses them, and how much."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

_LIBRARY = "libnvidia-ml.so.1"
_NAME_BYTES, _UUID_BYTES, _MAX_PROCESSES = 96, 96, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU of this host."""

    index: int
    uuid: str
    name: str
    memory_mib: int
    pids: tuple[int, ...]  #: processes with a context on it, of any user


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class _Utilization(ctypes.Structure):
    """nvmlUtilization_t: % of the time since the last look in which a kernel ran, and memory was read or written."""

    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t, as of nvmlDeviceGetComputeRunningProcesses_v3."""

    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used_memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """How much a GPU is used now; None: it does not tell."""

    use: int | None  #: % of the time in which something ran on it
    memory: int | None  #: bytes in use


class Meter:
    """Measures some of this host's GPUs again and again; all answers are empty where there is no driver."""

    def __init__(self, names: Sequence[str], library: str | None = None) -> None:
        """Open the driver; GPUs are named by UUID, or by their number."""
        self._nvml = _load(library) if names else None
        self._handles = [self._handle(name) for name in names]

    def read(self) -> list[GpuUse]:
        """Return how much each GPU is used, in the order in which they were named."""
        return [self._use(handle) for handle in self._handles]

    def close(self) -> None:
        """Let the driver go."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
        self._nvml = None

    def _handle(self, name: str) -> ctypes.c_void_p | None:
        if self._nvml is None:
            return None
        handle = ctypes.c_void_p()
        if name.isdecimal():
            failed = self._nvml.nvmlDeviceGetHandleByIndex_v2(int(name), ctypes.byref(handle))
        else:
            failed = self._nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
        return None if failed else handle

    def _use(self, handle: ctypes.c_void_p | None) -> GpuUse:
        if self._nvml is None or handle is None:
            return GpuUse(use=None, memory=None)
        rates, memory = _Utilization(), _Memory()
        has_rates = self._nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(rates)) == 0
        has_memory = self._nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0
        return GpuUse(use=rates.gpu if has_rates else None, memory=memory.used if has_memory else None)


def gpus(library: str | None = None) -> list[Gpu]:
    """Return this host's GPUs in NVML's order; none when there is no driver. `library` names another .so."""
    nvml = _load(library)
    if nvml is None:
        return []
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        return [_gpu(nvml, index) for index in range(count.value)]
    finally:
        nvml.nvmlShutdown()


def _load(library: str | None) -> ctypes.CDLL | None:
    try:
        nvml = ctypes.CDLL(library or _LIBRARY)
    except OSError:
        return None
    return nvml if nvml.nvmlInit_v2() == 0 else None


def _gpu(nvml: ctypes.CDLL, index: int) -> Gpu:
    handle = ctypes.c_void_p()
    nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    name, uuid = ctypes.create_string_buffer(_NAME_BYTES), ctypes.create_string_buffer(_UUID_BYTES)
    nvml.nvmlDeviceGetName(handle, name, _NAME_BYTES)
    nvml.nvmlDeviceGetUUID(handle, uuid, _UUID_BYTES)
    memory = _Memory()
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    running, processes = ctypes.c_uint(_MAX_PROCESSES), (_Process * _MAX_PROCESSES)()
    if nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle, ctypes.byref(running), processes) != 0:
        running.value = 0
    return Gpu(
        index=index,
        uuid=uuid.value.decode(),
        name=name.value.decode(),
        memory_mib=memory.total // 2**20,
        pids=tuple(processes[i].pid for i in range(running.value)),
    )
