"""Root becomes the owner of a folder, so that it leaves nothing there that the owner can't write."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Final

CAP_DAC_READ_SEARCH: Final = 1 << 2
CAPABILITY_VERSION_3: Final = 0x20080522


def become_owner(folder: Path) -> None:
    """Go on as the folder's owner and group; others than root stay who they are. Raises OSError."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    # systemd keeps the folder of a service with DynamicUser= below /var/lib/private, which nobody but
    # root can pass, not even to what is theirs.
    if not os.access(folder, os.X_OK, effective_ids=True):
        _keep_the_right_to_pass()


def _keep_the_right_to_pass() -> None:
    """Keep from root's rights, which the new user id put aside, the one to look into any folder."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    effective, permitted, inheritable = CAP_DAC_READ_SEARCH, CAP_DAC_READ_SEARCH, 0
    words = struct.pack("=6I", effective, permitted, inheritable, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, words) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"capset(2): {os.strerror(error)}")
