"""The commands with a server in a real container."""

from __future__ import annotations

import json

from penstock_agent.problem import Exit
from tests.harness.agent_site import Site
from tests.harness.images import Images

NOT_HERE = f"localhost/none@sha256:{'0' * 64}"


def test_a_server_in_a_container_is_added_tested_and_listed(site: Site, podman: Images) -> None:
    done = site.run("servers", "add", "box", "--image", podman.image)
    assert done.status == Exit.DONE, done
    assert f"started {podman.image} (isolation container, network none" in done.stdout
    assert "box works." in done.stdout
    listed = site.run("servers", "list", "--json").json["servers"]
    assert isinstance(listed, list)
    assert (listed[0]["kind"], listed[0]["isolation"]) == ("image", "container")
    checked = site.run("config", "check")
    assert f"image = {podman.image}" in checked.stdout
    assert site.run("servers", "prepare", "box").stdout.startswith("fetching ")
    assert podman.containers() == []


def test_an_image_that_is_not_here_is_said_by_test_doctor_and_prepare(site: Site, podman: Images) -> None:
    site.configure(f'[servers.box]\nimage = "{NOT_HERE}"\n')
    tried = site.run("servers", "test", "box")
    assert tried.status == Exit.FAILED
    assert "cause: its image is not on this machine" in tried.stdout
    assert "next:  Fetch it: penstock-agent servers prepare box" in tried.stdout
    checks = site.run("doctor", "--no-servers", "--json").json["checks"]
    assert isinstance(checks, list)
    found = {each["check"]: (each["grade"], each["text"]) for each in checks}
    assert found["image"] == (
        "failed",
        f"{NOT_HERE} is not on this machine. Run: penstock-agent servers prepare box",
    )
    assert found["podman"][1].startswith("version ")
    fetched = site.run("servers", "prepare", "box")
    assert fetched.status == Exit.FAILED
    assert f"podman pull {NOT_HERE} failed" in fetched.stderr


def test_a_tag_and_a_unit_are_refused_in_words(site: Site) -> None:
    tagged = site.run("servers", "add", "box", "--image", "mcp/fetch:1")
    assert tagged.status == Exit.USAGE
    assert "podman pull -q docker.io/mcp/fetch:1 && podman image inspect" in tagged.stderr
    site.configure(f'[servers.box]\nimage = "{NOT_HERE}"\n')
    hardened = site.run("servers", "harden", "box", "--print")
    assert hardened.status == Exit.USAGE
    assert "it runs in a container, which a unit would not confine" in hardened.stderr


def test_a_line_of_docker_run_is_imported_as_it_is_here(site: Site, podman: Images) -> None:
    entry = {
        "command": "docker",
        "args": ["run", "-i", "--rm", "-e", "A_TOKEN", "localhost/penstock/python:1"],
    }
    file = site.folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"box": {**entry, "env": {"A_TOKEN": "canary"}}}}))
    done = site.run("import", str(file), "--all")
    assert done.status == Exit.DONE, done
    table = site.config.read_text()
    assert f'image = "{podman.image}"' in table
    assert "canary" not in table
    assert podman.containers() == []
