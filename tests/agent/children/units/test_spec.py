from pathlib import Path

from penstock_agent.children.confinement.limits import Limits
from penstock_agent.children.units.spec import digest, user


def of(command: tuple[str, ...] = ("srv",), **changed: object) -> str:
    known: dict[str, object] = {"network": False, "read": (), "write": (), "limits": Limits()}
    env = changed.pop("env", {})
    assert isinstance(env, dict)
    return digest(command, env, **{**known, **changed})  # type: ignore[arg-type]  # what each test changes


def test_the_same_settings_have_the_same_digest_in_any_order() -> None:
    assert of(env={"A": "1", "B": "2"}) == of(env={"B": "2", "A": "1"})
    assert len(of()) == 32


def test_whatever_a_unit_is_made_of_changes_it() -> None:
    different = [
        of(),
        of(("srv", "x")),
        of(env={"A": "1"}),
        of(network=True),
        of(read=(Path("/a"),)),
        of(write=(Path("/a"),)),
        of(limits=Limits(memory=1 << 30)),
    ]
    assert len(set(different)) == len(different)


def test_users_have_names_that_systemd_takes_and_each_server_has_its_own() -> None:
    assert user("files") == "ps-files"
    names = [user("a" * 40), user("a" * 39 + "b"), user("a" * 39)]
    assert len(set(names)) == 3
    assert all(len(name) <= 31 for name in names)
