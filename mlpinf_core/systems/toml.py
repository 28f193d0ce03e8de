"""Values as TOML; the standard library reads it and does not write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml_value(value: Any) -> str:
    """A value as TOML, on the line of its key.

    Raises:
        TypeError: TOML has no such value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_text(k)} = {toml_value(v)}' for k, v in value.items())} }}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def toml_lines(text: str) -> str:
    """A text as TOML, on several lines where it has several and nothing in it speaks against that.

    Tabs become spaces there.
    """
    lines = text.replace("\t", " ").split("\n")
    quotes = "'''" in text or text.endswith("'")
    if len(lines) > 1 and not quotes and all(line.isprintable() for line in lines):
        return "'''\n" + "\n".join(lines) + "'''"
    return _text(text)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is; and for lone surrogates,
    # which are no text in TOML.
    whole = text.encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
