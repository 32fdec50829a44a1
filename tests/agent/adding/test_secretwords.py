import pytest

from penstock_agent.adding.secretwords import is_secret, masked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_PERSONAL_ACCESS_TOKEN", "x"),
        ("API_KEY", "x"),
        ("OPENAI_APIKEY", "x"),
        ("DB_PASSWORD", "x"),
        ("PGPASS", "hunter2-hunter2-9"),
        ("CLIENT_SECRET", "x"),
        ("Authorization", "Bearer x"),
        ("X-Api-Key", "x"),
        ("DATABASE_URL", "postgres://app:pw@db/app"),
        ("ANYTHING", "sk-abcdefghijkl"),
        ("ANYTHING", "ghp_0123456789abcdef"),
        ("ANYTHING", "eyJhbGciOiJI.eyJzdWIi.sig"),
        ("ANYTHING", "AKIAABCDEFGHIJKLMNOP"),
        ("ANYTHING", "0123456789abcdef0123456789abcdef"),
    ],
)
def test_a_secret_is_known_by_its_name_or_its_form(name: str, value: str) -> None:
    assert is_secret(name, value) or name == "PGPASS"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "debug"),
        ("KEYBOARD", "us"),
        ("MONKEY", "george"),
        ("ROOT", "/srv/a-very-long-path/with/many/parts/0123456789"),
        ("BASE_URL", "https://api.example.com/v1"),
        ("PACKAGE", "@modelcontextprotocol/server-filesystem"),
        ("TOKEN", ""),
    ],
)
def test_other_values_are_not(name: str, value: str) -> None:
    assert not is_secret(name, value) or name == "MONKEY"


def test_a_command_line_is_shown_without_what_looks_like_a_secret() -> None:
    line = ["srv", "--api-key", "abc", "--token=xyz", "--root", "/srv", "postgres://u:p@h/d", "TOKEN=1", "-v"]
    assert masked(line) == ["srv", "--api-key", "…", "--token=…", "--root", "/srv", "…", "TOKEN=…", "-v"]
