"""IGBH's node types and relations: what is in the files, and what the model sees.

Source: the reference implementation of MLPerf Inference (``graph/R-GAT``).
"""

from __future__ import annotations

from typing import Final

import attrs

NODE_TYPES: Final = ("paper", "author", "institute", "fos", "journal", "conference")
"""In the data set's order. Papers are classified; ``fos`` is a field of study."""

TARGET: Final = "paper"
"""The node type that is classified."""


@attrs.frozen
class EdgeFile:
    """One relation as IGBH stores it: a list of edges from ``source`` to ``destination``."""

    source: str
    name: str
    destination: str

    @property
    def folder(self) -> str:
        """The folder of its file, ``paper__cites__paper``."""
        return f"{self.source}__{self.name}__{self.destination}"


EDGE_FILES: Final = (
    EdgeFile("paper", "cites", "paper"),
    EdgeFile("paper", "written_by", "author"),
    EdgeFile("author", "affiliated_to", "institute"),
    EdgeFile("paper", "topic", "fos"),
    EdgeFile("paper", "published", "journal"),
    EdgeFile("paper", "venue", "conference"),
)


@attrs.frozen
class Relation:
    """One relation of the model: messages go from ``source`` to ``destination``.

    Attributes:
        name: as in the official checkpoint (``rev_written_by``).
        source: node type that sends.
        destination: node type that receives.
        file: where its edges come from.
        reverse: whether it is the file's relation the other way round.
    """

    name: str
    source: str
    destination: str
    file: EdgeFile
    reverse: bool = False

    @property
    def symmetric(self) -> bool:
        """Whether both directions and self-loops belong to it (``cites``)."""
        return self.source == self.destination


def _relations() -> tuple[Relation, ...]:
    forward = [Relation(f.name, f.source, f.destination, f) for f in EDGE_FILES]
    backward = [
        Relation(f"rev_{f.name}", f.destination, f.source, f, reverse=True)
        for f in EDGE_FILES
        if f.source != f.destination
    ]
    return (*forward, *backward)


RELATIONS: Final = _relations()
"""The eleven: six as stored, five of them reversed as well, ``cites`` made symmetric."""


def into(node_type: str) -> tuple[int, ...]:
    """The numbers in :data:`RELATIONS` of those that a node type receives from."""
    return tuple(n for n, relation in enumerate(RELATIONS) if relation.destination == node_type)


def out_of(node_type: str) -> tuple[int, ...]:
    """The numbers in :data:`RELATIONS` of those that a node type sends to."""
    return tuple(n for n, relation in enumerate(RELATIONS) if relation.source == node_type)
