"""The report's figures, against ledgers that are known."""

from __future__ import annotations

from penstock_agent.ledger import report as reports
from penstock_agent.ledger.reading import NOBODY, Record, Who
from penstock_agent.ledger.report import Row, report

ALICE = Who("i", "alice", "Alice", "a@x", "claude")
BOB = Who("i", "bob", client="chatgpt")


class Book:
    """Records, as a test says them."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def say(self, kind: str, who: Who = NOBODY, **said: object) -> None:
        n = len(self.records) + 1
        self.records.append(Record(n, f"2026-11-28T00:00:{n:02d}Z", kind, said, who))

    def call(
        self, who: Who, exchange: str, verdict: str = "allowed", item: str = "tool:read", **more: object
    ) -> None:
        self.say(
            "decision",
            who,
            exchange=exchange,
            server="files",
            method="tools/call",
            verdict=verdict,
            item=item,
            **more,
        )

    def sent(self, who: Who, exchange: str, bytes: int, **more: object) -> None:
        self.say("sent", who, exchange=exchange, server="files", offset=0, bytes=bytes, **more)

    def row(self, person: str, tool: str) -> Row:
        return next(row for row in report(self.records).rows if (row.person, row.tool) == (person, tool))


def test_calls_and_bytes_are_counted_for_each_person_assistant_and_tool() -> None:
    book = Book()
    for number in range(3):
        book.call(ALICE, f"a{number}")
        book.sent(ALICE, f"a{number}", 100)
        book.sent(ALICE, f"a{number}", 10)
    book.call(BOB, "b0", item="tool:write")
    book.sent(BOB, "b0", 5)
    found = report(book.records)
    assert found.rows == [
        Row("Alice <a@x>", "claude", "files: read", calls=3, bytes=330),
        Row("bob", "chatgpt", "files: write", calls=1, bytes=5),
    ]
    total = found.total
    assert (total.calls, total.bytes, found.people, found.records) == (4, 335, 2, 11)
    assert (found.first_at, found.last_at) == ("2026-11-28T00:00:01Z", "2026-11-28T00:00:11Z")


def test_what_was_not_let_through_is_counted_by_why() -> None:
    book = Book()
    for verdict in ("denied", "withheld", "over_budget", "waiting", "failed"):
        book.call(ALICE, "a", verdict)
    row = book.row("Alice <a@x>", "files: read")
    assert (row.calls, row.denied, row.waiting, row.failed) == (0, 3, 1, 1)


def test_bytes_on_a_stream_count_for_the_call_that_they_answer() -> None:
    book = Book()
    book.call(ALICE, "call")
    book.sent(ALICE, "later", 70, answers="call")
    book.sent(ALICE, "later", 7)
    assert book.row("Alice <a@x>", "files: read").bytes == 70
    assert book.row("Alice <a@x>", "files: other requests").bytes == 7


def test_what_uses_nothing_stands_together() -> None:
    book = Book()
    for method in ("initialize", "tools/list"):
        book.say("decision", ALICE, exchange=method, server="files", method=method, verdict="allowed")
        book.sent(ALICE, method, 50)
    assert report(book.records).rows == [
        Row("Alice <a@x>", "claude", "files: other requests", calls=2, bytes=100)
    ]


def test_on_the_whole_site_the_server_that_has_the_tool_is_named() -> None:
    book = Book()
    book.call(ALICE, "a", of="crm")
    assert report(book.records).rows[0].tool == "crm: read"


def test_what_was_masked_is_counted_and_who_approved_is_named() -> None:
    book = Book()
    book.say("event", what="approval_approved", by_uid=1000, about={"request": "r1"})
    for _ in range(2):
        book.call(ALICE, "a", approval="r1")
    book.call(ALICE, "b", approval="r2")
    book.say(
        "masked",
        ALICE,
        exchange="a",
        server="files",
        item="tool:read",
        action="mask",
        found={"card": 2, "iban": 1},
    )
    row = book.row("Alice <a@x>", "files: read")
    assert (row.masked, row.approved_by, row.calls) == (3, [1000], 3)


def test_two_people_of_one_name_are_two() -> None:
    book = Book()
    book.call(Who("one", "alice", "Alice"), "a")
    book.call(Who("other", "alice", "Alice"), "b")
    assert len(report(book.records).rows) == 2


def test_what_happened_on_site_is_listed_up_to_a_bound() -> None:
    book = Book()
    book.say("event", what="paused", by_uid=0, about={"what": "server", "name": "files", "ended": 0})
    book.say("event", what="started")
    found = report(book.records * 200)
    assert (found.happenings[0].what, found.happenings[0].by_uid) == ("paused", 0)
    assert found.happenings[0].about == "what server, name files, ended 0"
    assert found.happenings[1].by_uid == -1
    assert (len(found.happenings), found.more) == (reports.MAX_EVENTS, 200)


def test_only_so_many_exchanges_are_remembered() -> None:
    book = Book()
    for number in range(reports.MAX_EXCHANGES + 10):
        book.call(ALICE, str(number))
    book.sent(ALICE, "0", 5)
    book.sent(ALICE, "20", 7)
    assert book.row("Alice <a@x>", "files: read").bytes == 7
    assert book.row("Alice <a@x>", "files: other requests").bytes == 5


def test_nothing_is_an_empty_report() -> None:
    assert report([]).total == Row("", "", "")
