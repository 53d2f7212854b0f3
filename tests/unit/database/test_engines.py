"""Where an SQLite file lies is known, and a network file system is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.database.engines import file_system_of

MOUNTS = """\
/dev/vda1 / ext4 rw,relatime 0 0
10.0.0.1:/export /mnt/shared nfs4 rw,vers=4.2 0 0
tmpfs /mnt/shared/inner tmpfs rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
/dev/vda1 /twice ext4 rw 0 0
10.0.0.1:/b /twice nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/ledger.sqlite3", "ext4"),
        ("/mnt/shared/ledger.sqlite3", "nfs4"),
        ("/mnt/shared/deep/er/ledger.sqlite3", "nfs4"),
        ("/mnt/shared/inner/ledger.sqlite3", "tmpfs"),
        ("/mnt/sharedother/ledger.sqlite3", "ext4"),
        ("/mnt/with space/ledger.sqlite3", "cifs"),
        ("/twice/ledger.sqlite3", "nfs"),  # the later mount hides the earlier one
    ],
)
def test_the_innermost_mount_counts(path, kind):
    assert file_system_of(Path(path), MOUNTS) == kind


def test_without_a_list_of_mounts_nothing_is_known():
    assert file_system_of(Path("/var/x"), "") is None
