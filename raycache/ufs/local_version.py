"""What tells one content of a local file from another: its etag, made of what the system says of the file.

It holds the time of modification, the inode and the inode's ctime, in hexadecimal. Times of modification repeat: tar, rsync,
nix and images of containers set them, often to 0. The ctime is the system's own and set by nobody; whoever replaces a file
within one tick of its clock has another inode. So a file that was replaced or written is another version, whatever its size
and time say.

What else changes the ctime (chmod, chown, rename, a hard link made or removed) makes another version, too: the file is loaded
again, which costs time and nothing else.

On disks that several machines share (NFS, Lustre, CephFS) inode and times are the server's, alike on all of them. Where a
mount makes its inode numbers up (FUSE, CIFS, 9p), they differ between machines, and are left out. A directory that is copied
to each machine is not one lake: ctimes differ, and every machine has versions of its own. Mount it on each machine under
another path, or share it.
"""

from __future__ import annotations

import functools
import os

_MADE_UP_INODES = ("fuse", "cifs", "smb", "9p")
_MOUNTS_FILE = "/proc/self/mountinfo"


def etag_of(status: os.stat_result) -> str:
    """The etag of a file; never empty."""
    inode = "" if _makes_inodes_up(status.st_dev) else f"{status.st_ino:x}"
    return f"{status.st_mtime_ns:x}-{inode}-{status.st_ctime_ns:x}"


@functools.lru_cache(maxsize=256)
def _makes_inodes_up(device: int) -> bool:
    """Whether the filesystem of a device has inode numbers that mean nothing elsewhere; no where nobody can tell."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS_FILE, encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields = line.split()
                if fields[2] == number:
                    return fields[fields.index("-") + 1].startswith(_MADE_UP_INODES)
    except (OSError, ValueError, IndexError):
        # Not Linux, or another form of this file: inodes are taken for what they are on every local filesystem.
        return False
    return False
