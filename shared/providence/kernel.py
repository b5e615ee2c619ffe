"""Everything that decides or books a trade, as scalar code on one record.

Only + - x / sqrt, comparison and selection, no reduction over an axis: a run gets the same bits
alone, in a batch, live and replayed, and a plain Python reference in the tests agrees bit for bit.
The functions live in one file because Numba tracks only that for its cache (see ``_jit``). They are
documented where they are used: signals, sizing, ledger, step, aggregate.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.providence._jit import inlined, jit
from shared.providence.codes import Interpretation, Reason, Status

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]

ACTIVE = int(Status.ACTIVE)
COMPLETED = int(Status.COMPLETED)
INVERSE = int(Interpretation.INVERSE)
SWING = int(Interpretation.SWING)
BREAKOUT = int(Interpretation.BREAKOUT)
NO_EXIT = int(Reason.DIRECTION)
SIGNAL = int(Reason.SIGNAL)
DRAWDOWN = int(Reason.DRAWDOWN)
DURATION = int(Reason.DURATION)
TAKE_PROFIT = int(Reason.TAKE_PROFIT)
KELLY = int(Reason.KELLY)
SYMBOL_LEFT = int(Reason.SYMBOL_LEFT)
MS_PER_HOUR = 3_600_000.0
LOW_BYTE = np.int64(0xFF)


class RuleNumbers(NamedTuple):
    """:class:`shared.providence.rules.Rules` as the kernel takes it."""

    taker_fee_rate: float
    slippage_rate: float
    base_fraction: float
    probation_fraction: float
    max_fraction: float
    max_reward_ratio: float
    min_trades: int
    judge_after_trades: int
    live_pnl_threshold: float


@jit
def swap_bytes(value: int) -> int:
    """``value`` (int64) with its bytes reversed."""
    swapped = np.int64(0)
    for i in range(8):
        swapped = (swapped << np.int64(8)) | ((value >> np.int64(8 * i)) & LOW_BYTE)
    return int(swapped)


@jit
def lived_ms(records: Any) -> int:
    """Time by which the runs have been stepped, in all."""
    lived = 0
    for i in range(records.size):
        lived += swap_bytes(records[i].tick_be) - records[i].spawn_tick
    return lived


@inlined
def direction_of(
    interpretation: int,
    entropy: float,
    theta: float,
    dead_band: float,
    price: float,
    past: float,
    held: int,
) -> int:
    """Direction for the next sample; ``held`` where something needed is NaN."""
    s = entropy - theta
    if s != s:
        return held
    if interpretation < BREAKOUT:
        direction = int(s > dead_band) - int(s < -dead_band)
    else:
        ordered = s < -dead_band
        if ordered and (past != past or price != price):
            return held
        direction = (int(price > past) - int(price < past)) * int(ordered)
    return -direction if interpretation in (INVERSE, SWING) else direction


@jit
def kelly_of(trades: int, wins: int, sum_win: float, sum_loss: float, cap: float) -> float:
    """K = W - (1 - W)/R of closed trades; 0 without any."""
    if trades == 0:
        return 0.0
    if wins == 0:
        return -1.0
    win_rate = (wins + 1.0) / (trades + 2.0)
    ratio = cap
    if sum_loss > 0.0:
        ratio = (sum_win / wins) / (sum_loss / (trades - wins))
        if ratio > cap:
            ratio = cap
    if not ratio > 0.0:
        return -1.0
    return win_rate - (1.0 - win_rate) / ratio


@jit
def kelly_fraction(
    trades: int,
    wins: int,
    sum_win: float,
    sum_loss: float,
    kelly_multiplier: float,
    rules: RuleNumbers,
) -> tuple[float, float]:
    """(K, f): see :mod:`shared.providence.sizing`."""
    kelly = kelly_of(trades, wins, sum_win, sum_loss, rules.max_reward_ratio)
    if trades < rules.min_trades:
        return kelly, rules.base_fraction
    if not kelly > 0.0:
        return kelly, rules.probation_fraction
    fraction = kelly_multiplier * kelly
    if fraction > rules.max_fraction:
        fraction = rules.max_fraction
    return kelly, fraction


@inlined
def mark(rec: Any, price: float, index: float) -> None:
    """Equity identity at ``price``: start + realised - fees + funding + unrealised."""
    rec.funding = rec.funding_settled + rec.position * (index - rec.funding_index)
    rec.unrealised = rec.position * (price - rec.entry_price)
    rec.equity = rec.start_balance + rec.realised - rec.fees + rec.funding + rec.unrealised
    rec.live_pnl = rec.equity - rec.start_balance


@jit
def open_trade(rec: Any, position: float, price: float, fee: float) -> None:
    """Start a trade; ``fee`` is already in ``rec.fees``, the equity at entry is before it."""
    rec.position = position
    rec.entry_price = price
    rec.direction = 1 if position > 0.0 else -1
    cash = rec.start_balance + rec.realised - rec.fees + rec.funding_settled
    rec.equity_at_entry = cash + fee
    rec.trade_net = -fee


@jit
def close_trade(rec: Any) -> None:
    """Book the return of the trade that just ended and go flat."""
    result = -1.0
    if rec.equity_at_entry > 0.0:
        result = rec.trade_net / rec.equity_at_entry
    rec.trades += 1
    if result > 0.0:
        rec.wins += 1
        rec.sum_win += result
    else:
        rec.sum_loss -= result
    rec.position = 0.0
    rec.entry_price = 0.0
    rec.direction = 0
    rec.equity_at_entry = 0.0
    rec.trade_net = 0.0


@jit
def apply_fill(rec: Any, size: float, price: float, fee: float, index: float) -> None:
    """Book one fill: settle funding, then close, reduce, add, open or reverse."""
    position = rec.position
    received = position * (index - rec.funding_index)
    rec.funding_settled += received
    rec.funding_index = index
    rec.fees += fee
    rec.fill_seq += 1
    if position == 0.0:
        open_trade(rec, size, price, fee)
        return
    rec.trade_net += received
    if (size > 0.0) == (position > 0.0):
        total = position + size
        rec.entry_price = (rec.entry_price * position + price * size) / total
        rec.position = total
        rec.trade_net -= fee
        return
    closed = min(abs(size), abs(position))
    fee_closed = fee * (closed / abs(size))
    gain = closed * (price - rec.entry_price)
    if position < 0.0:
        gain = -gain
    rec.realised += gain
    rec.trade_net += gain - fee_closed
    rest = position + size
    if abs(size) < abs(position):
        rec.position = rest
        return
    close_trade(rec)
    if rest != 0.0:
        open_trade(rec, rest, price, fee - fee_closed)


@inlined
def exit_reason(rec: Any, tick: int, volatility: float, rules: RuleNumbers) -> int:
    """Why the marked run must end now, or ``NO_EXIT``; a NaN volatility ends no run."""
    if rec.exit_at_tick != 0 and rec.exit_at_tick <= tick:
        return SIGNAL
    if rec.peak_equity - rec.equity > rec.max_drawdown * rec.peak_equity or rec.equity <= 0.0:
        return DRAWDOWN
    if tick - rec.spawn_tick >= rec.max_duration_ms:
        return DURATION
    if rec.take_profit > 0.0 and rec.live_pnl > 0.0:
        scale = volatility * math.sqrt(rec.max_duration_ms / MS_PER_HOUR)
        if rec.live_pnl >= rec.take_profit * scale * rec.start_balance:
            return TAKE_PROFIT
    if rec.trades < rules.judge_after_trades:
        return NO_EXIT
    kelly = kelly_of(rec.trades, rec.wins, rec.sum_win, rec.sum_loss, rules.max_reward_ratio)
    return NO_EXIT if kelly > 0.0 else KELLY


@jit
def blind_exit_reason(rec: Any, tick: int) -> int:
    """Without a good sample a position is held; a flat run may still end on order or by age."""
    if rec.position != 0.0:
        return NO_EXIT
    if rec.exit_at_tick != 0 and rec.exit_at_tick <= tick:
        return SIGNAL
    if tick - rec.spawn_tick >= rec.max_duration_ms:
        return DURATION
    return NO_EXIT


@jit
def direction_change(
    rec: Any, price: float, index: float, rules: RuleNumbers
) -> tuple[float, float, int]:
    """(size, fill price, exit reason) of moving to ``target_direction`` at ``price``.

    The trade that ends here already counts for the size of the next one, and for the judgement.
    """
    target = rec.target_direction
    held = rec.direction
    buy = target > held
    fill_price = price * (1.0 + rules.slippage_rate) if buy else price * (1.0 - rules.slippage_rate)
    trades, wins = rec.trades, rec.wins
    sum_win, sum_loss = rec.sum_win, rec.sum_loss
    cash = rec.equity
    if held != 0:
        fee = abs(rec.position) * fill_price * rules.taker_fee_rate
        gain = rec.position * (fill_price - rec.entry_price)
        cash = rec.equity - rec.unrealised + gain - fee
        received = rec.position * (index - rec.funding_index)
        result = (rec.trade_net + received + gain - fee) / rec.equity_at_entry
        trades += 1
        if result > 0.0:
            wins += 1
            sum_win += result
        else:
            sum_loss -= result
    kelly, fraction = kelly_fraction(trades, wins, sum_win, sum_loss, rec.kelly_multiplier, rules)
    if trades >= rules.judge_after_trades and kelly <= 0.0:
        return -rec.position, fill_price, KELLY
    if fraction > rec.max_leverage:
        fraction = rec.max_leverage
    wanted = 0.0
    if cash > 0.0:
        wanted = target * (fraction * cash / fill_price)
    return wanted - rec.position, fill_price, NO_EXIT


@jit
def closing_order(rec: Any, reason: int, rules: RuleNumbers) -> tuple[float, float, int]:
    """(size, fill price, reason) of leaving at the last known price."""
    size = -rec.position
    edge = rules.slippage_rate if size > 0.0 else -rules.slippage_rate
    return size, rec.last_price * (1.0 + edge), reason


@inlined
def order_of(
    rec: Any,
    tick: int,
    price: float,
    index: float,
    volatility: float,
    entropy: float,
    rules: RuleNumbers,
) -> tuple[float, float, int]:
    """Mark a run to a good sample; (size, fill price, exit reason) of what it does there."""
    rec.last_price = price
    rec.last_funding_index = index
    mark(rec, price, index)
    rec.peak_equity = max(rec.peak_equity, rec.equity)
    reason = exit_reason(rec, tick, volatility, rules)
    if reason == NO_EXIT:
        # A window that spans a gap voids what was decided before the gap: hold, no new trade.
        if entropy != entropy or rec.target_direction == rec.direction:
            return 0.0, price, NO_EXIT
        size, fill_price, reason = direction_change(rec, price, index, rules)
        if reason == NO_EXIT:
            return size, fill_price, NO_EXIT
    return closing_order(rec, reason, rules)


@jit
def book(
    rec: Any, tick: int, size: float, price: float, reason: int, rules: RuleNumbers, fill: Any
) -> None:
    """Apply an order to the ledger and write it to the journal row ``fill``."""
    index = rec.last_funding_index
    fee = abs(size) * price * rules.taker_fee_rate
    apply_fill(rec, size, price, fee, index)
    mark(rec, rec.last_price, index)
    fill.run_id = rec.run_id
    fill.fill_seq = rec.fill_seq
    fill.tick = tick
    fill.product_id = rec.product_id
    fill.size = size
    fill.price = price
    fill.fee = fee
    fill.funding_index = index
    fill.reason = reason


@jit
def refused(
    records: Any,
    cells: IntArray,
    lookbacks: IntArray,
    columns: IntArray,
    tick: int,
    cell_count: int,
    lookback_count: int,
    column_count: int,
) -> int:
    """First run that cannot be stepped, else -1: late for the tick, or bound outside the market.

    Late runs are reported as their index i, wrongly bound ones as n + i.
    """
    for i in range(records.size):
        rec = records[i]
        inside = 0 <= cells[i] < cell_count and 0 <= lookbacks[i] < lookback_count
        if not (inside and -1 <= columns[i] < column_count):
            return int(records.size) + i
        if rec.status == ACTIVE and tick > rec.spawn_tick and swap_bytes(rec.tick_be) >= tick:
            return i
    return -1


@inlined
def is_good(ok: bool, price: float, index: float) -> bool:
    """Whether a sample can be traded at."""
    return ok and 0.0 < price < math.inf and abs(index) < math.inf


@jit
def good_samples(
    oks: NDArray[np.bool_], prices: FloatArray, indexes: FloatArray
) -> NDArray[np.bool_]:
    """[T, S]: :func:`is_good` of each, asked once for all runs."""
    good = np.empty_like(oks)
    for t in range(oks.shape[0]):
        for s in range(oks.shape[1]):
            good[t, s] = is_good(oks[t, s], prices[t, s], indexes[t, s])
    return good


@inlined
def step_run(
    rec: Any,
    tick: int,
    left: bool,
    good: bool,
    price: float,
    index: float,
    volatility: float,
    entropy: float,
    past: float,
    rules: RuleNumbers,
    fill: Any,
) -> int:
    """Advance one living run, born before ``tick``, to it; 1 if it wrote ``fill``, else 0.

    ``left``: its symbol is traded no more. ``good``: see :func:`is_good`; without a good sample
    nothing of it is looked at.
    """
    if left:
        size, fill_price, reason = closing_order(rec, SYMBOL_LEFT, rules)
    elif good:
        size, fill_price, reason = order_of(rec, tick, price, index, volatility, entropy, rules)
    else:
        entropy, price = math.nan, math.nan
        size, fill_price, reason = 0.0, 0.0, blind_exit_reason(rec, tick)
    count = 0
    if size != 0.0:
        book(rec, tick, size, fill_price, reason, rules, fill)
        count = 1
    if reason != NO_EXIT:
        rec.status = COMPLETED
        rec.exit_reason = reason
        rec.target_direction = 0
    else:
        rec.target_direction = direction_of(
            rec.interpretation,
            entropy,
            rec.theta,
            rec.dead_band,
            price,
            past,
            rec.direction,
        )
    return count


@jit
def step_runs(
    records: Any,
    cells: IntArray,
    lookbacks: IntArray,
    columns: IntArray,
    tick: int,
    prices: FloatArray,
    oks: NDArray[np.bool_],
    indexes: FloatArray,
    volatilities: FloatArray,
    entropies: FloatArray,
    pasts: FloatArray,
    rules: RuleNumbers,
    fills: Any,
) -> int:
    """Advance every living run by one tick; returns the number of rows written to ``fills``."""
    tick_be = swap_bytes(tick)
    count = 0
    for i in range(records.size):
        rec = records[i]
        if rec.status != ACTIVE or tick <= rec.spawn_tick:
            continue
        rec.tick_be = tick_be
        s = columns[i]
        if s < 0:
            count += step_run(
                rec, tick, True, False, 0.0, 0.0, 0.0, math.nan, 0.0, rules, fills[count]
            )
            continue
        count += step_run(
            rec,
            tick,
            False,
            is_good(oks[s], prices[s], indexes[s]),
            prices[s],
            indexes[s],
            volatilities[s],
            entropies[cells[i], s],
            pasts[lookbacks[i], s],
            rules,
            fills[count],
        )
    return count


@inlined
def add_run(rec: Any, tick: int, rules: RuleNumbers, row: Any) -> None:
    """Add one record to its symbol's row of sums."""
    growth = rec.live_pnl / rec.start_balance
    if rec.status == ACTIVE:
        row.active += 1
        if rec.live_pnl > rules.live_pnl_threshold:
            row.qualifying += 1
            _, fraction = kelly_fraction(
                rec.trades,
                rec.wins,
                rec.sum_win,
                rec.sum_loss,
                rec.kelly_multiplier,
                rules,
            )
            if fraction > rec.max_leverage:
                fraction = rec.max_leverage
            unit = rules.base_fraction * rec.start_balance
            row.weighted_direction += rec.direction * (fraction * rec.equity / unit)
    if rec.fill_seq == 0:
        return
    if rec.height != 0 and rec.height_at_tick <= tick:
        row.history_runs += 1
        if growth > 0.0:
            row.history_wins += 1
            row.history_sum_win += growth
        else:
            row.history_sum_loss -= growth
    else:
        row.current_runs += 1
        if growth > 0.0:
            row.current_wins += 1
            row.current_sum_win += growth
        else:
            row.current_sum_loss -= growth


@jit
def add_shard(records: Any, columns: IntArray, tick: int, rules: RuleNumbers, sums: Any) -> None:
    """Add every record to its symbol's row of ``sums``, in run order."""
    for i in range(records.size):
        if columns[i] >= 0:
            add_run(records[i], tick, rules, sums[columns[i]])


@jit
def add_sums(total: Any, part: Any) -> None:
    """Add the rows of ``part`` to those of ``total``."""
    for s in range(part.size):
        into, row = total[s], part[s]
        into.active += row.active
        into.qualifying += row.qualifying
        into.weighted_direction += row.weighted_direction
        into.current_runs += row.current_runs
        into.current_wins += row.current_wins
        into.current_sum_win += row.current_sum_win
        into.current_sum_loss += row.current_sum_loss
        into.history_runs += row.history_runs
        into.history_wins += row.history_wins
        into.history_sum_win += row.history_sum_win
        into.history_sum_loss += row.history_sum_loss


@jit
def add_ended(records: Any, columns: IntArray, rules: RuleNumbers, part: Any, total: Any) -> None:
    """Add every record to ``part``, as of the latest tick of them all, and that to ``total``."""
    latest = 0
    for i in range(records.size):
        latest = max(latest, swap_bytes(records[i].tick_be))
    add_shard(records, columns, latest, rules, part)
    add_sums(total, part)


@jit
def step_shards(
    records: Any,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    cells: IntArray,
    lookbacks: IntArray,
    columns: IntArray,
    ticks: NDArray[np.int64],
    prices: FloatArray,
    oks: NDArray[np.bool_],
    indexes: FloatArray,
    volatilities: FloatArray,
    entropies: FloatArray,
    pasts: FloatArray,
    rules: RuleNumbers,
    fills: Any,
    due: NDArray[np.bool_],
    blank: Any,
    shard_sums: Any,
    ended: Any,
    sums: Any,
) -> int:
    """``step_runs`` of every shard through T ticks, a run at a time.

    A run's next tick takes the same branches as its last one mostly, another run's does not: this
    order is the faster one. Where ``due[t]``, the sums after tick t are added to the next row of
    ``sums``, within each shard first, as a worker adds them, those of ``ended`` last.
    Returns the rows written to ``fills``, which come by shard, then run, then tick.
    """
    swapped, rows = np.empty_like(ticks), np.full(ticks.size, -1)
    good = good_samples(oks, prices, indexes)
    row = 0
    for t in range(ticks.size):
        swapped[t] = swap_bytes(ticks[t])
        if due[t]:
            rows[t] = row
            row += 1
    count = 0
    for k in range(starts.size):
        for d in range(shard_sums.shape[0]):
            for s in range(shard_sums.shape[1]):
                shard_sums[d, s] = blank[s]
        for i in range(starts[k], stops[k]):
            rec, s = records[i], columns[i]
            # unsigned: no index from the end
            cell, lookback = np.uint64(cells[i]), np.uint64(lookbacks[i])
            left, column = s < 0, np.uint64(max(s, 0))
            for t in range(ticks.size):
                tick = ticks[t]
                if rec.status == ACTIVE and tick > rec.spawn_tick:
                    rec.tick_be = swapped[t]
                    count += step_run(
                        rec,
                        tick,
                        left,
                        good[t, column],
                        prices[t, column],
                        indexes[t, column],
                        volatilities[t, column],
                        entropies[t, cell, column],
                        pasts[t, lookback, column],
                        rules,
                        fills[count],
                    )
                if rows[t] >= 0 and not left:
                    add_run(rec, tick, rules, shard_sums[rows[t], column])
        for d in range(shard_sums.shape[0]):
            add_sums(sums[d], shard_sums[d])
    for d in range(sums.shape[0]):
        add_sums(sums[d], ended)
    return count


@jit
def replay_fills(fills: Any, rec: Any) -> int:
    """Apply fills in order; returns the first that does not follow on, else -1."""
    for i in range(fills.size):
        fill = fills[i]
        if fill.run_id != rec.run_id or fill.fill_seq != rec.fill_seq + 1 or fill.size == 0.0:
            return i
        apply_fill(rec, fill.size, fill.price, fill.fee, fill.funding_index)
    return -1
