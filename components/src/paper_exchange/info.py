"""Dispatch of ``/info`` by request type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paper_exchange import info_absent as absent
from paper_exchange import info_market as market
from paper_exchange import info_user as user
from paper_exchange.exchange import Exchange
from paper_exchange.info_market import InfoError

Handler = Callable[[Exchange, dict[str, Any]], Any]

HANDLERS: dict[str, Handler] = {
    "meta": market.meta,
    "metaAndAssetCtxs": market.meta_and_asset_ctxs,
    "spotMeta": market.spot_meta,
    "spotMetaAndAssetCtxs": market.spot_meta_and_asset_ctxs,
    "perpDexs": market.perp_dexs,
    "allMids": market.all_mids,
    "l2Book": market.l2_book,
    "candleSnapshot": market.candle_snapshot,
    "recentTrades": market.recent_trades,
    "fundingHistory": market.funding_history,
    "exchangeStatus": market.exchange_status,
    "paperHistory": market.paper_history,
    "clearinghouseState": user.clearinghouse_state,
    "spotClearinghouseState": user.spot_clearinghouse_state,
    "openOrders": user.open_orders,
    "frontendOpenOrders": user.frontend_open_orders,
    "orderStatus": user.order_status,
    "historicalOrders": user.historical_orders,
    "userFills": user.user_fills,
    "userFillsByTime": user.user_fills_by_time,
    "userFunding": user.user_funding,
    "userNonFundingLedgerUpdates": user.user_non_funding_ledger_updates,
    "userRateLimit": user.user_rate_limit,
    "userFees": user.user_fees,
    "activeAssetData": user.active_asset_data,
    "userRole": user.user_role,
    "extraAgents": user.extra_agents,
    "userAbstraction": absent.user_abstraction,
    "userDexAbstraction": absent.nothing,
    "userToMultiSigSigners": absent.nothing,
    "userVaultEquities": absent.empty_list,
    "userTwapSliceFills": absent.empty_list,
    "twapHistory": absent.empty_list,
    "delegations": absent.empty_list,
    "delegatorRewards": absent.empty_list,
    "delegatorHistory": absent.empty_list,
    "delegatorSummary": absent.delegator_summary,
    "referral": absent.referral,
    "portfolio": absent.portfolio,
    "predictedFundings": absent.predicted_fundings,
    "perpsAtOpenInterestCap": absent.perps_at_open_interest_cap,
    "perpDexLimits": absent.perp_dex_limits,
    "perpDexStatus": absent.perp_dex_status,
    "maxBuilderFee": user.max_builder_fee,
    "subAccounts": user.sub_accounts,
}


def answer(exchange: Exchange, body: Any) -> Any:
    """Reply to the body of an ``/info`` request.

    Raises:
        InfoError: unknown type, missing field, malformed value (HTTP 422).
    """
    if not isinstance(body, dict):
        raise InfoError("the body is not an object")
    kind = body.get("type")
    handler = HANDLERS.get(kind) if isinstance(kind, str) else None
    if handler is None:
        raise InfoError(f"unknown type {kind!r}")
    return handler(exchange, body)
