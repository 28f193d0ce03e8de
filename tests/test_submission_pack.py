"""Packing: what is packed can be unpacked, and nothing is lost when something goes wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from mlpinf_core.errors import ConfigurationError, IntegrityError, PrerequisiteError
from mlpinf_core.submission.encryption import is_encrypted
from mlpinf_core.submission.packing import pack, verify

from .disks import full_disk

if TYPE_CHECKING:
    from pathlib import Path

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
PASSWORD = "correct horse, battery staple"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small one."""
    for name in ("open/ACME/src/README.md", "open/ACME/results/A/B/C/log.txt"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(5000))
    return tmp_path / "tree"


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_archive_holds_the_tree_and_its_checksums_lie_beside_it(
    tree: Path, tmp_path: Path
) -> None:
    packed = pack(tree, tmp_path / "out/ACME.tar.gz")
    with tarfile.open(packed.archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert content(tmp_path / "unpacked") == content(tree)
    for kind in ("sha1", "sha256"):
        subprocess.run(
            [f"{kind}sum", "--check", f"ACME.tar.gz.{kind}"],
            cwd=tmp_path / "out",
            check=True,
            capture_output=True,
        )
    assert len((tmp_path / "out/ACME.tar.gz.manifest").read_text().splitlines()) == 2


def test_one_tree_gives_one_archive(tree: Path, tmp_path: Path) -> None:
    first = pack(tree, tmp_path / "a.tar.gz")
    os.utime(next(tree.rglob("log.txt")), (1, 1))
    assert pack(tree, tmp_path / "b.tar.gz").sha256 == first.sha256


def test_modes_are_the_same_whoever_packs_and_whatever_the_files_have(
    tree: Path, tmp_path: Path
) -> None:
    first = pack(tree, tmp_path / "a.tar.gz")
    for path, mode in zip(sorted(tree.rglob("*")), [0o700, 0o777, 0o750, 0o711] * 9, strict=False):
        path.chmod(mode)
    before = os.umask(0o077)
    try:
        second = pack(tree, tmp_path / "b.tar.gz")
    finally:
        os.umask(before)
    with tarfile.open(second.archive) as tar:
        modes = {(member.isdir(), oct(member.mode)) for member in tar}
        owners = {(member.uid, member.gid, member.uname, member.gname) for member in tar}
    assert modes == {(True, "0o755"), (False, "0o644")}
    assert owners == {(0, 0, "", "")}
    assert second.sha256 == first.sha256


def test_two_names_of_one_file_are_packed_as_two_files(tree: Path, tmp_path: Path) -> None:
    log = next(tree.rglob("log.txt"))
    shutil.copyfile(log, log.with_name("copy.txt"))
    copied = pack(tree, tmp_path / "a.tar.gz")
    log.with_name("copy.txt").unlink()
    os.link(log, log.with_name("copy.txt"))
    assert pack(tree, tmp_path / "b.tar.gz").sha256 == copied.sha256


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "\udce9"])
def test_a_name_that_the_manifest_cannot_hold_is_refused(
    tree: Path, tmp_path: Path, name: str
) -> None:
    (tree / "open/ACME/src" / name).write_text("x")
    with pytest.raises(PrerequisiteError, match="not one line of UTF-8") as caught:
        pack(tree, tmp_path / "ACME.tar.gz")
    str(caught.value).encode()
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize("password", ["x" * 1001, "é" * 501, "two\nlines"])
def test_a_password_that_openssl_would_cut_is_refused(
    tree: Path, tmp_path: Path, password: str
) -> None:
    with pytest.raises(ConfigurationError, match="the password is"):
        pack(tree, tmp_path / "ACME.tar.gz", password=password)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@needs_openssl
def test_a_password_of_a_thousand_bytes_is_taken_whole(tree: Path, tmp_path: Path) -> None:
    packed = pack(tree, tmp_path / "ACME.tar.gz", password="x" * 1000)
    with pytest.raises(IntegrityError):
        verify(packed.archive, password="x" * 999)
    assert verify(packed.archive, password="x" * 1000).members


@needs_openssl
def test_an_encrypted_archive_is_read_with_its_password_alone(tree: Path, tmp_path: Path) -> None:
    packed = pack(tree, tmp_path / "ACME.tar.gz", password=PASSWORD)
    assert packed.encrypted
    assert is_encrypted(packed.archive)
    assert verify(packed.archive, password=PASSWORD, into=tmp_path / "good").members
    assert content(tmp_path / "good") == content(tree)
    for wrong in ("wrong", PASSWORD + " ", None):
        with pytest.raises(IntegrityError, match="password") as caught:
            verify(packed.archive, password=wrong, into=tmp_path / "bad")
        assert caught.value.remedy
        assert sorted(p.name for p in tmp_path.iterdir() if "bad" in p.name) == []
    assert verify(packed.archive, password=PASSWORD).sha1 == packed.sha1


@needs_openssl
def test_the_rules_own_command_unpacks_it(tree: Path, tmp_path: Path) -> None:
    packed = pack(tree, tmp_path / "ACME.tar.gz", password=PASSWORD)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "plain").mkdir()
    command = (
        f"openssl enc -d -aes256 -pbkdf2 -in {packed.archive} -pass file:{tmp_path}/password "
        f"| tar -xz -C {tmp_path}/plain"
    )
    subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], check=True)
    assert content(tmp_path / "plain") == content(tree)


def test_a_damaged_archive_is_not_unpacked(tree: Path, tmp_path: Path) -> None:
    packed = pack(tree, tmp_path / "ACME.tar.gz")
    damaged = bytearray(packed.archive.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    packed.archive.write_bytes(bytes(damaged))
    with pytest.raises(IntegrityError, match="SHA1"):
        verify(packed.archive, into=tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_a_file_that_the_manifest_does_not_have_is_an_error(tree: Path, tmp_path: Path) -> None:
    packed = pack(tree, tmp_path / "ACME.tar.gz")
    manifest = tmp_path / "ACME.tar.gz.manifest"
    manifest.write_text(manifest.read_text().splitlines(keepends=True)[0])
    with pytest.raises(IntegrityError, match="not in the manifest"):
        verify(packed.archive)


def test_an_archive_that_is_there_is_not_overwritten(tree: Path, tmp_path: Path) -> None:
    packed = pack(tree, tmp_path / "ACME.tar.gz")
    with pytest.raises(PrerequisiteError, match="already"):
        pack(tree, packed.archive)
    assert verify(packed.archive).sha1 == packed.sha1


def test_a_file_where_a_folder_belongs_is_one_error(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PrerequisiteError, match="the archive cannot be written"):
        pack(tree, tmp_path / "file/ACME.tar.gz")


def test_an_archive_may_not_be_in_its_tree(tree: Path) -> None:
    with pytest.raises(PrerequisiteError, match="part of the tree"):
        pack(tree, tree / "open/ACME.tar.gz")


def test_a_link_is_not_packed(tree: Path, tmp_path: Path) -> None:
    (tree / "open/link").symlink_to("/etc/passwd")
    with pytest.raises(PrerequisiteError, match="neither a file nor a folder"):
        pack(tree, tmp_path / "ACME.tar.gz")
    assert not list(tmp_path.glob("*.tar.gz*"))


@pytest.mark.parametrize("password", [None, pytest.param(PASSWORD, marks=needs_openssl)])
def test_a_full_disk_leaves_the_old_archive_and_nothing_half_written(
    tree: Path, tmp_path: Path, password: str | None
) -> None:
    archive = tmp_path / "ACME.tar.gz"
    archive.write_bytes(b"the old one")
    before = content(tree)
    with pytest.raises(PrerequisiteError, match="cannot be written") as caught, full_disk():
        pack(tree, archive, password=password, replace=True)
    assert caught.value.remedy
    assert archive.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ACME.tar.gz", "tree"]
    assert content(tree) == before


def test_without_openssl_there_is_one_clear_error(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="OpenSSL") as caught:
        pack(tree, tmp_path / "ACME.tar.gz", password=PASSWORD)
    assert caught.value.remedy == "install openssl"
    assert not list(tmp_path.glob("*ACME*"))
