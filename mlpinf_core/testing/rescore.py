"""Score accuracy logs again, several in one process: ``python -m mlpinf_core.testing.rescore``.

Its arguments are the file for the results and the run directories, which have been scored before,
so that nothing is left to prepare.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mlpinf_core import events as ev
from mlpinf_core.errors import MlpinfError
from mlpinf_core.events import EventWriter
from mlpinf_core.loadgen.child import Child


class _Keeper(EventWriter):
    """Keeps the scores."""

    scores: dict[str, float]

    def emit(self, kind: str, **fields: Any) -> None:
        """Of a result, keep the scores; drop everything else."""
        if kind == ev.RESULT:
            self.scores = fields["scores"]


def _score(directory: Path) -> dict[str, Any]:
    keeper = _Keeper()
    try:
        Child(directory, keeper).score()
    except Exception as error:  # noqa: BLE001 - what a scorer raises is what is asked
        what = error.what if isinstance(error, MlpinfError) else str(error)
        return {"error": type(error).__name__, "what": what}
    return {"scores": keeper.scores}


def main(arguments: list[str]) -> None:
    """Score, and write the results as JSON, one object a line."""
    results = [_score(Path(directory)) for directory in arguments[1:]]
    text = "".join(json.dumps(result) + "\n" for result in results)
    Path(arguments[0]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
