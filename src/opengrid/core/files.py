"""Files read through, copied and measured: shared where the file system can, holes kept, going on where it was."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

_PIECE = 8 << 20

#: What is read at once to be hashed: it stays in the processor's cache until it is written.
_BLOCK = 512 << 10
_ZEROS = bytes(_BLOCK)

#: What is read by one call, holes or not.
_SMALL = 64 << 10

_FICLONE = 0x40049409

#: What says that a file system, or this pair of them, cannot do it.
_CANNOT = (errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ETXTBSY)

#: How a folder's name ends that is being removed, and how many files may come into it just then.
_GONE, _LAST_FILES = ".gone", 10

#: What says that a file cannot have another name: it has as many as it may, or the file system knows none.
CANNOT_LINK = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP)


def statuses(folder: Path | str) -> Iterator[os.stat_result]:
    """Yield what is known of everything below a folder that is no folder itself; nothing when it is not there."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from statuses(entry.path)
        else:
            yield entry.stat(follow_symlinks=False)


def clone_file(source: Path, target: Path) -> bool:
    """Make `target`, which must not exist, share the blocks of `source` until one is written; False where it cannot."""
    try:
        import fcntl  # not on every system that the command line runs on
    except ImportError:
        return False
    with source.open("rb") as whole, target.open("xb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, whole.fileno())
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        else:
            return True
    target.unlink()
    return False


def copy_file(source: Path, target: Path, progress: Callable[[int], None] | None = None) -> None:
    """Copy what `target` lacks of `source`, both taken to begin alike. Holes stay holes.

    `progress` is called with the number of bytes of every piece.
    """
    with source.open("rb", buffering=0) as file, target.open("ab", buffering=0) as copy:
        done, size = os.fstat(copy.fileno()).st_size, os.fstat(file.fileno()).st_size
        while done < size:
            start, end = _data(file.fileno(), done, size)
            if start > done:
                os.truncate(copy.fileno(), start)
                _tell(progress, start - done)
                done = start
            while done < end:
                file.seek(done)
                piece = file.read(min(_PIECE, end - done))
                if not piece:
                    return  # it became shorter meanwhile
                written = 0
                while written < len(piece):
                    written += copy.write(memoryview(piece)[written:])
                done += len(piece)
                _tell(progress, len(piece))


def copy_open(source: int, target: int) -> None:
    """Copy an open file into an empty one, by the kernel where it can: some file systems then share the blocks.

    Holes stay holes.
    """
    done, size = 0, os.fstat(source).st_size
    while done < size:
        done, end = _data(source, done, size)
        while done < end:
            count = _copy_part(source, target, done, min(end - done, 1 << 30))
            if not count:
                return  # it became shorter meanwhile
            done += count
    if os.fstat(target).st_size < size:
        os.truncate(target, size)  # it ends with a hole


def _copy_part(source: int, target: int, at: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size, at, at)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    piece = os.pread(source, min(size, _PIECE), at)
    _write(target, memoryview(piece), at)
    return len(piece)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, sealed or not; harmless without one, and what was broken off is ended.

    It is gone from its place at once: who writes there meanwhile does not find it any more.
    """
    gone = folder if folder.name.endswith(_GONE) else folder.with_name(folder.name + _GONE)
    _remove_all(gone)  # of one that was broken off
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, gone)
    _remove_all(gone)


def _remove_all(folder: Path) -> None:
    for path, _, _ in os.walk(folder):
        os.chmod(path, stat.S_IRWXU)
    for _ in range(_LAST_FILES):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:  # somebody had found it just before
            if error.errno != errno.ENOTEMPTY:
                raise


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder, as far as they are there while one looks."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(above, name)).st_size
    return total


def read_through(
    source: int, size: int, *, copy: int | None = None, progress: Callable[[int], None] | None = None
) -> str:
    """Return the SHA-256 of the first `size` bytes of an open file, and write to `copy` what that lacks of them.

    Both are taken to begin alike. Holes stay holes. Ends early, with another digest, where the file does. `progress` is
    called with the number of bytes of every piece.
    """
    if size <= _SMALL and copy is None:
        content = os.pread(source, size, 0)
        _tell(progress, len(content))
        return hashlib.sha256(content).hexdigest()
    found, done = hashlib.sha256(), 0
    copied = size if copy is None else os.fstat(copy).st_size
    view = memoryview(bytearray(min(_BLOCK, size)))
    while done < size:
        start, end = _data(source, done, size)
        while done < min(start, size):
            zeros = _ZEROS[: min(start, size) - done]
            found.update(zeros)
            done += len(zeros)
            _tell(progress, len(zeros))
        while done < min(end, size):
            count = os.preadv(source, [view[: min(end, size) - done]], done)
            if not count:
                return found.hexdigest()  # it became shorter meanwhile
            found.update(view[:count])
            if copy is not None and copied < done + count:
                _write(copy, view[max(0, copied - done) : count], max(copied, done))
            done += count
            _tell(progress, count)
    if copy is not None and copied < size:
        os.truncate(copy, size)  # it may end with a hole
    return found.hexdigest()


def file_digest(path: Path | str) -> str:
    """Return the SHA-256 of a file; OSError when it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_through(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: memoryview, at: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, at)
        data, at = data[count:], at + count


def _data(descriptor: int, at: int, size: int) -> tuple[int, int]:
    """Return the next part that is no hole."""
    with contextlib.suppress(OSError, AttributeError):  # a file system, or a system, that knows no holes
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return size, size
            raise
        return start, os.lseek(descriptor, start, os.SEEK_HOLE)
    return at, size


def _tell(progress: Callable[[int], None] | None, size: int) -> None:
    if progress is not None:
        progress(size)
