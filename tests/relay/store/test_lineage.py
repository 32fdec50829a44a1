"""What a certificate is worth, as a table of its agent's history; and the lives that an agent may have."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.names import AgentId
from penstock.renewal import EXPIRED_FOR
from penstock_relay.store.lineage import (
    KEPT,
    Certificate,
    Lineage,
    Lock,
    Standing,
    abandoned,
    at_link,
    at_renewal,
    forgettable,
)

NOW = 1_000.0
END = 5_000.0
ONE = AgentId("mill", "one")


def certificate(generation: int, *, seen: bool = False, **more: float) -> Certificate:
    seen_at = NOW if seen else None
    made = Certificate(f"{generation:x}", generation, None, NOW, END, seen_at)
    return replace(made, **more)  # type: ignore[arg-type]  # only times


def lineage(*certificates: Certificate, approved: bool = True, **more: object) -> Lineage:
    return replace(Lineage(ONE, approved, None, None, certificates), **more)  # type: ignore[arg-type]


SEEN = lineage(certificate(1, seen=True), certificate(2, seen=True))
UNSEEN = lineage(certificate(1, seen=True), certificate(2))
FORK = lineage(certificate(1, seen=True), certificate(2, abandoned_at=NOW), certificate(3))


@pytest.mark.parametrize(
    ("known", "serial", "link", "renewal"),
    [
        (lineage(certificate(1)), "1", Standing.GOOD, Standing.GOOD),
        (lineage(certificate(1)), "9", Standing.UNKNOWN, Standing.UNKNOWN),
        # The newest is good, seen or not.
        (SEEN, "2", Standing.GOOD, Standing.GOOD),
        (UNSEEN, "2", Standing.GOOD, Standing.GOOD),
        # The one before: its answer was lost, unless a newer one was seen.
        (UNSEEN, "1", Standing.GOOD, Standing.GOOD),
        (SEEN, "1", Standing.SUPERSEDED, Standing.FORKED),
        # What was taken for lost is used all the same.
        (FORK, "2", Standing.FORKED, Standing.FORKED),
        (FORK, "1", Standing.GOOD, Standing.GOOD),
        (FORK, "3", Standing.GOOD, Standing.GOOD),
        # Nobody has approved it yet.
        (lineage(certificate(1), approved=False), "1", Standing.WAITING, Standing.WAITING),
        # Locked: each of its certificates.
        (replace(SEEN, lock=Lock.CLONE), "2", Standing.LOCKED, Standing.LOCKED),
        (replace(SEEN, lock=Lock.CLONE), "1", Standing.LOCKED, Standing.LOCKED),
        # Revoked comes before all else, so that the agent hears it.
        (replace(SEEN, lock=Lock.CLONE, revoked_at=NOW), "2", Standing.REVOKED, Standing.REVOKED),
        (replace(FORK, revoked_at=NOW), "2", Standing.REVOKED, Standing.REVOKED),
        (lineage(certificate(1), approved=False, revoked_at=NOW), "1", Standing.REVOKED, Standing.REVOKED),
        # Another enrolment took the place of the first two.
        (lineage(certificate(1, revoked_at=NOW), certificate(2)), "1", Standing.REVOKED, Standing.REVOKED),
        (lineage(certificate(1, revoked_at=NOW), certificate(2)), "2", Standing.GOOD, Standing.GOOD),
    ],
)
def test_standing(known: Lineage, serial: str, link: Standing, renewal: Standing) -> None:
    assert at_link(known, serial) is link
    assert at_renewal(known, serial, NOW) is renewal


def test_an_expired_certificate_can_be_renewed_for_90_days() -> None:
    known = lineage(certificate(1, seen=True))
    assert EXPIRED_FOR == 90 * 86_400
    assert at_renewal(known, "1", END + 1) is Standing.GOOD
    assert at_renewal(known, "1", END + EXPIRED_FOR - 1) is Standing.GOOD
    assert at_renewal(known, "1", END + EXPIRED_FOR) is Standing.EXPIRED


@pytest.mark.parametrize(
    ("known", "standing"),
    [
        (replace(SEEN, revoked_at=NOW), Standing.REVOKED),
        (replace(SEEN, lock=Lock.SNAPSHOT), Standing.LOCKED),
        (SEEN, Standing.EXPIRED),
    ],
)
def test_an_old_copy_from_the_attic_locks_nobody(known: Lineage, standing: Standing) -> None:
    assert at_renewal(known, "1", END + EXPIRED_FOR) is standing


def test_who_ended_a_certificate_is_known() -> None:
    replaced = lineage(certificate(1, revoked_at=700.0), certificate(2))
    assert replaced.ended_at("1") == (700.0, True)
    assert replaced.ended_at("2") is None
    assert replace(replaced, revoked_at=800.0).ended_at("2") == (800.0, False)


def test_a_renewal_gives_up_what_is_newer_and_was_not_given_up_before() -> None:
    assert abandoned(UNSEEN, "1") == ("2",)
    assert abandoned(UNSEEN, "2") == ()
    assert abandoned(FORK, "1") == ("3",)
    assert abandoned(UNSEEN, "9") == ()


def test_what_can_no_longer_be_renewed_is_forgotten_and_the_newest_never() -> None:
    old, older = certificate(2), certificate(1, not_after=END - 1000)
    late = END - 1000 + EXPIRED_FOR
    assert forgettable([older, old], 2, late - 1) == ()
    assert forgettable([older, old], 2, late) == ("1",)
    assert forgettable([older, old], 2, late * 9) == ("1",)
    assert forgettable([older, old], 3, late * 9) == ("1", "2")


def test_generations_that_are_remembered_are_bounded() -> None:
    many = [certificate(n) for n in range(1, KEPT + 2)]
    assert forgettable(many, KEPT + 1, NOW) == ("1",)


# -- lives ----------------------------------------------------------------------------------------


class Relay:
    """Lineage with the steps of the store."""

    def __init__(self) -> None:
        self.known = lineage(certificate(1))

    def _change(self, serial: str, *, seen: bool = False, lost: bool = False) -> None:
        def changed(one: Certificate) -> Certificate:
            if one.serial != serial:
                return one
            return replace(
                one, seen_at=NOW if seen else one.seen_at, abandoned_at=NOW if lost else one.abandoned_at
            )

        self.known = replace(self.known, certificates=tuple(map(changed, self.known.certificates)))

    def _judged(self, standing: Standing) -> bool:
        if standing is Standing.FORKED:
            self.known = replace(self.known, lock=Lock.CLONE)
        return standing is Standing.GOOD

    def link(self, serial: str) -> bool:
        good = self._judged(at_link(self.known, serial))
        if good:
            self._change(serial, seen=True)
        return good

    def renew(self, serial: str) -> str | None:
        if not self._judged(at_renewal(self.known, serial, NOW)):
            return None
        self._change(serial, seen=True)
        for lost in abandoned(self.known, serial):
            self._change(lost, lost=True)
        fresh = certificate(self.known.newest.generation + 1)
        self.known = replace(self.known, certificates=(*self.known.certificates, fresh))
        return fresh.serial

    @property
    def locked(self) -> bool:
        return self.known.lock is not None


@given(st.lists(st.sampled_from(["link", "renew", "lost", "unconfirmed"])))
def test_an_agent_that_is_alone_is_never_locked(steps: list[str]) -> None:
    relay, held = Relay(), "1"
    for step in steps:
        if step == "link":
            assert relay.link(held)
            continue
        fresh = relay.renew(held)
        assert fresh is not None
        if step != "lost":
            held = fresh
        if step == "renew":
            assert relay.link(held), "or confirmed in the conversation, which says the same"
    assert not relay.locked


@given(
    st.lists(st.sampled_from(["link", "renew", "lost"]), max_size=4),
    st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(["link", "lost", "renew"])), max_size=12),
)
def test_two_that_hold_one_key_are_locked_once_both_have_renewed(
    before: list[str], after: list[tuple[int, str]]
) -> None:
    relay, held = Relay(), "1"
    for step in before:
        if step == "link":
            relay.link(held)
        elif (fresh := relay.renew(held)) is not None and step == "renew":
            held = fresh
            relay.link(held)
    assert not relay.locked
    # Copied at this moment. From here on there are two.
    holds = [held, held]
    renewed = [False, False]
    for who, step in after:
        if relay.locked:
            return
        if step == "link":
            relay.link(holds[who])
        elif (fresh := relay.renew(holds[who])) is not None and step == "renew":
            holds[who] = fresh
            renewed[who] = relay.link(fresh)  # confirmed
        if all(renewed):
            assert relay.locked
