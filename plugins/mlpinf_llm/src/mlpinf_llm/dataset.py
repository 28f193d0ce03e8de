"""A data set's file, checked, and written once as a store.

The store is what everything else works with: prompts, references and kinds as ragged arrays that
are memory-mapped. The file itself is read once, by whoever comes first.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.errors import IntegrityError
from mlpinf_core.hashing import checksum_fault
from mlpinf_llm import ragged, tables
from mlpinf_llm.layout import Layout
from mlpinf_llm.ragged import Ragged, Texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.artifacts import ArtifactStore
    from mlpinf_llm.tables import Table

_FORMAT: Final = 2
"""Rises when the store's files change."""
_PROMPTS, _REFERENCES, _KINDS = "prompts", "references", "kinds"


@attrs.frozen
class DataFile:
    """A data set's file, not yet read.

    Attributes:
        path: where it is.
        layout: what it must hold.
        sha256: of the file, as found.
        remedy: how to get the right one.
    """

    path: Path
    layout: Layout
    sha256: str
    remedy: str


@attrs.frozen(eq=False)
class Store:
    """A data set, mapped.

    Attributes:
        prompts: int32 ids.
        references: the texts that answers are scored against; empty where there are none.
        kinds: how each is judged; empty where all are judged alike.
    """

    prompts: Ragged
    references: Texts
    kinds: Texts

    @classmethod
    def open(cls, directory: Path) -> Store:
        """Map what :func:`write` wrote."""
        return cls(
            Ragged.open(directory, _PROMPTS),
            Texts.open(directory, _REFERENCES),
            Texts.open(directory, _KINDS),
        )


def stored(
    store: ArtifactStore, name: str, file: DataFile, announce: Callable[[str], object]
) -> Store:
    """The store of a data set's file, written now if it was not before.

    Args:
        store: where artifacts are kept.
        name: of the artifact.
        file: the data set's file.
        announce: told what takes time.

    Raises:
        IntegrityError: the file does not hold what it must; says what and in which row.
    """
    layout = attrs.asdict(file.layout)
    artifact = store.build(
        "preprocessed_data",
        name,
        {"data": file.sha256, "layout": layout, "format": _FORMAT},
        lambda directory: _read_and_write(file, directory),
        announce=announce,
    )
    return Store.open(artifact.path)


def _read_and_write(file: DataFile, directory: Path) -> None:
    try:
        _check_md5(file)
        write(tables.read_table(file.path), file.layout, directory)
    except tables.TableError as error:
        raise IntegrityError(str(error), remedy=file.remedy) from error


def _check_md5(file: DataFile) -> None:
    if file.layout.md5 is None:
        return
    with file.path.open("rb") as data:
        actual = hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if actual != file.layout.md5:
        fault = checksum_fault(actual, file.layout.md5, "md5")
        raise tables.TableError(f"{file.path} {fault}")


def write(table: Table, layout: Layout, directory: Path) -> None:
    """Check a table and write it as a store's files.

    Raises:
        TableError: it does not hold what the layout says; names the column and the row.
    """
    if layout.rows is not None and len(table) != layout.rows:
        raise tables.TableError(f"{table.path} has {len(table)} rows instead of {layout.rows}")
    prompts = table.token_ids(layout.prompts)
    _check_prompts(table, layout, prompts)
    ragged.write(directory, _PROMPTS, prompts, np.int32)
    references = _texts(table, layout.references) if layout.references else []
    ragged.write_texts(directory, _REFERENCES, references)
    ragged.write_texts(directory, _KINDS, table.texts(layout.kinds) if layout.kinds else [])


def _check_prompts(table: Table, layout: Layout, prompts: list[tables.TokenIds]) -> None:
    declared = table.column(layout.lengths) if layout.lengths else [len(ids) for ids in prompts]
    for row, (ids, length) in enumerate(zip(prompts, declared, strict=True)):
        where = f"{table.path}: {layout.prompts} of row {row}"
        if len(ids) != length:
            raise tables.TableError(f"{where} has {len(ids)} ids, and {layout.lengths} {length}")
        if layout.max_tokens is not None and len(ids) > layout.max_tokens:
            raise tables.TableError(f"{where} has {len(ids)} ids, more than {layout.max_tokens}")
        if layout.vocabulary is not None and int(ids.max()) >= layout.vocabulary:
            raise tables.TableError(
                f"{where} has the id {int(ids.max())}, outside the vocabulary of "
                f"{layout.vocabulary}: these are another model's ids"
            )


def _texts(table: Table, names: tuple[str, ...]) -> list[str]:
    """A column of references as text: some data sets keep numbers among them."""
    name = next((name for name in names if name in table.columns), names[-1])
    return [_text(table, name, row, value) for row, value in enumerate(table.column(name))]


def _text(table: Table, name: str, row: int, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN: nothing answers it
        return ""
    if isinstance(value, int | float | np.integer | np.floating):
        return str(int(value)) if float(value).is_integer() else str(value)
    raise tables.TableError(f"{table.path}: {name} of row {row} is {value!r:.80}, not text")
