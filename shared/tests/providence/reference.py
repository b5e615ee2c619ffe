"""One run in plain Python, written from the design and not from the kernel.

Slow and readable: a dictionary of Python numbers, one method per paragraph of the design. The
property tests ask that the compiled kernel gives the same bits.
"""

from __future__ import annotations

import math
from typing import Any

from shared.providence.codes import Interpretation, Reason, Status
from shared.providence.rules import Rules


class ReferenceRun:
    """State of one run as a dictionary with the field names of the record."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = dict(state)

    # -- one tick -----------------------------------------------------------------------------

    def step(self, tick: int, sample: dict[str, Any] | None, rules: Rules) -> dict[str, Any] | None:
        """``sample`` is None when the symbol has left; returns the fill of this tick, if any."""
        s = self.state
        if s["status"] == Status.COMPLETED or tick <= s["spawn_tick"]:
            return None
        s["tick"] = tick
        if sample is None:
            return self._leave(tick, Reason.SYMBOL_LEFT, rules)
        price, index = sample["price"], sample["funding_index"]
        usable = sample["ok"] and math.isfinite(price) and price > 0 and math.isfinite(index)
        if not usable:
            s["target_direction"] = s["direction"]
            ordered = s["exit_at_tick"] != 0 and s["exit_at_tick"] <= tick
            aged = tick - s["spawn_tick"] >= s["max_duration_ms"]
            if s["position"] == 0.0 and (ordered or aged):
                return self._leave(tick, Reason.SIGNAL if ordered else Reason.DURATION, rules)
            return None
        s["last_price"], s["last_funding_index"] = price, index
        self._mark()
        s["peak_equity"] = max(s["peak_equity"], s["equity"])
        reason = self._exit(tick, sample["volatility"], rules)
        if reason is not None:
            return self._leave(tick, reason, rules)
        known = not math.isnan(sample["entropy"])
        fill = None
        if known and s["target_direction"] != s["direction"]:
            fill = self._change_direction(tick, rules)
        if s["status"] == Status.COMPLETED:
            return fill
        s["target_direction"] = s["direction"]
        if known:
            s["target_direction"] = self._decide(sample["entropy"], price, sample["past"])
        return fill

    # -- signal ---------------------------------------------------------------------------------

    def _decide(self, entropy: float, price: float, past: float) -> int:
        s = self.state
        distance = entropy - s["theta"]
        kind = Interpretation(s["interpretation"])
        if kind in (Interpretation.DIRECT, Interpretation.INVERSE):
            sign = (distance > s["dead_band"]) - (distance < -s["dead_band"])
            return sign if kind == Interpretation.DIRECT else -sign
        if distance >= -s["dead_band"]:
            return 0
        if math.isnan(past):
            return int(s["direction"])
        sign = (price > past) - (price < past)
        return sign if kind == Interpretation.BREAKOUT else -sign

    # -- sizing ---------------------------------------------------------------------------------

    @staticmethod
    def kelly(trades: int, wins: int, sum_win: float, sum_loss: float, rules: Rules) -> float:
        if trades == 0:
            return 0.0
        if wins == 0:
            return -1.0
        losses = trades - wins
        if sum_loss == 0.0:
            reward = rules.max_reward_ratio
        else:
            reward = min((sum_win / wins) / (sum_loss / losses), rules.max_reward_ratio)
        rate = (wins + 1.0) / (trades + 2.0)
        return -1.0 if reward == 0.0 else rate - (1.0 - rate) / reward

    def fraction(self, kelly: float, trades: int, rules: Rules) -> float:
        if trades < rules.min_trades:
            wanted = rules.base_fraction
        elif kelly <= 0.0:
            wanted = rules.probation_fraction
        else:
            wanted = min(self.state["kelly_multiplier"] * kelly, rules.max_fraction)
        return min(wanted, self.state["max_leverage"])

    # -- ledger -----------------------------------------------------------------------------------

    def _mark(self) -> None:
        s = self.state
        pending = s["position"] * (s["last_funding_index"] - s["funding_index"])
        s["funding"] = s["funding_settled"] + pending
        s["unrealised"] = s["position"] * (s["last_price"] - s["entry_price"])
        s["equity"] = (
            s["start_balance"] + s["realised"] - s["fees"] + s["funding"] + s["unrealised"]
        )
        s["live_pnl"] = s["equity"] - s["start_balance"]

    def _exit(self, tick: int, volatility: float, rules: Rules) -> Reason | None:
        s = self.state
        if s["exit_at_tick"] != 0 and tick >= s["exit_at_tick"]:
            return Reason.SIGNAL
        if (
            s["equity"] <= 0
            or s["peak_equity"] - s["equity"] > s["max_drawdown"] * s["peak_equity"]
        ):
            return Reason.DRAWDOWN
        if tick - s["spawn_tick"] >= s["max_duration_ms"]:
            return Reason.DURATION
        if s["take_profit"] > 0 and s["live_pnl"] > 0:
            scale = volatility * math.sqrt(s["max_duration_ms"] / 3_600_000.0)
            if s["live_pnl"] >= s["take_profit"] * scale * s["start_balance"]:
                return Reason.TAKE_PROFIT
        if s["trades"] >= rules.judge_after_trades:
            kelly = self.kelly(s["trades"], s["wins"], s["sum_win"], s["sum_loss"], rules)
            if kelly <= 0.0:
                return Reason.KELLY
        return None

    def _leave(self, tick: int, reason: Reason, rules: Rules) -> dict[str, Any] | None:
        s = self.state
        fill = None
        if s["position"] != 0.0:
            fill = self._fill(tick, -s["position"], reason, rules)
        s["status"], s["exit_reason"], s["target_direction"] = Status.COMPLETED, reason, 0
        return fill

    def _change_direction(self, tick: int, rules: Rules) -> dict[str, Any] | None:
        s = self.state
        slip = rules.slippage_rate
        buying = s["target_direction"] > s["direction"]
        price = s["last_price"] * (1.0 + slip if buying else 1.0 - slip)
        trades, wins, won, lost = s["trades"], s["wins"], s["sum_win"], s["sum_loss"]
        cash = s["equity"]
        if s["direction"] != 0:
            fee = abs(s["position"]) * price * rules.taker_fee_rate
            gain = s["position"] * (price - s["entry_price"])
            received = s["position"] * (s["last_funding_index"] - s["funding_index"])
            cash = s["equity"] - s["unrealised"] + gain - fee
            result = (s["trade_net"] + received + gain - fee) / s["equity_at_entry"]
            trades += 1
            if result > 0.0:
                wins, won = wins + 1, won + result
            else:
                lost -= result
        kelly = self.kelly(trades, wins, won, lost, rules)
        if trades >= rules.judge_after_trades and kelly <= 0.0:
            return self._leave(tick, Reason.KELLY, rules)
        notional = self.fraction(kelly, trades, rules) * cash if cash > 0.0 else 0.0
        size = s["target_direction"] * (notional / price) - s["position"]
        return self._fill(tick, size, Reason.DIRECTION, rules) if size != 0.0 else None

    def _fill(self, tick: int, size: float, reason: Reason, rules: Rules) -> dict[str, Any]:
        s = self.state
        slip = rules.slippage_rate
        price = s["last_price"] * (1.0 + slip if size > 0.0 else 1.0 - slip)
        fee = abs(size) * price * rules.taker_fee_rate
        index = s["last_funding_index"]
        self.apply(size, price, fee, index)
        self._mark()
        return {
            "run_id": s["run_id"],
            "fill_seq": s["fill_seq"],
            "tick": tick,
            "product_id": s["product_id"],
            "size": size,
            "price": price,
            "fee": fee,
            "funding_index": index,
            "reason": int(reason),
        }

    def apply(self, size: float, price: float, fee: float, index: float) -> None:
        """Book one fill: settle funding, then split it into a closing and an opening part."""
        s = self.state
        before = s["position"]
        received = before * (index - s["funding_index"])
        s["funding_settled"] += received
        s["funding_index"] = index
        s["fees"] += fee
        s["fill_seq"] += 1
        opening_fee = fee
        after = size
        if before != 0.0:
            s["trade_net"] += received
            after = before + size
            if before * size > 0.0:
                s["entry_price"] = (s["entry_price"] * before + price * size) / after
                s["position"] = after
                s["trade_net"] -= fee
                return
            closed = min(abs(size), abs(before))
            closing_fee = fee * (closed / abs(size))
            opening_fee = fee - closing_fee
            gain = math.copysign(1.0, before) * (closed * (price - s["entry_price"]))
            s["realised"] += gain
            s["trade_net"] += gain - closing_fee
            if abs(size) < abs(before):
                s["position"] = after
                return
            self._end_trade()
        if after != 0.0:
            cash = s["start_balance"] + s["realised"] - s["fees"] + s["funding_settled"]
            s["position"], s["entry_price"] = after, price
            s["direction"] = 1 if after > 0.0 else -1
            s["equity_at_entry"], s["trade_net"] = cash + opening_fee, -opening_fee

    def _end_trade(self) -> None:
        s = self.state
        enough = s["equity_at_entry"] > 0.0
        result = s["trade_net"] / s["equity_at_entry"] if enough else -1.0
        s["trades"] += 1
        if result > 0.0:
            s["wins"] += 1
            s["sum_win"] += result
        else:
            s["sum_loss"] -= result
        s.update(position=0.0, entry_price=0.0, direction=0, equity_at_entry=0.0, trade_net=0.0)
