"""One self-contained page: what was asked, what came out, how sure that is."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.research.statistics_text import Row

_STYLE: Final = """
:root { --ink:#1c2733; --muted:#6b7785; --line:#e3e8ee; --blue:#2962c4; }
:root { --red:#c23b3b; --green:#2b8a5b; }
* { box-sizing: border-box; }
body { margin:0; background:#f4f6f9; color:var(--ink);
  font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif; }
main { max-width:1080px; margin:0 auto; padding:36px 24px 64px; }
h1 { font-size:26px; margin:0 0 4px; letter-spacing:-.01em; }
h2 { font-size:17px; margin:0 0 12px; }
p { margin:0 0 10px; }
.sub { color:var(--muted); margin-bottom:22px; }
.cards { display:grid; grid-template-columns:repeat(4,1fr); gap:12px; margin-bottom:20px; }
.card, section { background:#fff; border:1px solid var(--line); border-radius:10px; }
.card { padding:14px 16px; }
.card b { display:block; font-size:22px; font-variant-numeric:tabular-nums; }
.card span { color:var(--muted); font-size:12.5px; }
.good b { color:var(--green); }
.bad b { color:var(--red); }
section { padding:20px 22px; margin-bottom:16px; }
img { width:100%; height:auto; display:block; }
figure { margin:0; }
figcaption { color:var(--muted); font-size:13px; margin-top:8px; }
.notes { border-left:4px solid #d9822b; }
ul { margin:0; padding-left:20px; }
li { margin-bottom:4px; }
table { border-collapse:collapse; width:100%; font-size:13.5px; }
td, th { text-align:left; padding:6px 10px 6px 0; border-bottom:1px solid var(--line);
  vertical-align:top; font-variant-numeric:tabular-nums; }
th { font-weight:500; }
th small { display:block; color:var(--muted); font-size:12px; font-weight:400; }
td { text-align:right; }
.two { display:grid; grid-template-columns:1fr 1fr; gap:16px; }
.two { align-items:start; }
.two section { margin:0; }
code { font:12px/1.4 ui-monospace,"DejaVu Sans Mono",monospace; overflow-wrap:anywhere; }
footer { color:var(--muted); font-size:12.5px; margin-top:20px; }
@media (max-width:760px) { .two { grid-template-columns:minmax(0,1fr); }
  .cards { grid-template-columns:1fr 1fr; } main { padding:24px 12px 48px; }
  section { padding:16px; } .card b { font-size:19px; }
  .wide { overflow-x:auto; } .wide img { width:720px; max-width:none; } }
"""


@dataclass(frozen=True, slots=True)
class Card:
    """A figure at the top; ``tone`` is good, bad or empty."""

    value: str
    label: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot with what it shows."""

    path: Path
    caption: str


def page(
    title: str,
    subtitle: str,
    cards: Sequence[Card],
    notes: Sequence[str],
    pictures: Sequence[Picture],
    tables: Mapping[str, Sequence[Row]],
    footer: str,
) -> str:
    """The page as HTML; everything it shows is inside it."""
    parts = [
        f"<h1>{_text(title)}</h1><p class=sub>{_text(subtitle)}</p>",
        "<div class=cards>" + "".join(map(_card, cards)) + "</div>",
        "<section class=notes><h2>Read this first</h2><ul>"
        + "".join(f"<li>{_text(note)}</li>" for note in notes)
        + "</ul></section>",
        *map(_picture, pictures),
        "<div class=two>" + "".join(_table(*item) for item in tables.items()) + "</div>",
        f"<footer>{_text(footer)}</footer>",
    ]
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{_text(title)}</title>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction in per cent, with its sign; a dash where it is not known."""
    return "–" if not math.isfinite(fraction) else f"{100.0 * fraction:+.{digits}f} %"


def number(value: float, digits: int = 2) -> str:
    """A number with separated thousands; a dash where it is not known."""
    return "–" if not math.isfinite(value) else f"{value:,.{digits}f}"


def _text(value: str) -> str:
    return html.escape(value)


def _card(card: Card) -> str:
    label = f"<span>{_text(card.label)}</span>"
    return f"<div class='card {card.tone}'><b>{_text(card.value)}</b>{label}</div>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    return (
        f"<section><figure><div class=wide tabindex=0><img alt='{_text(picture.caption)}' "
        f"src='data:image/png;base64,{data}'></div><figcaption>{_text(picture.caption)}</figcaption></figure></section>"
    )


def _table(title: str, rows: Sequence[Row]) -> str:
    body = "".join(
        f"<tr><th>{_text(name)}<small>{_text(meaning)}</small></th>"
        f"<td><code>{_text(value)}</code></td></tr>"
        for name, value, meaning in rows
    )
    return f"<section><h2>{_text(title)}</h2><table>{body}</table></section>"
