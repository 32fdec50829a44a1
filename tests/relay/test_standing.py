"""What agents are told that are not let in: the cause, the next step, and for one of them the CA's word."""

from dataclasses import replace
from pathlib import Path

import pytest

from penstock import fingerprint, refusal, revocation
from penstock.names import AgentId
from penstock_relay.ca import CertificateAuthority
from penstock_relay.standing import refused
from penstock_relay.store import Certificate, Lineage, Lock, Standing

NOW = 1_800_000_000.0
ONE = AgentId("mill", "one")
DIGEST = bytes(range(32))
KNOWN = Lineage(
    ONE, True, None, None, (Certificate("1f", 1, None, NOW, NOW), Certificate("2f", 2, DIGEST, NOW, NOW))
)
REPLACE = "penstock-relay agent invite mill --replace one"


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.open(tmp_path, NOW)


@pytest.mark.parametrize("standing", [standing for standing in Standing if standing is not Standing.GOOD])
@pytest.mark.parametrize("known", [KNOWN, replace(KNOWN, lock=Lock.CLONE), None])
def test_every_standing_has_words_that_can_be_sent(
    ca: CertificateAuthority, standing: Standing, known: Lineage | None
) -> None:
    said = refused(standing, known, "2f", ca, NOW)
    assert refusal.decode(refusal.encode(said)) == said
    assert said.text.endswith((".", REPLACE, "join --replace JOIN_STRING", fingerprint.dump(DIGEST)))
    assert (said.statement != "") == (said.reason == refusal.REVOKED)


def test_a_clone_and_a_snapshot_are_told_apart_and_the_command_is_named(ca: CertificateAuthority) -> None:
    said = {lock: refused(Standing.LOCKED, replace(KNOWN, lock=lock), "2f", ca, NOW).text for lock in Lock}
    assert "a copy of this agent's state folder" in said[Lock.CLONE]
    assert "restored from a snapshot or a backup" in said[Lock.SNAPSHOT]
    for text in said.values():
        assert f"the relay's operator runs: {REPLACE}" in text
        assert "penstock-agent join --replace" in text


def test_the_moment_of_locking_says_the_same_as_the_lock(ca: CertificateAuthority) -> None:
    locked = replace(KNOWN, lock=Lock.SNAPSHOT)
    assert refused(Standing.FORKED, locked, "1f", ca, NOW) == refused(Standing.LOCKED, locked, "1f", ca, NOW)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_revocation_comes_with_the_statement_for_the_serial_that_was_shown(
    ca: CertificateAuthority, replaced: bool
) -> None:
    first, second = KNOWN.certificates
    known = (
        replace(KNOWN, certificates=(replace(first, revoked_at=NOW - 60), second))
        if replaced
        else replace(KNOWN, revoked_at=NOW - 60)
    )
    said = refused(Standing.REVOKED, known, "1f", ca, NOW)
    found = revocation.read(said.statement, 0x1F, [ca.certificate])
    assert (found.at.timestamp(), found.replaced) == (NOW - 60, replaced)
    with pytest.raises(revocation.BadStatement):
        revocation.read(said.statement, 0x2F, [ca.certificate])
    assert ("has joined in this agent's place" in said.text) == replaced
    assert REPLACE in said.text


def test_who_waits_is_told_its_fingerprint_and_who_does_what(ca: CertificateAuthority) -> None:
    shown = fingerprint.dump(DIGEST)
    said = refused(Standing.WAITING, KNOWN, "2f", ca, NOW)
    assert f"penstock-relay agent approve mill one --fingerprint {shown}" in said.text
    # One of the first version has no fingerprint; it was approved by the migration.
    assert "unknown" in refused(Standing.WAITING, KNOWN, "1f", ca, NOW).text
