"""Knows whether the database answers, without anybody having to wait for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.errors import LedgerFailed, LedgerUnavailable
from service.repetition import Repetition

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERVAL_S = 2.0
# Longer than a statement, or the wait for a connection, may take unless the settings say so.
_LONGEST_CHECK_S = 20.0
_CHECKS_IN_A_ROW = 2
_STOP_S = 1.0


class DatabaseWatch:
    """Asks in a thread of its own, one question at a time, and remembers the answers.

    The database counts as away after two checks in a row that failed, and as back after two that
    did not, so that one slow or lost check turns nobody away. A check that does not come back at
    all fails once it has taken `longest_check_s`. `check`: raises LedgerFailed; blocking.
    `interval_s`: between two checks. `clock`: monotonic seconds.
    """

    def __init__(
        self,
        check: Callable[[], None],
        interval_s: float = _INTERVAL_S,
        longest_check_s: float = _LONGEST_CHECK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check = check
        self._interval_s = interval_s
        self._longest_check_s = longest_check_s
        self._clock = clock
        self._is_away = False
        self._contradictions = 0  # checks in a row that say otherwise
        self._asked_s: float | None = None  # when the check that is under way began
        self._repetition = Repetition(
            self._look_again, "database-watch", first_s=interval_s, stop_s=_STOP_S
        )

    def start(self) -> None:
        """Begin to ask. The database has just been opened, so it counts as there."""
        self._repetition.start()

    def stop(self) -> None:
        """Ask no more. A check that hangs is not waited for: it ends with its connection."""
        self._repetition.stop()

    def look(self) -> None:
        """Ask once, and take note. Blocking; what the thread does again and again."""
        self._asked_s = asked_s = self._clock()
        try:
            self._check()
            has_failed = False
        except LedgerFailed:
            has_failed = True
        if self._clock() - asked_s > self._longest_check_s:
            # Whoever asked meanwhile has been told so already; it is back when it is quick again.
            self._is_away, self._contradictions = True, 0
        elif has_failed == self._is_away:
            self._contradictions = 0
        else:
            self._contradictions += 1
            if self._contradictions == _CHECKS_IN_A_ROW:
                self._is_away, self._contradictions = has_failed, 0
        self._asked_s = None

    def refusal(self) -> LedgerUnavailable | None:
        """Return why no picture could be recorded now, or None. Never waits."""
        asked_s = self._asked_s
        hangs = asked_s is not None and self._clock() - asked_s > self._longest_check_s
        if not (self._is_away or hangs):
            return None
        return LedgerUnavailable(
            "The ledger's database does not answer.",
            retry_after_s=_CHECKS_IN_A_ROW * self._interval_s,
        )

    def _look_again(self) -> float:
        self.look()
        return self._interval_s
