"""Fetches IGBH-full, part by part, resumed where it stopped.

    python -m mlpinf_rgat.fetch [--out FOLDER] [--only paper/node_feat.npy ...] [--verify]

The folder is ``igbh`` in the scratch space's ``data`` by default. The parts go to
``full/processed`` in it, where the official accuracy script looks for them. The publishers give no
checksums. What is fetched is held to the size that the server tells, and to the shape that the part
must have. Its sha256 is written down in ``digests.json``; ``--verify`` reads everything again and
compares.

Source of the addresses: the official script (``graph/R-GAT/tools/download_igbh_full.sh``).
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlpinf_core.benchmark import Source
from mlpinf_core.downloads.ways import Patience, Progress, WayFailedError
from mlpinf_core.downloads.web import grow_from_web, note_of
from mlpinf_core.errors import IntegrityError, MlpinfError, PrerequisiteError
from mlpinf_core.hashing import sha256_of, write_atomically
from mlpinf_core.scratch import Scratch, readable
from mlpinf_rgat.layout import (
    FULL_CLASSES,
    IGBH_FOLDER,
    LICENCE,
    PROCESSED,
    known_size,
    parts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

ADDRESS: Final = "https://igb-public.s3.us-east-2.amazonaws.com/IGBH/processed"
DIGESTS: Final = "digests.json"

_MOST_HEADER: Final = 4096
_TRIES: Final = 10


def fetch(
    folder: Path, parts: Sequence[str], *, address: str = ADDRESS, patience: Patience | None = None
) -> None:
    """Bring parts to a folder; those that are there are left alone.

    Raises:
        PrerequisiteError: the server has no such part or does not answer, or the disk is too small.
        IntegrityError: the server's part cannot be the graph's.
    """
    patience = patience or Patience(tries=_TRIES)
    missing = [part for part in parts if not (folder / part).is_file()]
    sizes = {part: _served_size(f"{address}/{part}", patience) for part in missing}
    for part, size in sizes.items():
        _check_size(part, size, f"{address}/{part}")
    begun = sum(_length(folder / f"{part}.part") for part in missing)
    need = sum(sizes.values()) - begun
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise PrerequisiteError(
            f"the parts that are missing need {readable(need)}, and {readable(free)} are free",
            where=str(folder),
            remedy="choose a folder on a larger disk with --out, and name it with "
            "benchmark.data_path",
        )
    for part, size in sizes.items():
        _fetch_one(folder, part, f"{address}/{part}", size, patience)


def verify(folder: Path, parts: Sequence[str]) -> None:
    """Read parts again, and compare them with what was written down when they were fetched.

    Raises:
        PrerequisiteError: a part is missing, or nothing was written down of it.
        IntegrityError: a part has changed since.
    """
    digests = _digests(folder)
    for part in parts:
        path = folder / part
        if not path.is_file() or part not in digests:
            what = "no digest was written down of" if path.is_file() else "there is no"
            raise PrerequisiteError(
                f"{what} {part}", where=str(path), remedy="python -m mlpinf_rgat.fetch"
            )
        found = sha256_of(path)
        if found != digests[part]:
            raise IntegrityError(
                f"{part} has sha256 {found} instead of {digests[part]}",
                where=str(path),
                remedy="remove it and fetch it again",
            )
        log.info("%s is as it was fetched", part)


def _fetch_one(folder: Path, part: str, url: str, size: int, patience: Patience) -> None:
    target = folder / part
    target.parent.mkdir(exist_ok=True)
    begun = target.with_name(f"{target.name}.part")
    source = Source(part, "data", size, "", LICENCE, url=url)
    last = [-1]

    def tell(done: int, total: int) -> None:
        percent = 100 * done // max(1, total)
        if percent != last[0]:
            last[0] = percent
            log.info("%s: %d %% of %s", part, percent, readable(total))

    try:
        grow_from_web(source, begun, patience, Progress(tell, size))
    except WayFailedError as error:
        raise PrerequisiteError(
            f"{part} could not be fetched: {error.reason}",
            where=url,
            remedy="try again: it goes on where it stopped",
        ) from error
    digest = sha256_of(begun)
    digests = _digests(folder) | {part: digest}
    write_atomically(folder / DIGESTS, json.dumps(digests, indent=1, sort_keys=True).encode())
    begun.rename(target)
    note_of(begun).unlink(missing_ok=True)  # not before: without it, a whole part is fetched anew


def _served_size(url: str, patience: Patience) -> int:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - https, or a test's server
    try:
        with urllib.request.urlopen(request, timeout=patience.timeout_s) as answer:  # noqa: S310
            length = answer.headers.get("Content-Length", "")
    except OSError as error:  # every failure of urllib is one
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise PrerequisiteError(
            f"the server does not tell of {url.rpartition('/processed/')[2]}: {error}",
            where=url,
            remedy="try again later, or set benchmark.data_path to a copy of the graph",
        ) from error
    if not length.isdecimal():
        raise PrerequisiteError(f"the server does not tell the size of {url}", where=url)
    return int(length)


def _check_size(part: str, size: int, url: str) -> None:
    """Numbers, and a NumPy header or none before them."""
    wanted = known_size(part)
    if wanted is not None and not wanted <= size <= wanted + _MOST_HEADER:
        raise IntegrityError(
            f"the server's {part} has {size} bytes, and the graph's has {wanted}",
            where=url,
            remedy="the graph at this address is another one; look for the official script's",
        )


def _digests(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / DIGESTS).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def main() -> int:
    """Fetch or verify from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mlpinf_rgat.fetch", description=__doc__)
    parser.add_argument("--out", type=Path, help="the folder; in the scratch space by default")
    parser.add_argument("--only", nargs="+", help="some parts")
    parser.add_argument("--verify", action="store_true", help="compare with the digests")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = (arguments.out or Scratch.from_environment().data / IGBH_FOLDER) / PROCESSED
    chosen = arguments.only or parts(FULL_CLASSES)
    try:
        (verify if arguments.verify else fetch)(folder, chosen)
    except MlpinfError as error:
        log.error("%s", error)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
