"""Becomes a server that ends with the process that started it, however that one ends.

python -m mlpinf_core.serving.guard PARENT COMMAND...
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_NOT_FOUND: Final = 127
"""What a shell exits with for a program that it cannot find."""


def main(parent: int, command: list[str]) -> None:
    """Ask Linux for a SIGTERM when the parent dies, and turn into the command."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before that was asked for
        sys.exit(f"the process {parent}, which wanted {command[0]}, is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is the purpose
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
