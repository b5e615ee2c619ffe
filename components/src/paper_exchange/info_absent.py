"""``/info`` about things this venue does not have, answered as for an account without any.

Vaults, staking, sub-accounts, TWAPs, referrals, multi-signature users, abstraction of dexes.
"""

from __future__ import annotations

from typing import Any

from paper_exchange.decimals import ZERO, wire
from paper_exchange.exchange import Exchange
from paper_exchange.info_market import InfoError, dex_name
from paper_exchange.info_user import account_of, user_of
from paper_exchange.margin import hourly_funding_rate

PORTFOLIO_SPANS = ("day", "week", "month", "allTime")
REFERRAL_VOLUME_USD = "10000.0"


def empty_list(exchange: Exchange, body: dict[str, Any]) -> Any:
    """No entries for any user."""
    user_of(body)
    return []


def nothing(exchange: Exchange, body: dict[str, Any]) -> Any:
    """Null for any user."""
    user_of(body)
    return None


def user_abstraction(exchange: Exchange, body: dict[str, Any]) -> Any:
    user_of(body)
    return "default"


def delegator_summary(exchange: Exchange, body: dict[str, Any]) -> Any:
    user_of(body)
    amounts = dict.fromkeys(("delegated", "undelegated", "totalPendingWithdrawal"), "0.0")
    return amounts | {"nPendingWithdrawals": 0}


def referral(exchange: Exchange, body: dict[str, Any]) -> Any:
    account = account_of(exchange, body)
    state = {"stage": "needToTrade", "data": {"required": REFERRAL_VOLUME_USD}}
    rewards = dict.fromkeys(("unclaimedRewards", "claimedRewards", "builderRewards"), "0.0")
    return (
        {"referredBy": None, "cumVlm": wire(account.volume)}
        | rewards
        | {"referrerState": state, "rewardHistory": [], "tokenToState": []}
    )


def portfolio(exchange: Exchange, body: dict[str, Any]) -> Any:
    """Account value and profit now, and at no time before; volume since inception."""
    account, now_ms = account_of(exchange, body), exchange.clock.now_ms()
    dexes = exchange.venue.universe.dexes
    value = sum((exchange.venue.margin(account, dex.name).account_value for dex in dexes), ZERO)
    profit = value + account.spot_usdc - account.deposits + account.withdrawals
    history = {
        "accountValueHistory": [[now_ms, wire(value)]],
        "pnlHistory": [[now_ms, wire(profit)]],
        "vlm": wire(account.volume),
    }
    names = [*PORTFOLIO_SPANS, *(f"perp{s[0].upper()}{s[1:]}" for s in PORTFOLIO_SPANS)]
    return [[name, history] for name in names]


def predicted_fundings(exchange: Exchange, body: dict[str, Any]) -> Any:
    """This venue's own rate of the running hour; there is no other venue to compare with."""
    hour_ms = 3_600_000
    next_ms = (exchange.clock.now_ms() // hour_ms + 1) * hour_ms
    first = exchange.venue.universe.dexes[0]
    return [
        [asset.name, [["HlPerp", _prediction(exchange, asset.name, next_ms)]]]
        for asset in first.assets
    ]


def _prediction(exchange: Exchange, coin: str, next_ms: int) -> dict[str, Any]:
    rate = hourly_funding_rate(exchange.venue.markets[coin].premium)
    return {"fundingRate": wire(rate), "nextFundingTime": next_ms, "fundingIntervalHours": 1}


def perps_at_open_interest_cap(exchange: Exchange, body: dict[str, Any]) -> Any:
    dex_name(exchange, body)
    return []


def _builder_dex(exchange: Exchange, body: dict[str, Any]) -> str:
    name = dex_name(exchange, body)
    if name == "":
        raise InfoError("dex must name a builder dex")
    return name


def perp_dex_limits(exchange: Exchange, body: dict[str, Any]) -> Any:
    assets = exchange.venue.dex_assets(_builder_dex(exchange, body))
    return {
        "totalOiCap": "400000000.0",
        "oiSzCapPerPerp": "1000000000.0",
        "maxTransferNtl": "150000000.0",
        "coinToOiCap": [[asset.name, "25000000.0"] for asset in assets],
    }


def perp_dex_status(exchange: Exchange, body: dict[str, Any]) -> Any:
    name = _builder_dex(exchange, body)
    accounts = exchange.venue.accounts.values()
    return {"totalNetDeposit": wire(sum((a.dex_cash(name) for a in accounts), ZERO))}
