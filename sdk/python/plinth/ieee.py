"""Arithmetic as IEEE 754 has it, and numbers in texts.

Python raises where other languages return infinity or NaN. What comes out of these is the same in every language.
"""

from __future__ import annotations

import math


def divide(a: float, b: float) -> float:
    """`a / b`; infinity or NaN where `b` is zero."""
    if b != 0:
        return a / b
    if a == 0 or a != a:
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def sqrt(x: float) -> float:
    """The square root; NaN of what is below zero."""
    return math.sqrt(x) if x >= 0 else math.nan


def number_text(value: float) -> str:
    """A number in the fewest digits that read back as the same, as JavaScript writes it: 0.1, 3, 1e-7, -Infinity."""
    if value != value:
        return "NaN"
    if value in (math.inf, -math.inf):
        return "-Infinity" if value < 0 else "Infinity"
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # `repr` has the fewest digits; only where it puts the point differs.
    mantissa, _, exponent = repr(abs(float(value))).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if not -6 < point <= 21:
        rest = "." + digits[1:] if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{point - 1:+d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}"
