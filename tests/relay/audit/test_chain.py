"""The chain: whole as it was written, and broken by whatever is done to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay import audit
from penstock_relay.audit import Broken, Change, Entry, Event, Head, Kind, Verifier, event, seal
from penstock_relay.audit.chain import START, canonical, hash_of

NOW = 1_000_000.0
Log = list[Entry]


def written(*events: Event, before: Head | None = None) -> Log:
    log: Log = []
    for number, each in enumerate(events):
        log.append(seal(log[-1].head if log else before, NOW + number, audit.user("alice"), each))
    return log


def sites(count: int) -> Log:
    return written(*(event(Kind.SITE_ADDED, site=f"site-{n}") for n in range(count)))


def verify(log: Sequence[Entry], *known: Head) -> Verifier:
    verifier = Verifier(known)
    for entry in log:
        verifier.add(entry)
    verifier.end()
    return verifier


def broken(log: Sequence[Entry], *known: Head) -> tuple[int, str]:
    with pytest.raises(Broken) as found:
        verify(log, *known)
    return found.value.sequence, str(found.value)


def test_the_bytes_of_a_record_are_exactly_these() -> None:
    about = event(Kind.USER_DISABLED, user="älice", state=Change("active", "disabled"), grants=2)
    entry = seal(None, 1000.5, audit.command(0, "root", "host1", None), about)
    assert entry.record == (
        b'{"about":{"grants":2,"state":{"from":"active","to":"disabled"},"user":"\\u00e4lice"},'
        b'"actor":{"host":"host1","kind":"command","name":"root","uid":0},'
        b'"at":"1970-01-01T00:16:40.500Z","kind":"user_disabled",'
        b'"previous":"' + b"0" * 64 + b'","sequence":1}'
    )
    assert entry.hash == hashlib.sha256(b"penstock-relay-audit-1\n" + entry.record).hexdigest()
    after = seal(entry.head, 1001.0, audit.RELAY, event(Kind.RELAY_STOPPED))
    assert after.values() == {
        "sequence": 2, "previous": entry.hash, "at": "1970-01-01T00:16:41.000Z", "kind": "relay_stopped",
        "actor": {"kind": "relay"}, "about": {},
    }  # fmt: skip


def test_a_line_is_the_record_with_its_hash() -> None:
    for entry in sites(3):
        line = json.loads(entry.line())
        found = line.pop("hash")
        assert "\n" not in entry.line()
        assert canonical(line) == entry.record
        assert found == entry.hash == hash_of(canonical(line))


@given(st.lists(st.text(max_size=300), min_size=1, max_size=4))
def test_whatever_names_are_in_it_a_log_is_whole_and_reads_back(names: list[str]) -> None:
    log = written(*(event(Kind.CLIENT_REGISTERED, client=name, client_name=name) for name in names))
    assert verify(log, *(entry.head for entry in log)).count == len(names)
    for entry in log:
        assert canonical(json.loads(entry.record)) == entry.record
        assert entry.record.isascii()


def test_a_whole_log_has_a_head_and_agrees_with_every_head_that_was_noted() -> None:
    log = sites(5)
    found = verify(log, *(entry.head for entry in log))
    assert (found.head, found.count) == (log[-1].head, 5)
    assert verify([]).head is None


def test_a_head_is_written_and_read() -> None:
    head = sites(1)[0].head
    assert Head.parse(str(head)) == head
    assert Head.parse(f"  {head} \n".upper()) == head
    for wrong in (
        "",
        "1",
        "@1",
        "a" * 64,
        "a" * 63 + "@1",
        "g" * 64 + "@1",
        "a" * 64 + "@",
        "a" * 64 + "@-1",
    ):
        with pytest.raises(ValueError, match="HASH@SEQUENCE"):
            Head.parse(wrong)


# -- what somebody does to it, the first record that shows it, and why ---------------------------------


def forged(entry: Entry, **changes: object) -> Entry:
    """The record with other values, and a hash that fits them."""
    record = canonical({**entry.values(), **changes})
    return replace(entry, record=record, hash=hash_of(record))


def flipped(log: Log) -> Log:
    return [*log[:2], replace(log[2], record=log[2].record.replace(b"site-2", b"site-3")), *log[3:]]


def swapped_hash(log: Log) -> Log:
    return [*log[:2], replace(log[2], hash=log[3].hash), *log[3:]]


def deleted(log: Log) -> Log:
    return [*log[:2], *log[3:]]


def deleted_and_renumbered(log: Log) -> Log:
    rest = [replace(entry, sequence=entry.sequence - 1) for entry in log[3:]]
    return [*log[:2], *rest]


def inserted(log: Log) -> Log:
    new = forged(log[2], about={"site": "other"})
    rest = [replace(entry, sequence=entry.sequence + 1) for entry in log[2:]]
    return [*log[:2], new, *rest]


def reordered(log: Log) -> Log:
    one, two = log[2], log[3]
    return [*log[:2], replace(two, sequence=3, at=one.at), replace(one, sequence=4, at=two.at), *log[4:]]


def out_of_order(log: Log) -> Log:
    return [*log[:2], log[3], log[2], *log[4:]]


def replaced(log: Log) -> Log:
    """With a hash that fits it: it is the next one that does not follow."""
    return [*log[:2], forged(log[2], about={"site": "other"}), *log[3:]]


def renamed_time(log: Log) -> Log:
    return [*log[:2], replace(log[2], at=NOW + 50), *log[3:]]


def another_form(log: Log) -> Log:
    """The same values, and another hash: that they fit each other does not make it what was written."""
    record = log[2].record.replace(b":", b": ")
    return [*log[:2], replace(log[2], record=record, hash=hash_of(record)), *log[3:]]


def another_field(log: Log) -> Log:
    return [*log[:2], forged(log[2], note="it is fine"), *log[3:]]


def another_type(log: Log) -> Log:
    return [*log[:2], forged(log[2], about=[]), *log[3:]]


def no_record(log: Log) -> Log:
    return [*log[:2], replace(log[2], record=b"[]"), *log[3:]]


def no_json(log: Log) -> Log:
    return [*log[:2], replace(log[2], record=b"\xff\x00" * 9), *log[3:]]


def too_deep(log: Log) -> Log:
    return [*log[:2], replace(log[2], record=b"[" * 100_000), *log[3:]]


def without_beginning(log: Log) -> Log:
    return log[2:]


def false_beginning(log: Log) -> Log:
    return [forged(log[0], previous="1" * 64), *log[1:]]


@pytest.mark.parametrize(
    ("done", "sequence", "why"),
    [
        (flipped, 3, "was changed"),
        (swapped_hash, 3, "was changed"),
        (deleted, 4, "stands where record 3 is due"),
        (deleted_and_renumbered, 3, "under another number"),
        (inserted, 4, "under another number"),
        (reordered, 3, "under another number"),
        (out_of_order, 4, "stands where record 3 is due"),
        (replaced, 4, "does not follow from record 3"),
        (renamed_time, 3, "or another time"),
        (another_form, 3, "is not a record"),
        (another_field, 3, "is not a record"),
        (another_type, 3, "is not a record"),
        (no_record, 3, "is not a record"),
        (no_json, 3, "is not a record"),
        (too_deep, 3, "is not a record"),
        (without_beginning, 3, "is the first, and no later one says that those up to 2 were pruned"),
        (false_beginning, 1, "names one before it"),
    ],
)
def test_what_is_done_to_it_shows(done: Callable[[Log], Log], sequence: int, why: str) -> None:
    found, text = broken(done(sites(6)))
    assert found == sequence
    assert why in text


def test_a_log_that_is_cut_at_its_end_shows_by_a_head_that_was_noted() -> None:
    log = sites(6)
    assert verify(log[:4]).count == 4  # and by nothing else
    assert broken(log[:4], log[5].head) == (
        6, "is not there, but its hash is known: the end of the log was cut off",
    )  # fmt: skip
    assert broken([], log[5].head)[0] == 6


def test_a_log_that_was_restored_and_went_on_shows_by_a_head_that_was_noted() -> None:
    log = sites(6)
    fork = [*log[:3], *written(*[event(Kind.RELAY_STOPPED)] * 3, before=log[2].head)]
    assert verify(fork).count == 6
    assert verify(fork, log[2].head).count == 6
    found, text = broken(fork, log[2].head, log[4].head)
    assert found == 5
    assert "was written anew, or restored" in text


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    log = sites(4)
    which = data.draw(st.integers(0, 3))
    record = bytearray(log[which].record)
    at = data.draw(st.integers(0, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))
    log[which] = replace(log[which], record=bytes(record))
    assert broken(log)[0] == which + 1


# -- pruning -------------------------------------------------------------------------------------------


def pruned(log: Log, last: int, **changes: object) -> Log:
    """What is left when the records up to `last` were removed, and what is said of it."""
    gone = next(entry for entry in log if entry.sequence == last)
    what = {"before": NOW, "through": last, "hash": gone.hash, "count": 1, **changes}
    said = seal(log[-1].head, NOW + 100, audit.RELAY, event(Kind.AUDIT_PRUNED, **what))  # type: ignore[arg-type]
    return [*(entry for entry in log if entry.sequence > last), said]


def test_a_pruned_log_says_so_itself_and_is_whole() -> None:
    log = sites(6)
    left = pruned(log, 3)
    assert verify(left).count == 4
    assert verify(left, log[2].head, log[4].head).count == 4  # the last that went can be compared still
    again = pruned(left, 5)
    assert [entry.sequence for entry in again] == [6, 7, 8]
    assert verify(again, log[5].head).count == 3
    assert verify(pruned(again, 7)).count == 2  # the first one's own record may go too


@pytest.mark.parametrize("changes", [{"hash": "0" * 64}, {"through": 2}, {"through": 4}])
def test_a_prune_that_names_another_record_vouches_for_nothing(changes: dict[str, object]) -> None:
    found, text = broken(pruned(sites(6), 3, **changes))
    assert found == 4
    assert "pruned" in text


def test_a_head_that_was_pruned_cannot_be_compared_and_that_is_said() -> None:
    log = sites(6)
    assert broken(pruned(log, 3), log[0].head) == (
        1, "was pruned, and cannot be compared with the hash that is known",
    )  # fmt: skip
    other = sites(2)[1].hash[::-1]
    assert "restored" in broken(pruned(log, 3), Head(3, other))[1]


def test_the_first_record_of_all_names_none_before_it() -> None:
    assert sites(1)[0].values()["previous"] == START == "0" * 64
