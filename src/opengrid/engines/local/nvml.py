"""NVIDIA's management library through ctypes: which GPUs this host has, and who uses them."""

from __future__ import annotations

import ctypes
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


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t, as of nvmlDeviceGetComputeRunningProcesses_v3."""

    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used_memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


def gpus(library: str | None = None) -> list[Gpu]:
    """Return this host's GPUs in NVML's order; none when there is no driver. `library` names another .so."""
    try:
        nvml = ctypes.CDLL(library or _LIBRARY)
    except OSError:
        return []
    if nvml.nvmlInit_v2() != 0:
        return []
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        return [_gpu(nvml, index) for index in range(count.value)]
    finally:
        nvml.nvmlShutdown()


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
