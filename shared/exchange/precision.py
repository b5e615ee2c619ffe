"""What HyperLiquid accepts as a price and as a size: pure rules in ``Decimal``.

A perpetual's price has at most 5 significant figures and at most ``6 - sz_decimals`` decimals;
whole numbers are always valid. A size is a multiple of ``10 ** -sz_decimals``. An order is worth
at least 10 USD, unless it is reduce-only and closes a whole position. Source: HyperLiquid's
API documentation, "Tick and lot size".

Rounding has a direction: sizes go down, so that an order is never larger than was asked for;
prices go away from worse, so that a buy never pays more and a sell never takes less.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Literal

Side = Literal["buy", "sell"]
Tif = Literal["Ioc", "Gtc", "Alo"]

SIGNIFICANT_FIGURES = 5
PERP_PRICE_DECIMALS = 6
SPOT_PRICE_DECIMALS = 8
MIN_NOTIONAL_USD = Decimal(10)
WIRE_DECIMALS = 8
BPS = Decimal(10_000)


class FilterViolation(ValueError):
    """A price, size or notional that the venue would refuse.

    ``rule`` names the filter, ``value`` is what was given, ``limit`` what is allowed.
    """

    def __init__(self, rule: str, value: str, limit: str) -> None:
        super().__init__(f"{rule}: {value} is not allowed; {limit}")
        self.rule = rule
        self.value = value
        self.limit = limit


@dataclass(frozen=True, slots=True)
class OrderFilters:
    """The venue's rules for one market.

    ``sz_decimals``: decimals of a size (0 to 8). ``price_decimals``: most decimals of a price
    before the size decimals are taken off (6 for perpetuals, 8 for spot).
    """

    sz_decimals: int
    price_decimals: int = PERP_PRICE_DECIMALS
    min_notional_usd: Decimal = MIN_NOTIONAL_USD

    def __post_init__(self) -> None:
        if not 0 <= self.sz_decimals <= WIRE_DECIMALS:
            raise ValueError(f"sz_decimals is {self.sz_decimals}; allowed are 0 to 8")

    @property
    def lot(self) -> Decimal:
        """Smallest step of a size."""
        return Decimal(1).scaleb(-self.sz_decimals)

    @property
    def max_price_decimals(self) -> int:
        """Most decimals of any price of this market."""
        return max(0, self.price_decimals - self.sz_decimals)

    def tick(self, price: Decimal) -> Decimal:
        """Step of valid prices at the magnitude of ``price`` (positive and finite)."""
        _require_positive("price", price)
        by_figures = price.adjusted() - (SIGNIFICANT_FIGURES - 1)
        by_decimals = -self.max_price_decimals
        return Decimal(1).scaleb(min(0, max(by_figures, by_decimals)))

    def check_price(self, price: Decimal) -> None:
        """Raise ``FilterViolation`` unless the venue takes ``price`` as it stands."""
        _require_positive("price", price)
        tick = self.tick(price)
        if price % tick != 0:
            raise FilterViolation(
                "tick", plain(price), f"prices near it are multiples of {plain(tick)}"
            )

    def check_size(self, size: Decimal) -> None:
        """Raise ``FilterViolation`` unless the venue takes ``size`` as it stands."""
        _require_positive("size", size)
        if size % self.lot != 0:
            raise FilterViolation("lot", plain(size), f"sizes are multiples of {plain(self.lot)}")

    def check_notional(
        self, price: Decimal, size: Decimal, *, closes_whole_position: bool = False
    ) -> None:
        """Raise ``FilterViolation`` if price × size is below the minimum.

        ``closes_whole_position``: a reduce-only order for all of a position is exempt.
        """
        notional = price * size
        if notional < self.min_notional_usd and not closes_whole_position:
            raise FilterViolation(
                "min_notional",
                f"{plain(notional)} USD",
                f"an order is worth at least {plain(self.min_notional_usd)} USD",
            )

    def round_size(self, size: Decimal) -> Decimal:
        """``size`` rounded down to the lot; raises if nothing is left."""
        _require_positive("size", size)
        rounded = (size / self.lot).to_integral_value(rounding=ROUND_DOWN) * self.lot
        if rounded <= 0:
            raise FilterViolation("lot", plain(size), f"the smallest size is {plain(self.lot)}")
        return rounded

    def round_price(self, price: Decimal, side: Side) -> Decimal:
        """``price`` on the tick, never worse for ``side``: a buy goes down, a sell up.

        Raises if a buy's price is below the smallest tick, where nothing is left.
        """
        tick = self.tick(price)
        rounding = ROUND_FLOOR if side == "buy" else ROUND_CEILING
        rounded = (price / tick).to_integral_value(rounding=rounding) * tick
        if rounded <= 0:
            raise FilterViolation("tick", plain(price), f"the smallest price is {plain(tick)}")
        return rounded

    def slippage_bound(self, reference: Decimal, side: Side, slippage_bps: Decimal) -> Decimal:
        """Worst price a market order may take: ``reference`` moved against ``side``, on the tick.

        ``slippage_bps`` is a distance in basis points, 0 to below 10,000.
        """
        _require_positive("price", reference)
        if not 0 <= slippage_bps < BPS:
            raise ValueError(f"slippage is {slippage_bps} bps; allowed are 0 to below 10000")
        sign = 1 if side == "buy" else -1
        return self.round_price(reference * (1 + sign * slippage_bps / BPS), side)


def to_wire(value: Decimal) -> str:
    """The decimal string of a signed action: no exponent, no trailing zeros, at most 8 decimals.

    Raises ``ValueError`` where those 8 decimals would lose digits.
    """
    if not value.is_finite():
        raise ValueError(f"{value} cannot be sent to the venue; it is not a finite number")
    text = plain(value)
    _, _, decimals = text.partition(".")
    if len(decimals) > WIRE_DECIMALS:
        raise ValueError(f"{text} has {len(decimals)} decimals; the venue takes at most 8")
    return text


def plain(value: Decimal) -> str:
    """``value`` without exponent and without trailing zeros."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _require_positive(name: str, value: Decimal) -> None:
    if not value.is_finite() or value <= 0:
        raise FilterViolation(name, str(value), f"a {name} is a number greater than 0")
