"""Reads what LoadGen left: the detail log, the accuracy log, and the result in them."""

from __future__ import annotations
