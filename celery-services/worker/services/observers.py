"""Ask the configured observers for their readings, all at once and not for long."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import urlsplit

import orjson
import requests

from shared.http_deadline import DeadlineAdapter
from shared.reconciliation.consensus import Absence, Ballot, Snapshot
from shared.reconciliation.observer_report import ReportError, parse_report

REPORT_PATH = "/3T-observer.json"
MAX_REPORT_BYTES = 1_000_000


class ObserverClient:
    """The observers at ``urls``; each counts as one voter, named by host and port."""

    def __init__(self, urls: Sequence[str], timeout_secs: float) -> None:
        self._urls = tuple(urls)
        self._timeout_secs = timeout_secs

    @property
    def voters(self) -> tuple[str, ...]:
        """Names of the voters, in the configured order."""
        return tuple(_voter(url) for url in self._urls)

    def ballots(self) -> list[Ballot]:
        """One entry per observer, in the configured order; whoever fails is absent, with a reason.

        Two observers that give the same identity are one route: neither then counts.
        """
        asked = self._ask_all()
        identities = [identity for identity, _ in asked]
        return [
            Absence(ballot.voter, f"another observer also calls itself {identity!r}")
            if identity is not None and identities.count(identity) > 1
            else ballot
            for identity, ballot in asked
        ]

    def _ask_all(self) -> list[tuple[str | None, Ballot]]:
        """Every answer that is complete in time; an observer that trickles is not waited for."""
        pool = ThreadPoolExecutor(max_workers=len(self._urls), thread_name_prefix="observer")
        asked = [pool.submit(self._ask, url) for url in self._urls]
        done, _ = wait(asked, timeout=2 * self._timeout_secs)
        pool.shutdown(wait=False, cancel_futures=True)
        late = f"no complete answer within {2 * self._timeout_secs:g} s"
        return [
            answer.result() if answer in done else (None, Absence(_voter(url), late))
            for url, answer in zip(self._urls, asked, strict=True)
        ]

    def _ask(self, url: str) -> tuple[str | None, Ballot]:
        voter = _voter(url)
        try:
            with (
                _session() as session,
                session.get(
                    url + REPORT_PATH,
                    timeout=self._timeout_secs,
                    stream=True,
                    allow_redirects=False,
                ) as reply,
            ):
                body = reply.raw.read(MAX_REPORT_BYTES + 1, decode_content=True)
                status = reply.status_code
        except requests.Timeout:
            return None, Absence(voter, f"no answer within {self._timeout_secs:g} s")
        except (requests.RequestException, OSError) as error:
            return None, Absence(voter, f"cannot be reached ({type(error).__name__})")
        if status != requests.codes.ok:
            return None, Absence(voter, f"answered {status}: {body[:200].decode(errors='replace')}")
        return _read(voter, body)


def _session() -> requests.Session:
    """For one request; its reply is complete within the timeout, or none."""
    session = requests.Session()
    session.mount("http://", DeadlineAdapter())
    session.mount("https://", DeadlineAdapter())
    return session


def _read(voter: str, body: bytes) -> tuple[str | None, Ballot]:
    if len(body) > MAX_REPORT_BYTES:
        return None, Absence(voter, f"its report is larger than {MAX_REPORT_BYTES} bytes")
    try:
        report = parse_report(_decoded(body))
    except ReportError as error:
        return None, Absence(voter, f"its report is unusable: {error}")
    sizes = {symbol: held.size for symbol, held in report.positions.items()}
    return report.observer_id, Snapshot.read_at(
        voter, report.venue_ms, report.read_ms, report.dexes, sizes
    )


def _decoded(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReportError(f"not JSON ({error})") from error


def _voter(url: str) -> str:
    return urlsplit(url).netloc
