import time
from datetime import UTC, datetime

import pytest

from penstock_agent import state
from penstock_agent.control import ServerStatus
from tests.harness.agent_site import Site


def test_before_join_it_says_what_to_do(site: Site) -> None:
    done = site.run("status")
    assert done.status == 1
    assert "penstock-agent join JOIN_STRING" in done.stderr
    assert done.stdout == ""


def test_a_stopped_agent_is_status_1_and_says_how_to_start(site: Site) -> None:
    site.join()
    done = site.run("status")
    assert done.status == 1
    assert "agent        a1 of the site plant" in done.stdout
    assert "relay        wss://relay.example:443" in done.stdout
    assert "The agent does not run" in done.stdout
    assert "certificate  valid for" in done.stdout


def test_a_linked_agent_is_status_0_with_servers_and_urls(site: Site) -> None:
    site.join()
    site.add_server(["read_*", "wipe"])
    servers = [ServerStatus("files", children=2, expose=["read_*", "wipe"])]
    with site.running(site.status(servers=servers, children=2)):
        done = site.run("status")
        as_json = site.run("status", "--json")
    assert done.status == 0
    assert "link         up" in done.stdout
    assert (
        "server files: 2 expose entries, 2 children run, https://relay.example/plant/files/mcp" in done.stdout
    )
    assert as_json.status == 0
    assert as_json.json["linked"] is True
    assert as_json.json["servers"] == {
        "files": {
            "expose": ["read_*", "wipe"],
            "isolation": None,
            "network": None,
            "url": "https://relay.example/plant/files/mcp",
        }
    }


def test_children_that_are_kept_warm_are_counted_for_themselves(site: Site) -> None:
    site.join()
    site.add_server(["*"])
    servers = [ServerStatus("files", children=2, warm=1, expose=["*"])]
    with site.running(site.status(servers=servers, children=2, warm=1)):
        done = site.run("status")
        as_json = site.run("status", "--json")
    assert "2 children run, 1 kept warm," in done.stdout
    assert "children: 2 of at most 64, 1 more kept warm, calls" in done.stdout
    daemon = as_json.json["daemon"]
    assert isinstance(daemon, dict)
    assert (daemon["children"], daemon["warm"], daemon["servers"][0]["warm"]) == (2, 1, 1)


def test_no_link_is_status_1_and_says_why(site: Site) -> None:
    site.join()
    with site.running(site.status(linked=False, problem="The name relay.example cannot be resolved.")):
        done = site.run("status")
        as_json = site.run("status", "--json")
    assert done.status == as_json.status == 1
    assert "The name relay.example cannot be resolved." in done.stdout
    assert as_json.json["running"] is True
    assert as_json.json["linked"] is False


def test_it_says_plainly_how_children_are_confined(site: Site) -> None:
    site.join()
    site.add_server(["*"])
    known = ServerStatus("files", expose=["*"], isolation="landlock (ABI 7)", network="none (seccomp)")
    with site.running(site.status(servers=[known])):
        text = site.run("status").stdout
        found = site.run("status", "--json").json
    assert "isolation landlock (ABI 7), network none (seccomp)" in text
    servers = found["servers"]
    assert isinstance(servers, dict)
    assert servers["files"]["isolation"] == "landlock (ABI 7)"
    assert servers["files"]["network"] == "none (seccomp)"
    without = site.run("status", "--json").json["servers"]
    assert isinstance(without, dict)
    assert without["files"]["isolation"] is None


def test_a_list_that_the_running_agent_has_not_read_is_noticed(site: Site) -> None:
    site.join()
    site.add_server(["new"])
    with site.running(site.status(servers=[ServerStatus("files", expose=["old"])])):
        assert "the running agent does not know that yet" in site.run("status").stdout


def test_a_bad_configuration_is_status_2(site: Site) -> None:
    site.join()
    site.configure("nonsense = 1\n")
    done = site.run("status")
    assert done.status == 2
    assert f"penstock-agent: {site.config}: nonsense: unknown key" in done.stderr


def test_a_mistake_in_the_file_of_a_running_agent_hides_nothing_of_it(site: Site) -> None:
    site.join()
    site.configure("nonsense = 1\n")
    servers = [ServerStatus("files", children=2, expose=["read_*"])]
    with site.running(site.status(servers=servers)):
        done = site.run("status")
        as_json = site.run("status", "--json").json
    assert done.status == 0
    assert "link         up" in done.stdout
    assert "goes on with what it has read before; its file cannot be read again as it is:\n" in done.stdout
    assert "nonsense: unknown key" in done.stdout
    url = "https://relay.example/plant/files/mcp"
    assert f"server files: 1 expose entry, 2 children run, {url}" in done.stdout
    assert "nonsense: unknown key" in str(as_json["configuration_problem"])
    assert as_json["servers"] == {
        "files": {"expose": ["read_*"], "isolation": None, "network": None, "url": url}
    }


def test_errors_are_json_too(site: Site) -> None:
    site.configure("nonsense = 1\n")
    done = site.run("status", "--json")
    assert done.status == 2
    error = done.json["error"]
    assert isinstance(error, dict)
    assert error["status"] == 2
    assert "nonsense" in error["text"]
    assert done.stderr == ""


def test_the_certificates_end_its_next_renewal_and_the_fingerprint_are_shown(site: Site) -> None:
    site.join()
    stopped = site.run("status")
    assert "renewal      by the agent, once it runs; or now: penstock-agent renew" in stopped.stdout
    fingerprint = state.load(site.state).fingerprint
    assert f"fingerprint  {fingerprint}" in stopped.stdout
    soon = time.time() + 2 * 86_400 + 60
    with site.running(site.status(renews_at=soon)):
        text = site.run("status").stdout
        found = site.run("status", "--json").json
    assert f"renewal      in 2 d ({datetime.fromtimestamp(soon, UTC):%Y-%m-%d %H:%M} UTC)" in text
    assert found["fingerprint"] == fingerprint
    assert datetime.fromisoformat(str(found["certificate_renews"])).timestamp() == pytest.approx(soon, abs=1)
    assert found["renewal_problem"] == ""
    with site.running(site.status(renews_at=soon, renewal_problem="No connection to relay.")):
        text = site.run("status").stdout
    assert "renewal      failed, and is tried again: No connection to relay." in text


@pytest.mark.parametrize(
    ("days", "words"),
    [(1, "EXPIRED: it can be renewed until"), (91, "EXPIRED, and too long ago to be renewed: join again")],
)
def test_an_expired_certificate_says_what_can_be_done(
    site: Site, monkeypatch: pytest.MonkeyPatch, days: int, words: str
) -> None:
    site.join()
    ends = state.load(site.state).expires.timestamp()
    monkeypatch.setattr(time, "time", lambda: ends + days * 86_400)
    assert f"certificate  {words}" in site.run("status").stdout


def test_all_servers_together_have_a_url(site: Site) -> None:
    site.join()
    site.add_server(["*"])
    with site.running(site.status(whole_site=["files", "crm"])):
        done = site.run("status")
        as_json = site.run("status", "--json")
    assert "all together: files, crm, https://relay.example/plant/mcp" in done.stdout
    assert as_json.json["site_endpoint"] == {
        "servers": ["files", "crm"],
        "url": "https://relay.example/plant/mcp",
    }


def test_one_server_has_no_url_of_the_site(site: Site) -> None:
    site.join()
    site.add_server(["*"])
    with site.running(site.status()):
        assert "all together" not in site.run("status").stdout
        assert site.run("status", "--json").json["site_endpoint"] is None
