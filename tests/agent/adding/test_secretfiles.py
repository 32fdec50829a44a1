import stat
from pathlib import Path

from penstock_agent.adding import secretfiles


def test_a_secret_is_for_its_owner_only_and_never_replaces_another(tmp_path: Path) -> None:
    one = secretfiles.store(tmp_path, "crm", "API/KEY", "first")
    two = secretfiles.store(tmp_path, "crm", "API/KEY", "second")
    assert (one.name, two.name) == ("crm.API_KEY", "crm.API_KEY.2")
    assert (one.read_text(), two.read_text()) == ("first", "second")
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert stat.S_IMODE(one.parent.stat().st_mode) == 0o700


def test_only_what_was_stored_here_is_discarded(tmp_path: Path) -> None:
    ours = secretfiles.store(tmp_path, "crm", "KEY", "x")
    other = tmp_path / "mine"
    other.write_text("x")
    assert secretfiles.discard(tmp_path, [ours, other, ours]) == [ours]
    assert other.exists()
