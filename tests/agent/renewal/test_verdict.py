"""What a relay's no is worth: only its CA ends an agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock import refusal, revocation
from penstock.names import AgentId
from penstock.refusal import Refusal
from penstock_agent import state
from penstock_agent.problem import Exit
from penstock_agent.renewal.verdict import Revoked, TurnedAway, judge
from penstock_agent.state import Credentials, Joined
from tests.harness.certs import Authority

AT = 1_800_000_000.0


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


@pytest.fixture
def joined(tmp_path: Path, ca: Authority) -> Joined:
    files = ca.agent()
    made = Credentials(
        "wss://relay:443",
        AgentId("plant", "a1"),
        files.key.read_bytes(),
        files.chain.read_bytes(),
        ca.ca.read_bytes(),
    )
    return state.store(tmp_path / "state", made, state.prepare(tmp_path / "state"))


def revoked(ca: Authority, serial: int, *, replaced: bool = False) -> Refusal:
    statement = revocation.make(serial, AT, replaced=replaced, issuer=ca.certificate, key=ca._key, now=AT)
    return Refusal(refusal.REVOKED, "It was revoked.", statement)


@pytest.mark.parametrize(
    ("replaced", "words"),
    [(False, "the relay's operator has revoked it"), (True, "another machine has joined in its place")],
)
def test_the_cas_word_for_this_certificate_ends_it(
    ca: Authority, joined: Joined, replaced: bool, words: str
) -> None:
    found = judge(revoked(ca, joined.certificate.serial_number, replaced=replaced), joined)
    assert isinstance(found, Revoked)
    assert found.status == Exit.REFUSED
    assert words in str(found)
    assert "2027-01-15 08:00 UTC" in str(found)
    assert "penstock-relay agent invite plant --replace a1" in str(found)


def test_a_statement_for_another_serial_does_not(ca: Authority, joined: Joined) -> None:
    # An old one, of the certificate before or of another agent, that somebody repeats.
    found = judge(revoked(ca, joined.certificate.serial_number + 1), joined)
    assert isinstance(found, TurnedAway)
    assert "about another certificate" in str(found)
    assert "not believed" in str(found)


def test_a_statement_of_another_ca_does_not(tmp_path: Path, joined: Joined) -> None:
    found = judge(revoked(Authority(tmp_path, "evil"), joined.certificate.serial_number), joined)
    assert isinstance(found, TurnedAway)
    assert "not signed by the CA" in str(found)


@pytest.mark.parametrize(
    "statement", ["", "nonsense", "-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n"]
)
def test_the_relays_own_word_does_not(joined: Joined, statement: str) -> None:
    found = judge(Refusal(refusal.REVOKED, "It was revoked, believe me.", statement), joined)
    assert isinstance(found, TurnedAway)
    assert found.reason == refusal.REVOKED
    assert "believe me" not in str(found)


@pytest.mark.parametrize("reason", [*sorted(refusal.REASONS - {refusal.REVOKED}), "suspended"])
def test_nothing_else_ends_it_even_with_a_statement(ca: Authority, joined: Joined, reason: str) -> None:
    signed = revoked(ca, joined.certificate.serial_number).statement
    found = judge(Refusal(reason, "No.", signed), joined)
    assert isinstance(found, TurnedAway)
    assert (found.reason, str(found), found.status) == (reason, "No.", Exit.FAILED)
