from __future__ import annotations

import pytest

from penstock_agent.children.containers import image

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    "name",
    ["docker.io/mcp/fetch", "ghcr.io/github/github-mcp-server", "localhost/a", "reg.internal:5000/x/y_z"],
)
def test_an_image_at_its_digest_is_taken_as_it_is(name: str) -> None:
    assert image.check(f"{name}@{DIGEST}") == f"{name}@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not the name of an image"),
        ("docker.io/UPPER/x", "is not the name of an image"),
        ("docker.io/mcp/fetch --privileged", "is not the name of an image"),
        ("docker.io/mcp/fetch", "podman pull -q docker.io/mcp/fetch:latest && podman image inspect"),
        ("mcp/fetch:1.2", "podman pull -q docker.io/mcp/fetch:1.2 && "),
        ("reg:5000/x:2", "podman pull -q reg:5000/x:2 && "),
        ("node", "docker.io/library/node:latest"),
        ("docker.io/mcp/fetch@sha256:abc", "something else than a digest behind the @"),
        (f"docker.io/mcp/fetch:1@{DIGEST}", f'write "docker.io/mcp/fetch@{DIGEST}"'),
        (f"mcp/fetch@{DIGEST}", f'names no registry; write "docker.io/mcp/fetch@{DIGEST}"'),
    ],
)
def test_anything_else_is_refused_with_what_to_write_or_run(text: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # its text is what is looked at
        image.check(text)
    assert words in str(refused.value)


def test_what_docker_means_by_a_short_name_is_written_out() -> None:
    assert image.without_tag(f"mcp/fetch:1@{DIGEST}") == f"docker.io/mcp/fetch@{DIGEST}"
    assert image.is_fixed(f"mcp/fetch@{DIGEST}")
    assert not image.is_fixed("mcp/fetch:1")
