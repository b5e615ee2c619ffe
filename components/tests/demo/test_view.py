"""The screen shows what is, in every size, and a pipe gets plain lines."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from demo.drawing import chart, clock, format_price, sparkline
from demo.readings import Snapshot
from demo.session import State
from demo.view import PlainView, Screen, make_view, plain_line
from demo.web import WebPages


def drawn(state: State, width: int, height: int = 40) -> str:
    console = Console(width=width, height=height, file=StringIO(), record=True)
    screen = Screen()
    screen.note(state)
    console.print(screen.render(state, width, height))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 150])
def test_the_screen_shows_every_part(state: State, width: int) -> None:
    text = drawn(state, width, height=60)
    for expected in (
        "paper",
        "● running",
        "up 1:15",
        "83,735.5",
        "direct",
        "-2.25",
        "unknown",
        "3/3",
        "filled",
        "sell 0.214",
        "● redis 1:15 ↻2",
        "take_profit fatal",
        "Ctrl-C",
    ):
        assert expected in text


def test_pages_for_a_browser_are_named_with_their_way_in(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    state = replace(state, plan=replace(state.plan, pages=WebPages(15555, 19090)))
    PlainView().show(state)
    for text in (drawn(state, 80, height=60), capsys.readouterr().out):
        assert "Prometheus http://127.0.0.1:19090" in text
        assert "Flower http://127.0.0.1:15555" in text


def test_a_wide_screen_shows_account_and_queues(state: State) -> None:
    text = drawn(state, 150)
    assert "99,998.25 USD  -1.75" in text
    assert "low_priority 8" in text
    assert "lag 0.4 s" in text
    assert "errors 3" in text
    assert max(len(line) for line in text.splitlines()) <= 150
    assert len(text.splitlines()) <= 40


@pytest.mark.parametrize("size", [(60, 24), (80, 24), (80, 40), (120, 24), (120, 40)])
def test_what_matters_is_whole_on_every_usual_terminal(state: State, size: tuple[int, int]) -> None:
    processes = tuple(replace(state.processes[0], name=f"process_{n}") for n in range(18))
    lines = drawn(replace(state, processes=processes), *size).splitlines()
    assert len(lines) <= size[1]
    assert max(len(line) for line in lines) <= size[0]
    for expected in (
        "errors 3",
        " BTC ",
        "83,735.5",
        "0.1 s",
        "+1,190",
        "3/3",
        "sell 0.214",
        "filled",
        "unknown ",
        "Ctrl-C stops",
    ):
        assert any(expected in line for line in lines), expected


def test_a_short_screen_names_the_processes_that_do_not_run(state: State) -> None:
    last = drawn(state, 80, 24).rstrip().splitlines()[-1]
    assert "take_profit fatal" in last


def test_positions_show_desired_actual_and_gap(state: State) -> None:
    lines = drawn(state, 150).splitlines()
    btc = next(line for line in lines if "BTC" in line and "+1,200" in line)
    assert "+1,190" in btc
    assert " 10 " in btc
    sol = next(line for line in lines if "1 of 3 voters agree" in line)
    assert sol.count("unknown") >= 2


def test_an_empty_demo_says_what_it_waits_for(state: State) -> None:
    text = drawn(replace(state, snapshot=Snapshot(), processes=()), 150)
    for expected in ("waiting for the first price", "no run is alive yet", "no order yet"):
        assert expected in text


def test_a_fault_is_shown_on_top(state: State) -> None:
    broken = replace(state.snapshot, faults=("MariaDB cannot be read: refused",))
    assert "MariaDB cannot be read" in drawn(replace(state, snapshot=broken), 150).splitlines()[1]


def test_prices_of_the_past_become_a_sparkline(state: State) -> None:
    screen = Screen()
    for mid in (100.0, 101.0, 102.0):
        price = replace(state.snapshot.prices[0], mid=mid)
        screen.note(replace(state, snapshot=replace(state.snapshot, prices=(price,))))
    console = Console(width=150, height=40, file=StringIO(), record=True)
    console.print(screen.render(state, 150, 40))
    assert "▁▅█" in console.export_text()


def test_equity_is_drawn_over_several_lines() -> None:
    assert chart([0.0, 0.5, 1.0], 2) == [" ▁█", "▁██"]
    assert chart([], 3) == []
    assert len(chart([5.0, 5.0], 4)) == 4


def test_sparklines() -> None:
    assert sparkline([]) == ""
    assert sparkline([5.0, 5.0]) == "▄▄"
    assert sparkline([0.0, 7.0]) == "▁█"


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (83_735.5, "83,735.5"),
        (2_800.7, "2,800.7"),
        (127.36, "127.36"),
        (31.23, "31.230"),
        (1.5, "1.5000"),
        (0.00123456, "0.0012346"),
    ],
)
def test_prices_keep_five_figures(price: float, text: str) -> None:
    assert format_price(price) == text


def test_clock() -> None:
    assert (clock(5), clock(75), clock(3_725)) == ("0:05", "1:15", "1:02:05")


def test_a_pipe_gets_one_plain_line_at_a_time(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_view() as view:
        assert isinstance(view, PlainView)
        view.show(state)
        view.show(state)
        view.show(replace(state, stage="stopping"))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        plain_line(state),
        plain_line(replace(state, stage="stopping")),
    ]


def test_a_plain_line_holds_the_figures(state: State) -> None:
    assert plain_line(state) == (
        "demo: running, 1/3 processes, 71 ticks, 500 runs, 35500 iterations, "
        "orders 2 sent 1 filled 1 unknown, equity 99,998.25 USD, 3 errors"
    )


def test_without_colour_the_screen_has_no_escape_codes(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = StringIO()
    console = Console(width=150, height=40, file=stream, force_terminal=True)
    console.print(Screen().render(state, 150, 40))
    assert "\x1b[3" not in stream.getvalue()
    assert "83,735.5" in stream.getvalue()
