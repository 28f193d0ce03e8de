"""Why a run is INVALID, and what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class Cause:
    """One reason for which a run is INVALID.

    Attributes:
        code: a word for machines, ``min-duration``; stable.
        message: what is wrong, in a sentence with figures.
        suggestion: what to change, in the configuration's own keys; None where nothing is known.
    """

    code: str
    message: str
    suggestion: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """Plain values, for JSON."""
        return {"code": self.code, "message": self.message, "suggestion": self.suggestion}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Cause:
        """The inverse of :meth:`to_dict`."""
        suggestion = data.get("suggestion")
        return cls(
            code=str(data["code"]),
            message=str(data["message"]),
            suggestion=None if suggestion is None else str(suggestion),
        )
