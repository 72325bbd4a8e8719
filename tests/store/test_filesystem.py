"""SQLite files on network file systems are refused; everything else is left to SQLite."""

from pathlib import Path

import pytest

from catp.store.database_sqlite import SqliteDatabase
from catp.store.errors import StoreError
from catp.store.filesystem import refuse_network, system_mounts

MOUNTS = r"""
/dev/vda / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb /home/me/local xfs rw 0 0
//box/share /mnt/the\040share cifs rw 0 0
me@host: /mnt/far fuse.sshfs rw 0 0
tmpfs /tmp tmpfs rw 0 0
overlay /over overlay rw 0 0
fuse-overlayfs /rootless fuse.fuse-overlayfs rw 0 0
server:/x /stack nfs rw 0 0
/dev/sdc /stack ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/home/me/runs.db", "/home, a network file system (nfs4)"),
        ("/home/me/localish/runs.db", "/home, a network file system (nfs4)"),
        ("/mnt/the share/a/runs.db", "/mnt/the share, a network file system (cifs)"),
        ("/mnt/far/runs.db", "/mnt/far, a network file system (fuse.sshfs)"),
    ],
)
def test_network_file_systems_are_refused_with_a_way_out(path: str, mount: str) -> None:
    with pytest.raises(StoreError) as caught:
        refuse_network(Path(path), MOUNTS)
    assert mount in str(caught.value)
    assert path in str(caught.value)
    assert "postgresql://" in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "/home/me/local/runs.db",
        "/tmp/runs.db",
        "/runs.db",
        "/over/x.db",
        "/rootless/x.db",
        "/homer/x.db",
        "/stack/x.db",
    ],
)
def test_local_file_systems_are_not(path: str) -> None:
    refuse_network(Path(path), MOUNTS)
    refuse_network(Path(path), "")


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    with pytest.raises(StoreError, match="nfs"):
        refuse_network(tmp_path / "near" / "runs.db", f"s:/x {tmp_path}/far nfs rw 0 0")


def test_nothing_is_made_on_a_network_file_system(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "sub" / "runs.db", mounts=lambda: f"server:/x {tmp_path} nfs rw 0 0")
    for question in (database.read, database.write):
        with pytest.raises(StoreError, match="network file system"):
            question(lambda connection: None)
    database.close()
    assert list(tmp_path.iterdir()) == []


def test_this_machine_is_read() -> None:
    refuse_network(Path("/proc"), system_mounts())
