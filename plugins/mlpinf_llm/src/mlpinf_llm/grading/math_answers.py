"""Whether two answers to a question of MATH-500 are the same.

The rules have them graded by PRM800K's grader. This one decides as that one does, oddities
included: two normal forms of LaTeX text, and where those differ, the value of the expressions. What
is said of an answer here holds for the reference as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT: Final = re.compile(r"^\\text\{(?P<text>.+?)\}$")
_SPELLINGS: Final = (
    ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""),
    ("\\right", ""), ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""),
)  # fmt: skip
_MEASURE: Final = "\\text{ "
_UNITS: Final = (
    "degree", "cm", "centimeter", "meter", "mile", "second", "minute", "hour", "day", "week",
    "month", "year", "foot", "feet", "inch", "yard",
)  # fmt: skip
_SIGNS: Final = str.maketrans(
    {"√": "sqrt", "π": "pi", "∞": "inf", "∪": "U", "·": "*", "×": "*"}  # noqa: RUF001
)
_THOUSANDS: Final = re.compile(r"(\d)(,)(\d\d\d)($|\D)")
_FRACTION: Final = re.compile(r"^-?[0-9]+.?/0*[1-9][0-9]*.?$")
_BRACKETS: Final = "()[]"


def same_answer(given: str, reference: str, same_value: Callable[[str, str], bool]) -> bool:
    """Whether an answer is right.

    Args:
        given: the answer.
        reference: the right one.
        same_value: whether two expressions, of the reference and of the answer, have one value.
    """
    if text_form(reference) == text_form(given):
        return True
    expected, found = value_form(reference), value_form(given)
    if expected == found:
        return True
    if not found:
        return False
    wanted, got = _elements(expected), _elements(found)
    if len(wanted) > 1 and (expected[0], expected[-1]) != (found[0], found[-1]):
        return False
    if len(wanted) != len(got):
        return False
    return all(_same_element(*pair, same_value) for pair in zip(wanted, got, strict=True))


def _same_element(wanted: str, got: str, same_value: Callable[[str, str], bool]) -> bool:
    if _FRACTION.search(wanted) and _FRACTION.search(got):
        return wanted == got  # a fraction has to be reduced
    if _is_whole(wanted) != _is_whole(got):
        return False
    return same_value(wanted, got)


# -- the first normal form: of text, that of the MATH data set -------------------------------------


def text_form(answer: str) -> str:
    """An answer with one spelling of fractions, roots and spaces; itself where that fails."""
    answer = answer.strip()
    found = _TEXT.search(answer)
    if found:
        answer = found["text"].strip()
    try:
        return _spelled(answer)
    except (IndexError, ValueError):
        return answer


def _spelled(text: str) -> str:
    for old, new in _SPELLINGS:
        text = text.replace(old, new)
    if text.count(_MEASURE) > 1:
        raise ValueError("more than one unit")
    text = text.partition(_MEASURE)[0]
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    if text[0] == ".":
        text = "0" + text
    if text.count("=") == 1 and len(text.partition("=")[0]) <= 2:  # "x = 5"
        text = text.partition("=")[2]
    text = _braced_fractions(_braced_roots(text).replace(" ", ""))
    return _as_fraction("\\frac{1}{2}" if text == "0.5" else text)


def _braced_roots(text: str) -> str:
    r"""``\sqrt3`` as ``\sqrt{3}``."""
    first, *parts = text.split("\\sqrt")
    return first + "".join(
        "\\sqrt" + (part if part[0] == "{" else f"{{{part[0]}}}{part[1:]}") for part in parts
    )


def _braced_fractions(text: str) -> str:
    r"""``\frac12`` as ``\frac{1}{2}``."""
    done, *parts = text.split("\\frac")
    for part in parts:
        if part[0] == "{":
            done += f"\\frac{part}"
            continue
        if len(part) < 2:
            return text
        below = part[1] if part[1] == "{" else f"{{{part[1]}}}"
        done += f"\\frac{{{part[0]}}}{below}{part[2:]}"
    return done


def _as_fraction(text: str) -> str:
    r"""``1/2`` as ``\frac{1}{2}``."""
    above, _, below = text.partition("/")
    try:
        plain = f"{int(above)}/{int(below)}" == text
    except ValueError:
        return text
    return f"\\frac{{{int(above)}}}{{{int(below)}}}" if plain else text


# -- the second normal form: of values, without units ----------------------------------------------


def value_form(answer: str) -> str:
    """An answer as an expression without LaTeX, units, spaces and capitals."""
    found = _TEXT.search(answer)
    text = found["text"] if found else answer
    for old in ("\\%", "\\$"):
        text = text.replace(old, old[1])
    text = text.replace("$", "").replace("%", "").replace(" or ", " , ").replace(" and ", " , ")
    for word, zeros in (("million", 6), ("billion", 9), ("trillion", 12)):
        text = text.replace(word, f"*10^{zeros}")
    for unit in _UNITS:
        text = re.sub(rf"{unit}(es)?(s)? *(\^[0-9]+)?", "", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if text and text[0] == "{" and text[-1] == "}":
        text = text[1:-1]
    text = re.sub(r",\\! *", "", text)
    text = _rounded(text)
    if "\\" in text:
        text = _without_latex(text)
    text = re.sub("- *", "-", text)
    text = re.sub("([0-9]) +([0-9])", r"\1+\2", text)  # a mixed number, 7 3/4
    text = text.replace(" ", "").replace("{", "").replace("}", "").lower()
    return str(int(float(text.replace(",", "")))) if _is_whole(text) else text


def _rounded(text: str) -> str:
    """A whole number in another spelling, 5.0 say, as 5."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(round(value)) if _near_whole(value) else text


def _without_latex(text: str) -> str:
    from pylatexenc.latex2text import LatexNodes2Text

    plain = text.replace("\\tfrac", "\\frac").replace("\\dfrac", "\\frac")
    plain = plain.replace("\\frac", " \\frac")  # a mixed number: 7\frac34
    try:
        converted: str = LatexNodes2Text().latex_to_text(plain)
    except Exception:  # noqa: BLE001 - whatever it cannot read stays as it is
        return text
    return converted.translate(_SIGNS).strip()


def _elements(text: str) -> list[str]:
    """The elements of a tuple or an interval; one for anything else."""
    text = _without_thousands(text)
    if not text:
        return []
    inner = text[1:-1]
    if (
        len(text) > 2
        and text[0] in _BRACKETS
        and text[-1] in _BRACKETS
        and not any(bracket in inner for bracket in _BRACKETS)
    ):
        return [element.strip() for element in inner.split(",")]
    return [text]


def _without_thousands(text: str) -> str:
    while (shorter := _THOUSANDS.sub(r"\1\3\4", text)) != text:
        text = shorter
    return text


def _is_whole(text: str) -> bool:
    try:
        return _near_whole(float(_without_thousands(text)))
    except ValueError:
        return False


def _near_whole(value: float) -> bool:
    try:
        return abs(value - round(value)) <= 1e-7
    except (OverflowError, ValueError):  # infinite, or not a number
        return False
