"""Files that a user gives, and cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.hashing import HashMemory
from mlpinf_whisper.files import checksums

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_cannot_be_hashed_is_named(tmp_path: Path) -> None:
    whole, broken, gone = (tmp_path / name for name in ("whole", "broken", "gone"))
    whole.write_bytes(b"content")
    broken.symlink_to("/proc/self/mem")  # it opens, and reading it fails for anybody
    memory = HashMemory(tmp_path / "memory.json")
    with pytest.raises(PrerequisiteError, match=r"^broken cannot be read \(Input") as caught:
        checksums(memory, [whole, broken])
    assert caught.value.where == str(broken)
    with pytest.raises(PrerequisiteError, match="gone is missing") as caught:
        checksums(memory, [whole, gone])
    assert caught.value.where == str(gone)
