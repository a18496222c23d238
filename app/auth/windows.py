"""Sliding windows, counted in this process: at most `amount` events in any `seconds`. Pure except for its clock.

Defines limits and how they are counted; `quota` defines subjects and refusals.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

EXACT_UP_TO = 100
"""Limits up to this many events store the instant of each; larger ones divide their window into this many steps."""

_MOST_SUBJECTS = 100_000
_EVICTED_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` events in any `seconds`, per subject. `name`: lower-case and unique."""

    name: str
    amount: int
    seconds: int

    @property
    def grain(self) -> float:
        """Seconds that an event may count longer than the window, which bounds the memory of large limits."""
        return 0.0 if self.amount <= EXACT_UP_TO else self.seconds / EXACT_UP_TO


class Check(NamedTuple):
    """Events of a subject to check against a limit, all of them or none. `amount`: at most the limit's."""

    limit: Limit
    subject: str
    amount: int = 1


class Standing(NamedTuple):
    """State of a subject: events left, and seconds until the oldest counted event expires."""

    remaining: int
    frees_in: float


class Verdict(NamedTuple):
    """Result of a check: `refused` has the positions of the limits that refused it; empty if it was admitted and counted.

    `at`: the clock's instant of a counted event. `wait`: seconds until every limit would admit a refused one.
    """

    refused: tuple[int, ...]
    standings: tuple[Standing, ...]
    at: float = 0.0
    wait: float = 0.0


class _Log:
    """The events of one subject: counts by instant, oldest first, and the instant until which all events are refused."""

    __slots__ = ("blocked_until", "counts", "stamps", "total")

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.counts: list[int] = []
        self.total = 0
        self.blocked_until = 0.0

    def forget(self, until: float) -> None:
        """Drop the events up to an instant."""
        if self.stamps and self.stamps[0] <= until:
            gone = bisect_right(self.stamps, until)
            self.total -= sum(self.counts[:gone])
            del self.stamps[:gone], self.counts[:gone]

    def add(self, stamp: float, amount: int) -> None:
        """Count events at an instant that is not before the newest one."""
        if self.stamps and self.stamps[-1] == stamp:
            self.counts[-1] += amount
        else:
            self.stamps.append(stamp)
            self.counts.append(amount)
        self.total += amount

    def remove(self, stamp: float, amount: int) -> None:
        """Remove events that still count."""
        at = bisect_right(self.stamps, stamp) - 1
        if at >= 0 and self.stamps[at] == stamp:
            self.total -= amount
            self.counts[at] -= amount
            if not self.counts[at]:
                del self.stamps[at], self.counts[at]

    def wait(self, check: Check, now: float) -> float:
        """Return the seconds until a check would be admitted without further events."""
        free = check.limit.amount - self.total
        admitted_at = now
        for stamp, count in zip(self.stamps, self.counts, strict=True):
            if free >= check.amount:
                break
            free += count
            admitted_at = stamp + check.limit.seconds
        return max(admitted_at, self.blocked_until) - now

    def standing(self, limit: Limit, now: float) -> Standing:
        """Return the state of the subject."""
        frees_in = self.stamps[0] + limit.seconds - now if self.stamps else 0.0
        blocked_for = self.blocked_until - now
        if blocked_for > 0.0:
            return Standing(0, max(blocked_for, frees_in if self.total >= limit.amount else 0.0))
        return Standing(max(0, limit.amount - self.total), frees_in)


def _stamp(limit: Limit, now: float) -> float:
    # The end of the step, not its beginning: then no window contains more than the limit.
    grain = limit.grain
    return ceil(now / grain) * grain if grain else now


class LocalWindows:
    """The windows of one process, for one thread. `clock`: monotonic seconds.

    A subject is removed after an idle window; beyond `most_subjects` of a limit, the least recently active are removed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_subjects: int = _MOST_SUBJECTS) -> None:
        self._clock = clock
        self._most_subjects = most_subjects
        self._logs: defaultdict[str, OrderedDict[str, _Log]] = defaultdict(OrderedDict)

    def __len__(self) -> int:
        return sum(map(len, self._logs.values()))

    def take(self, checks: Sequence[Check]) -> Verdict:
        """Admit and count an event for every limit, or count it for none."""
        now = self._clock()
        if len(checks) == 1:  # as most are: nothing has to be undone or waited for of another limit
            (check,) = checks
            log = self._log(check, now)
            if log.blocked_until <= now and log.total + check.amount <= check.limit.amount:
                log.add(_stamp(check.limit, now), check.amount)
                return Verdict((), (log.standing(check.limit, now),), now)
        logs = [self._log(check, now) for check in checks]
        refused = tuple(
            i for i, check in enumerate(checks) if logs[i].blocked_until > now or logs[i].total + check.amount > check.limit.amount
        )
        if not refused:
            for check, log in zip(checks, logs, strict=True):
                log.add(_stamp(check.limit, now), check.amount)
        wait = max((logs[i].wait(checks[i], now) for i in refused), default=0.0)
        return Verdict(refused, tuple(log.standing(check.limit, now) for check, log in zip(checks, logs, strict=True)), now, wait)

    def admitter(self, limit: Limit) -> Callable[[str, float], bool]:
        """Return a faster `take` for single events: from a subject and an instant of this object's clock to whether it is admitted."""
        logs = self._logs[limit.name]
        amount, seconds, grain = limit.amount, limit.seconds, limit.grain

        def admit(subject: str, now: float) -> bool:
            log = logs.get(subject)
            if log is not None and log.stamps:
                newest = log.stamps[-1]
                if now <= newest < now + grain and log.stamps[0] > now - seconds and log.total < amount and log.blocked_until <= now:
                    log.counts[-1] += 1
                    log.total += 1
                    return True
            return not self.take((Check(limit, subject),)).refused

        return admit

    def give_back(self, checks: Sequence[Check], at: float) -> None:
        """Undo the `take` of that instant."""
        for check in checks:
            log = self._logs[check.limit.name].get(check.subject)
            if log is not None:
                log.remove(_stamp(check.limit, at), check.amount)

    def block(self, check: Check, seconds: float) -> None:
        """Refuse all events of the subject for some seconds, as decided by Redis."""
        now = self._clock()
        log = self._log(check, now)
        log.blocked_until = max(log.blocked_until, now + seconds)

    def standing(self, check: Check) -> Standing:
        """Return the state of the subject without counting."""
        now = self._clock()
        log = self._logs[check.limit.name].get(check.subject)
        if log is None:
            return Standing(check.limit.amount, 0.0)
        log.forget(now - check.limit.seconds)
        return log.standing(check.limit, now)

    def _log(self, check: Check, now: float) -> _Log:
        logs = self._logs[check.limit.name]
        log = logs.get(check.subject)
        if log is None:
            log = logs[check.subject] = _Log()
            self._evict(logs, check.limit, now)
        else:
            logs.move_to_end(check.subject)
            log.forget(now - check.limit.seconds)
        return log

    def _evict(self, logs: OrderedDict[str, _Log], limit: Limit, now: float) -> None:
        # Two are removed for each new one: idle subjects of a flood are soon removed, and no single call removes all of them.
        for _ in range(_EVICTED_AT_ONCE):
            subject, log = next(iter(logs.items()))
            log.forget(now - limit.seconds)
            idle = not log.stamps and log.blocked_until <= now
            if (idle and len(logs) > 1) or len(logs) > self._most_subjects:
                del logs[subject]
            else:
                return
