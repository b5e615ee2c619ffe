"""How trials reach those who do them: by Celery, or done on the spot."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from celery import Celery
from kombu.exceptions import OperationalError
from optuna.storages import RDBStorage

from shared.celery_app import celery_configuration
from shared.config import Secrets, Settings
from shared.database import redis_url
from shared.research.errors import ResearchError
from shared.research.optimize.work import run_trial
from shared.storage.redis_keys import RESEARCH_QUEUE

TRIAL_TASK: Final = "optimize_trial"
POLL_SECS: Final = 0.5


class CelerySender:
    """One message per trial on the queue ``research``."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        url = redis_url(settings, secrets)
        self._app = Celery("3t", broker=url)
        self._app.conf.update(celery_configuration(settings, url))

    def send(self, study: str, numbers: Sequence[int]) -> None:
        try:
            for number in numbers:
                self._app.send_task(TRIAL_TASK, args=[study, number], queue=RESEARCH_QUEUE)
        except OperationalError as error:
            raise ResearchError(f"the broker cannot be reached ({error}); start Redis") from None

    def wait(self) -> None:
        time.sleep(POLL_SECS)


class InlineSender:
    """Does the trials itself, one at each wait."""

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage
        self._waiting: deque[tuple[str, int]] = deque()

    def send(self, study: str, numbers: Sequence[int]) -> None:
        self._waiting.extend((study, number) for number in numbers)

    def wait(self) -> None:
        if self._waiting:
            run_trial(self._storage, *self._waiting.popleft())
        else:
            time.sleep(POLL_SECS)
