"""Encrypting and decrypting through OpenSSL, as the submission rules describe it.

AES-256 under a password; the key is derived with PBKDF2, which OpenSSL has to be told of::

    openssl enc -d -aes256 -pbkdf2 -in ARCHIVE | tar -xz
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tarfile
import threading
from typing import IO, TYPE_CHECKING, Final

from mlpinf_core.errors import ConfigurationError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CIPHER: Final = ("-aes256", "-pbkdf2")
_SALTED: Final = b"Salted__"
"""What OpenSSL's encrypted files begin with."""
MAX_PASSWORD_BYTES: Final = 1000
"""OpenSSL reads the first 1,023 bytes or so of a line, and says nothing of the rest."""
_CHUNK: Final = 1 << 20


def check_password(password: str | None) -> None:
    """That OpenSSL takes a password as it is: it reads one line, and not the whole of a long one.

    Raises:
        ConfigurationError: it would take another one.
    """
    if password is None:
        return
    if len(password.encode(errors="surrogateescape")) > MAX_PASSWORD_BYTES:
        raise ConfigurationError(
            f"the password is longer than {MAX_PASSWORD_BYTES:,} bytes",
            remedy="OpenSSL takes no longer ones: choose a shorter one",
        )
    if password.splitlines() != [password]:
        raise ConfigurationError(
            "the password is not one line", remedy="choose one without line breaks"
        )


def is_encrypted(archive: Path) -> bool:
    """Whether an archive needs a password; one that is not there does not."""
    if not archive.is_file():
        return False
    with archive.open("rb") as file:
        return file.read(len(_SALTED)) == _SALTED


@contextlib.contextmanager
def sink(target: Path, password: str | None) -> Iterator[IO[bytes]]:
    """Where compressed bytes go: the file itself, or OpenSSL and then the file."""
    with target.open("wb") as file:
        if password is None:
            yield file
        else:
            with _openssl(("-e", "-salt"), password, stdin=subprocess.PIPE, stdout=file) as child:
                assert child.stdin is not None  # noqa: S101 - for the type checker
                try:
                    yield child.stdin
                    child.stdin.close()
                except BrokenPipeError:
                    pass  # OpenSSL says below why it went
                if child.wait() != 0:
                    raise OSError(f"OpenSSL: {_said(child)}")
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def source(archive: Path, password: str | None) -> Iterator[IO[bytes]]:
    """The compressed bytes: the file's own, or what OpenSSL makes of them."""
    with archive.open("rb") as file:
        if password is None:
            yield file
            return
        with _openssl(("-d",), password, stdin=file, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None  # noqa: S101 - for the type checker
            yield child.stdout
            while child.stdout.read(_CHUNK):
                pass
            if child.wait() != 0:
                raise tarfile.ReadError(_said(child))


@contextlib.contextmanager
def _openssl(
    arguments: tuple[str, ...], password: str, *, stdin: IO[bytes] | int, stdout: IO[bytes] | int
) -> Iterator[subprocess.Popen[bytes]]:
    """OpenSSL at work; it reads the password from a pipe, so that nobody sees it in a list."""
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(
            ["openssl", "enc", *_CIPHER, *arguments, "-pass", f"fd:{reading}"],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=(reading,),
        )
    except FileNotFoundError:
        os.close(writing)
        raise PrerequisiteError(
            "encryption needs OpenSSL, which is not installed", remedy="install openssl"
        ) from None
    finally:
        os.close(reading)
    thread = threading.Thread(target=_tell, args=(writing, password), daemon=True)
    thread.start()
    try:
        yield child
    finally:
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if child.poll() is None:
            child.terminate()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()
        thread.join()


def _tell(descriptor: int, password: str) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(f"{password}\n".encode())


def _said(child: subprocess.Popen[bytes]) -> str:
    """What OpenSSL had to complain about, in one line."""
    text = child.stderr.read().decode(errors="replace") if child.stderr is not None else ""
    return text.strip().partition("\n")[0] or f"exit code {child.returncode}"
