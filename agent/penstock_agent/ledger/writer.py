"""The ledger as it is written: each entry with one write(2) before what it is about happens.

While it cannot be written, nothing new may begin. What runs may end: a reserve of disk space is given up for
that. When even that does not help, what runs breaks off, because nothing leaves unrecorded.

A failed fdatasync is never tried again on the same file: the kernel tells of lost pages once. The ledger goes
on in a new segment, which says from which record on the one before may be missing after a loss of power.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from penstock import log
from penstock.ledgerhead import LedgerHead
from penstock.names import AgentId
from penstock.principal import Principal
from penstock_agent.ledger import record, segments
from penstock_agent.ledger.commit import Commit
from penstock_agent.ledger.disk import Disk
from penstock_agent.ledger.entries import CannotRecord, Entry, Event, LedgerStatus
from penstock_agent.ledger.key import Key
from penstock_agent.ledger.retention import Retention
from penstock_agent.ledger.segments import End, Segment

SEGMENT_BYTES: Final = 64 << 20
HEAD_EVERY: Final = 60.0
"""Seconds between signed heads, while something is written."""
RETRY_AFTER: Final = 5.0
RETRY_AT_MOST: Final = 60.0
"""Seconds to the first try to write again, and between later ones: each waits twice as long."""
RETIRE_EVERY: Final = 86_400.0
MAX_OWN: Final = 256
"""Heads of this run that are remembered."""
MAX_CALLERS: Final = 4096
"""Callers whose number is known; above it all are introduced again."""

REFUSES: Final = (
    "The site cannot record at the moment what leaves it, so nothing was done. Try again in a few minutes; "
    "if it lasts, the site's administrator finds the reason with penstock-agent status."
)

_log = log.get(__name__)


class Writer:
    """Fulfils :class:`~penstock_agent.ledger.entries.Ledger`. Lives in one event loop."""

    def __init__(
        self,
        disk: Disk,
        key: Key,
        agent: AgentId,
        held: list[Segment],
        sizes: list[int],
        end: End,
        *,
        always: bool = False,
        retention: Retention = Retention(None, None),  # noqa: B008 - frozen
        segment_bytes: int = SEGMENT_BYTES,
        clock: Callable[[], float] = time.time,
        alarm: Callable[[str], None] = lambda problem: None,
    ) -> None:
        """``held`` and ``sizes``: the segments that there are; ``end``: where the last one ends. ``always``:
        bytes wait for the disk. ``alarm``: is told why the ledger fails, and of nothing (``""``) once it does
        not any more.
        """
        self.alarm = alarm
        self._disk = disk
        self._key = key
        self._agent = agent
        self._held, self._sizes = held, sizes
        self._n, self._hash = end.n, end.hash
        self._callers: dict[Principal, int] = {}
        self._last_caller = end.callers
        self._latest: Principal | None = None
        self._latest_number = 0
        self.waits = always
        """Whether bytes wait for the disk."""
        self._retention = retention
        self._segment_bytes = self._limit = segment_bytes
        self._clock = clock
        self._commit = Commit(disk.to_sync, self._synced, self._not_synced)
        self._commit.written = self._commit.synced = end.n
        self._problem = ""
        self._failing_since = 0.0
        self._doubtful: tuple[int, int] | None = None
        """The first and the last record that the disk may not have kept."""
        self._owed: list[Mapping[str, object]] = []
        self._unsigned: list[LedgerHead] = []
        self._head: LedgerHead | None = None
        self._own: dict[int, bytes] = {}
        self.warning = ""
        """What is not right with what stands in it."""
        self._signed = end.n if end.last == "head" else 0
        self._retry_wait = RETRY_AFTER
        self._head_due = self._retry_due = self._retire_due = 0.0

    # -- the protocol -----------------------------------------------------------------------------------

    @property
    def refuses(self) -> str | None:
        return REFUSES if self._problem else None

    def record(self, entry: Entry, /) -> None:
        """Raises CannotRecord."""
        try:
            self._record(entry)
        except OSError as error:
            self.fails(error.strerror or type(error).__name__)
            try:
                self._record(entry)
            except OSError:
                raise CannotRecord from None

    async def synced(self) -> None:
        """Raises CannotRecord."""
        if self._doubtful:
            raise CannotRecord
        await self._commit.until(self._n)

    @property
    def n(self) -> int:
        """Number of the last record."""
        return self._n

    @property
    def key(self) -> bytes:
        """The public key that heads are signed with."""
        return self._key.public

    @property
    def held(self) -> Sequence[Segment]:
        """The segments, from the oldest on."""
        return tuple(self._held)

    def signed(self, n: int) -> bytes | None:
        """The hash of record ``n``, if this run has signed it lately."""
        return self._own.get(n)

    async def aside(self, work: Callable[[], None]) -> None:
        """Do something with the disk, in the thread that does."""
        await self._commit.aside(work)

    def current(self) -> LedgerHead | None:
        """The newest head whose record is on the disk; what the relay may be told."""
        return self._head

    # -- records ----------------------------------------------------------------------------------------

    def _record(self, entry: Entry) -> None:
        at = self._clock()
        if self._disk.size >= self._limit:
            self._rotate(at)
        self._append(record.fields(entry, 0 if isinstance(entry, Event) else self._number(entry.who, at)), at)

    def _number(self, caller: Principal, at: float) -> int:
        if caller is not self._latest:  # what an exchange says comes together, and comparing takes long
            self._latest_number = self._callers.get(caller) or self._introduce(caller, at)
            self._latest = caller
        return self._latest_number

    def _introduce(self, caller: Principal, at: float) -> int:
        if len(self._callers) >= MAX_CALLERS:
            self._callers.clear()
        who = self._last_caller + 1
        self._append(record.introduction(who, caller), at)
        self._callers[caller] = self._last_caller = who
        return who

    def _append(self, fields: bytes, at: float) -> None:
        n = self._n + 1
        hash, line = record.seal(self._hash, n, at, fields)
        self._disk.append(line)
        self._n, self._hash = n, hash
        self._commit.wrote(n)

    def say(self, said: Mapping[str, object]) -> None:
        """A record about the ledger itself. Raises OSError."""
        self._append(record.members(said), self._clock())

    def owe(self, said: Mapping[str, object]) -> None:
        """The same, before anything else is recorded, as soon as that can be."""
        self._owed.append(said)

    def go_on(self) -> None:
        """All that is needed to record: a segment, what is owed to it, and a reserve. Raises OSError."""
        if not self._disk.is_open:
            self.begin()
        while self._owed:
            self.say(self._owed[0])
            del self._owed[0]
        self._disk.hold_reserve()

    def sign(self) -> None:
        """Write a signed head, unless the last record is one. Raises OSError."""
        if self._signed == self._n or self._n == 0:
            return
        at = self._clock()
        head = self._key.sign(self._n, self._hash, at)
        said = {
            "kind": "head",
            "of": head.n,
            "hash": head.hash.hex(),
            "at_ms": head.at_ms,
            "signature": record.text(head.signature),
        }
        self._append(record.members(said), at)
        self._signed = self._n
        self._own[head.n] = head.hash
        if len(self._own) > MAX_OWN:
            del self._own[next(iter(self._own))]
        self._unsigned.append(head)

    def begin(self) -> None:
        """A new segment. Raises OSError, and the old one goes on."""
        at = self._clock()
        number = self._held[-1].number + 1 if self._held else 1
        key = record.text(self._key.public)
        said = {
            "kind": "segment",
            "format": record.FORMAT,
            "segment": number,
            "previous": self._hash.hex(),
            "key": key,
            "site": self._agent.site,
            "agent": self._agent.agent,
        }
        n = self._n + 1
        hash, line = record.seal(self._hash, n, at, record.members(said))
        if self._held:
            self._sizes[-1] = self._disk.size or self._sizes[-1]
        self._disk.begin(number, line)
        path = self._disk.folder / segments.name(number)
        self._held.append(Segment(path, number, n, self._hash, at, key, self._agent.site, self._agent.agent))
        self._sizes.append(len(line))
        self._n, self._hash = n, hash
        self._callers.clear()
        self._latest, self._last_caller = None, 0
        self._limit = self._segment_bytes
        self._commit.wrote(n)

    def _rotate(self, at: float) -> None:
        self._limit += max(1 << 20, self._limit // 64)  # when it fails, not at each record again
        self.sign()
        self.begin()
        self._retire_due = at

    # -- what must be done now and again ----------------------------------------------------------------

    async def tick(self) -> None:
        """What is due: a head, a try to write again, retention."""
        now = self._clock()
        if self._problem:
            if now >= self._retry_due:
                await self._recover()
                self._retry_due = now + self._retry_wait
            return
        try:
            if now >= self._head_due:
                self._head_due = now + HEAD_EVERY
                self.sign()
            if now >= self._retire_due:
                self._retire_due = now + RETIRE_EVERY
                await self.retire(now)
        except CannotRecord:
            return  # a sync that failed, which was told already
        except OSError as error:
            self.fails(error.strerror or type(error).__name__)

    async def retire(self, now: float) -> None:
        """Remove what need not be kept; the ledger says so first. Raises OSError and CannotRecord."""
        self._sizes[-1] = self._disk.size
        count = self._retention.surplus([each.at for each in self._held], self._sizes, now)
        if count == 0:
            return
        gone, following = self._held[:count], self._held[count]
        self.say(
            {
                "kind": "retired",
                "segments": [gone[0].number, gone[-1].number],
                "of": following.first - 1,
                "hash": following.previous.hex(),
            }
        )
        self.sign()  # else others could say so, and remove what the verifier would not miss
        await self._commit.until(self._n)
        del self._held[:count], self._sizes[:count]

        def remove() -> None:
            for each in gone:  # the oldest first: what is left begins later, and has no hole
                self._disk.remove(each.path)

        await self._commit.aside(remove)
        _log.info("ledger_segments_removed", first=gone[0].number, last=gone[-1].number)

    def close(self) -> None:
        """At a clean stop: a signed head, and all on the disk."""
        try:
            with suppress(OSError):
                self.sign()
            self._commit.close()
        except OSError as error:
            _log.error("ledger_not_closed", why=error.strerror)
        self._disk.close()

    def status(self) -> LedgerStatus:
        head = self._head
        return LedgerStatus(
            self._n,
            len(self._held),
            sum(self._sizes[:-1]) + (self._disk.size if self._disk.is_open else 0),
            self._commit.synced,
            self._commit.synced_at,
            0 if head is None else head.n,
            0.0 if head is None else head.at_ms / 1000,
            self._problem,
            self.warning,
            record.text(self._key.public),
        )

    # -- trouble ----------------------------------------------------------------------------------------

    def _synced(self, n: int) -> None:
        while self._unsigned and self._unsigned[0].n <= n:
            self._head = self._unsigned.pop(0)

    def _not_synced(self, error: OSError) -> None:
        first = not self._problem
        self._doubtful = (self._doubtful or (self._commit.synced + 1, 0))[0], self._n
        self._disk.abandon()
        self.fails(f"fdatasync: {error.strerror or type(error).__name__}")
        if first:
            with suppress(OSError):  # for what runs, and may end
                self.begin()

    def fails(self, why: str) -> None:
        """It cannot be written."""
        self._disk.give_reserve()
        if not self._problem:
            self._problem, self._failing_since = why, self._clock()
            self._retry_wait = RETRY_AFTER
            self._retry_due = self._failing_since + self._retry_wait
            _log.error("ledger_cannot_be_written", why=why, new_calls="refused")
            self.alarm(why)

    async def _recover(self) -> None:
        """Begin again, if all that is needed for it is there."""
        try:
            await self._commit.aside(self._disk.hold_reserve)
            self.go_on()
            self._append(record.fields(Event("ledger_tried_again"), 0), self._clock())
            await self._commit.until(self._n)
            about: dict[str, str | int] = {"why": self._problem}
            about["seconds"] = int(self._clock() - self._failing_since)
            if self._doubtful:
                about |= {"unsure_from": self._doubtful[0], "unsure_to": self._doubtful[1]}
            self._append(record.fields(Event("ledger_recovered", about=about), 0), self._clock())
        except (OSError, CannotRecord) as error:
            self._disk.give_reserve()
            self._retry_wait = min(self._retry_wait * 2, RETRY_AT_MOST)
            why = error.strerror if isinstance(error, OSError) else "fdatasync failed"
            _log.error("ledger_cannot_be_written_yet", why=why)
            return
        self._problem, self._doubtful = "", None
        _log.warning("ledger_can_be_written_again")
        self.alarm("")


def folder_of(state_dir: Path) -> Path:
    return state_dir / segments.FOLDER
