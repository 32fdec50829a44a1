"""The [site] table."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from penstock_agent.site.names import Target
from penstock_agent.site.settings import SiteSettings


def test_aliases_name_a_server_and_its_tool() -> None:
    assert SiteSettings(alias={"search": "docs.search"}).targets == {"search": Target("docs", "search")}


@pytest.mark.parametrize(
    ("alias", "why"),
    [
        ({"a__b": "docs.search"}, "stands between"),
        ({"search": "docs"}, "names no tool"),
        ({"a": "docs.x", "b": "docs.x"}, "two aliases"),
    ],
)
def test_aliases_that_clash_are_refused(alias: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SiteSettings(alias=alias)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="nonsense"):
        SiteSettings.model_validate({"nonsense": 1})


def test_an_alias_needs_a_server_that_is_part_of_the_site() -> None:
    site = SiteSettings(alias={"a": "docs.x", "b": "gone.x", "c": "own.x"})
    found = list(site.objections(["docs", "own"], ["docs"]))
    assert len(found) == 2
    assert found[0].startswith("alias.b: there is no server 'gone' (configured: docs, own)")
    assert 'trust = "caller"' in found[1]
