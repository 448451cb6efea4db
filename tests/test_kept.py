"""What a process keeps for the next one: nothing that others may have written, nothing damaged."""

import errno
import os

import pytest

from edge_fiqa.errors import KeptFileRefused
from edge_fiqa.kept import (
    SEAL_BYTES,
    check_hash,
    check_sealed,
    distrusted,
    has_seal,
    kept_or_none,
    read_kept,
    seal,
    why_not_kept,
    write_kept,
)


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "plan"
    write_kept(path, b"data" * 100, "plan of body-01-01")
    return path


def test_what_was_written_is_read(kept):
    assert read_kept(kept, "plan of body-01-01") == b"data" * 100
    assert has_seal(kept)
    write_kept(kept, b"", "nothing")
    assert read_kept(kept, "nothing") == b""


@pytest.mark.parametrize("place", [0, 200, 399, 401, -1])
def test_every_changed_byte_is_noticed(kept, place):
    data = bytearray(kept.read_bytes())
    data[place] ^= 1
    kept.write_bytes(data)
    with pytest.raises(KeptFileRefused, match="is damaged or was changed"):
        read_kept(kept, "plan of body-01-01")


@pytest.mark.parametrize("size", [0, 1, SEAL_BYTES, 400])
def test_a_file_cut_short_is_noticed(kept, size):
    kept.write_bytes(kept.read_bytes()[:size])
    with pytest.raises(KeptFileRefused, match="is damaged or was changed"):
        read_kept(kept, "plan of body-01-01")


def test_a_file_that_belongs_elsewhere_is_refused(kept):
    """Whole, but under the name of another."""
    with pytest.raises(KeptFileRefused, match="is damaged or was changed"):
        read_kept(kept, "plan of body-02-02")


def test_a_large_file_is_sealed_in_the_same_form(tmp_path):
    path = tmp_path / "table"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert not has_seal(path)
    seal(path, "table of faces")
    assert has_seal(path)
    check_sealed(path, "table of faces")
    assert read_kept(path, "table of faces") == bytes(range(256)) * 10_000
    with pytest.raises(KeptFileRefused, match="damaged or was changed"):
        check_sealed(path, "another")
    data = bytearray(path.read_bytes())
    data[2_000_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(KeptFileRefused, match="damaged or was changed"):
        check_sealed(path, "table of faces")
    path.write_bytes(b"short")
    with pytest.raises(KeptFileRefused, match="damaged or was changed"):
        check_sealed(path, "table of faces")


@pytest.mark.parametrize("mode", [0o646, 0o666, 0o602])
def test_a_file_that_everyone_may_write_is_refused(kept, mode):
    kept.chmod(mode)
    with pytest.raises(KeptFileRefused, match=r"everyone may write .*/plan"):
        read_kept(kept, "plan of body-01-01")


def test_a_folder_that_everyone_may_write_is_refused(kept):
    """Also where only owners may rename, as in /tmp: another user may have put a file there first."""
    for mode in (0o777, 0o1777):
        kept.parent.chmod(mode)
        with pytest.raises(KeptFileRefused, match="everyone may write"):
            read_kept(kept, "plan of body-01-01")
        assert "everyone may write" in why_not_kept(kept.parent)
        assert "chmod go-w" in why_not_kept(kept.parent)
    kept.parent.chmod(0o755)
    assert why_not_kept(kept.parent) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_owners_and_groups(kept):
    os.chown(kept, 4711, -1)
    assert distrusted(kept) == f"{kept} belongs to another user"
    os.chown(kept, 0, 4711)
    kept.chmod(0o664)
    assert distrusted(kept) == f"another group may write {kept}"
    kept.chmod(0o644)
    assert distrusted(kept) is None
    os.chown(kept.parent, 4711, -1)
    assert distrusted(kept) == f"{kept.parent} belongs to another user"
    assert why_not_kept(kept.parent).startswith(f"{kept.parent} belongs to another user")


def test_a_link_counts_as_what_it_names(kept, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open/plan").write_bytes(kept.read_bytes())
    (tmp_path / "open/plan").chmod(0o666)
    (tmp_path / "link").symlink_to(tmp_path / "open/plan")
    with pytest.raises(KeptFileRefused, match="everyone may write"):
        read_kept(tmp_path / "link", "plan of body-01-01")


def test_what_is_written_cannot_be_written_by_others_whatever_the_mask(tmp_path):
    before = os.umask(0)
    try:
        assert why_not_kept(tmp_path / "cache") is None
        write_kept(tmp_path / "cache/plan", b"data", "plan")
        assert read_kept(tmp_path / "cache/plan", "plan") == b"data"
    finally:
        os.umask(before)


def test_one_line_says_what_is_not_used(kept, caplog):
    assert kept_or_none(kept.with_name("absent"), "plan") is None
    assert caplog.messages == []
    kept.write_bytes(b"")
    assert kept_or_none(kept, "plan") is None
    assert caplog.messages == [f"{kept} is damaged or was changed: it is not used and made again"]


def test_a_folder_in_place_of_the_file(tmp_path):
    (tmp_path / "plan").mkdir()
    with pytest.raises(KeptFileRefused, match="Is a directory"):
        read_kept(tmp_path / "plan", "plan")


def test_a_hash_from_elsewhere(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    check_hash(path, digest)
    with pytest.raises(KeptFileRefused, match=r"has SHA-256 ba7816bf8f01\.\.\., not 0000"):
        check_hash(path, "0" * 64)
    path.chmod(0o666)
    with pytest.raises(KeptFileRefused, match="everyone may write"):
        check_hash(path, digest)


def test_a_full_disk_leaves_the_old_file(kept, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_kept(kept, b"new", "plan of body-01-01")
    monkeypatch.undo()
    assert read_kept(kept, "plan of body-01-01") == b"data" * 100
