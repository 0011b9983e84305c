"""Files that are either absent or whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tilth.core.errors import NoSpace, TilthError

__all__ = ["no_space", "write_atomic"]


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is either absent or whole: temporary name, fsync, rename.

    Raises:
        NoSpace: when the disk is full; nothing half-written stays under the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with no_space(path):
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def no_space(path: Path) -> Iterator[None]:
    """Turn 'disk full', however a library words it, into one clear error."""
    try:
        yield
    except TilthError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in str(error) or "StorageFull" in str(error):
            raise NoSpace(
                f"The disk that holds {path} is full. What was finished is kept: free some space and run the "
                f"same command again to resume."
            ) from error
        raise
