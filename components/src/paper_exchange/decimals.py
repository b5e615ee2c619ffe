"""Exact decimal numbers as the venue prints, parses and quantises them."""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, ROUND_FLOOR, Decimal

ZERO = Decimal(0)
ONE = Decimal(1)
MICRO = Decimal("0.000001")
SIGNIFICANT_FIGURES = 5
PERP_PRICE_DECIMALS = 6
SPOT_PRICE_DECIMALS = 8

_PLAIN = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,18})?\Z")


def parse_decimal(text: object) -> Decimal:
    """Decimal of a plain JSON string such as ``"83000.0"``; no exponents, no whitespace.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(text, str) or not _PLAIN.match(text):
        raise ValueError(f"not a plain decimal string: {text!r}")
    return Decimal(text)


def canonical(value: Decimal) -> str:
    """The form that is signed: no exponent, no trailing zeros (``83000``, ``0.001``)."""
    if value == 0:
        return "0"
    return format(value.normalize(), "f")


def wire(value: Decimal) -> str:
    """The form that replies print: whole numbers carry ``.0`` (``83757.0``)."""
    text = canonical(value)
    return text if "." in text else text + ".0"


def micro_floor(value: Decimal) -> Decimal:
    """Round down (towards minus infinity) to a millionth of a dollar."""
    return value.quantize(MICRO, rounding=ROUND_FLOOR)


def micro_trunc(value: Decimal) -> Decimal:
    """Round towards zero to a millionth of a dollar."""
    return value.quantize(MICRO, rounding=ROUND_DOWN)


def decimal_places(value: Decimal) -> int:
    """Digits after the point that the value needs (0 for whole numbers)."""
    exponent = value.normalize().as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"not a finite number: {value}")
    return max(0, -exponent)


def significant_figures(value: Decimal) -> int:
    """Digits from the first to the last non-zero one."""
    return len(value.normalize().as_tuple().digits)


def size_is_valid(size: Decimal, sz_decimals: int) -> bool:
    """True if the size is positive and a multiple of the lot, 10^-sz_decimals."""
    return size > 0 and decimal_places(size) <= sz_decimals


def price_problem(price: Decimal, max_decimals: int) -> str | None:
    """The venue's complaint about a price, or None if it is valid.

    Whole numbers are always valid; others need at most five significant figures and at most
    ``max_decimals`` decimals (6 - szDecimals for perps, 8 - szDecimals for spot).
    """
    if price <= 0:
        return "Order has invalid price."
    places = decimal_places(price)
    if places == 0:
        return None
    if places > max_decimals:
        return "Order has invalid price."
    if significant_figures(price) > SIGNIFICANT_FIGURES:
        return "Price must be divisible by tick size."
    return None


def tick_units(units: int, scale: int) -> int:
    """Tick, in price units of 1/scale, that applies to a price of ``units`` units.

    Five significant figures, but never coarser than a whole number.
    """
    excess = len(str(units)) - SIGNIFICANT_FIGURES
    return 1 if excess <= 0 else min(10**excess, scale)


def snap_down(units: int, scale: int) -> int:
    """Largest valid price, in units, not above ``units``."""
    return units - units % tick_units(units, scale)


def snap_up(units: int, scale: int) -> int:
    """Smallest valid price, in units, not below ``units``."""
    tick = tick_units(units, scale)
    return -(-units // tick) * tick
