"""The five parts of deepseek-r1's data set: how an answer is read and what it is compared with."""

from __future__ import annotations

import enum
import re
from typing import Final


class Part(enum.StrEnum):
    """A part of the data set, by what its name contains; in the order that is looked for."""

    GPQA = "gpqa"
    MMLU_PRO = "mmlu_pro"
    MATH = "math500"
    AIME = "aime"
    CODE = "livecodebench"


def part_of(name: str) -> Part:
    """The part that a sample's ``dataset`` names.

    Raises:
        ValueError: it names none.
    """
    found = next((part for part in Part if part.value in name.lower()), None)
    if found is None:
        known = ", ".join(part.value for part in Part)
        raise ValueError(f"{name!r} is no part of the data set: {known}")
    return found


_LAST: Final = {Part.GPQA: "D", Part.MMLU_PRO: "J"}
"""The last letter of a multiple choice."""
_BOXED: Final = "\\boxed{"
_BOXED_INTEGER: Final = re.compile(r"\\boxed{\s*(\d+)\s*}")
_ANSWER_INTEGER: Final = re.compile(r"Answer:\s*(\d+)(?!\.)\b", re.IGNORECASE)
_PROGRAM: Final = re.compile(r"```python(.*?)```", re.DOTALL)
_AIME_MAXIMUM: Final = 999


def choice(text: str, part: Part) -> str | None:
    """The letter of a multiple choice: what follows the last "ANSWER".

    For MMLU-Pro, where nothing does, the last letter that stands alone; None where there is none.
    """
    last = _LAST[part]
    text = text.strip()
    if text[:2] in ("['", '["') and text[-2:] in ("']", '"]'):  # a list, written out
        text = text[2:-2].strip()
    text = text.replace("\\n", "\n").replace("\\'", "'")
    marked = re.findall(
        rf"\b(?:FINAL\s*)?ANSWER\b\s*[:=]?\s*\(?\s*([A-{last}])\s*\)?(?:\s*$|[^A-Za-z])",
        text,
        re.IGNORECASE,
    )
    if not marked and part is Part.MMLU_PRO:
        marked = re.findall(r"\b([A-J])\b", text, re.IGNORECASE)
    return marked[-1].upper() if marked else None


def boxed(text: str) -> str | None:
    r"""What the last ``\boxed{}`` holds; None where there is none, or it does not end."""
    _, found, rest = text.rpartition(_BOXED)
    if not found:
        return None
    depth = 0
    for place, sign in enumerate(rest):
        if sign == "}" and depth == 0:
            return rest[:place].strip()
        depth += (sign == "{") - (sign == "}")
    return None


def integer(text: str) -> int | None:
    """AIME's answer, 0 to 999: the last boxed one, or else the last after "Answer:"."""
    found = _BOXED_INTEGER.findall(text) or _ANSWER_INTEGER.findall(text)
    if not found:
        return None
    value = int(found[-1])
    return value if value <= _AIME_MAXIMUM else None


def program(text: str) -> str | None:
    """The first block of Python; None where there is none."""
    found = _PROGRAM.search(text)
    return found[1].strip() if found else None


def is_right_choice(text: str, reference: str, part: Part) -> bool:
    """Whether a multiple choice is answered rightly."""
    return bool(reference) and choice(text, part) == reference.upper()


def is_right_integer(text: str, reference: str) -> bool:
    """Whether an integer is."""
    found = integer(text.strip())
    try:
        return found is not None and found == int(reference)
    except ValueError:
        return False
