"""Files of which there is one: who writes first has it."""

import errno
import os
import uuid
from pathlib import Path

from stages.media import storage
from stages.media.remote import persist

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}
"""What file systems without hard links answer (SMB, FUSE, FAT)."""


def create(url: str, data: bytes) -> bool:
    """Write a file that is not there yet; of all who try at once one succeeds. Whether it was this call, or an earlier
    one with the same `data`: a put that arrived although its answer was lost is tried again.

    Locally a link to a whole file (on NFS too), with O_EXCL where there are no links; `If-None-Match: *` on S3, and
    what Google's and Azure's storage have for it.
    """
    if storage.is_local(url):
        target = storage.local_path(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _link(target, data) or target.read_bytes() == data
        except FileNotFoundError:  # given up in between
            return False
    fs, path = storage.file_system(url)
    try:
        with storage.naming_the_bucket(url):
            persist(url, lambda: fs.pipe_file(path, data, mode="create"))
    except FileExistsError:
        try:
            return persist(url, lambda: bytes(fs.cat_file(path))) == data
        except FileNotFoundError:  # given up in between
            return False
    return True


def _link(target: Path, data: bytes) -> bool:
    """Create a local file with its content at once; whether it was not there."""
    own = target.parent / f".{uuid.uuid4().hex}.partial"
    try:
        own.write_bytes(data)
        try:
            os.link(own, target)
        except FileExistsError:
            return False
        except OSError as error:
            if own.stat().st_nlink == 2:  # NFS: the answer was lost, the link is there
                return True
            if error.errno not in _NO_LINKS:
                raise
            try:
                with target.open("xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
        return True
    finally:
        own.unlink(missing_ok=True)
