"""Names of images. Pure."""

import re
from typing import Final

_NAME: Final = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REGISTRY: Final = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+(?=:))(?::[0-9]{1,5})?"
_REPOSITORY: Final = re.compile(rf"{_REGISTRY}/{_NAME}(?:/{_NAME})*")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MAX: Final = 512
#: What docker means by a name without a registry.
_DOCKER: Final = "docker.io"


def check(text: str) -> str:
    """An image at its digest, as it is. Raises ValueError with the next step."""
    name, at, digest = text.partition("@")
    name, tag = _split(name)
    full = qualified(name)
    if len(text) > _MAX or not _REPOSITORY.fullmatch(full) or (tag and not _TAG.fullmatch(tag)):
        raise ValueError('is not the name of an image; write image = "registry/name@sha256:<64 digits>"')
    if not at:
        raise ValueError(
            f"names no digest, so it could be another image tomorrow. This prints it with one: {find(text)}"
        )
    if not _DIGEST.fullmatch(digest):
        raise ValueError("has something else than a digest behind the @: sha256: and 64 hexadecimal digits")
    if tag:
        raise ValueError(f'has a tag beside its digest, which says nothing; write "{name}@{digest}"')
    if full != name:
        raise ValueError(f'names no registry; write "{full}@{digest}", if it is the one that is meant')
    return text


def qualified(name: str) -> str:
    """A name with its registry: docker's, where it says none."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"{_DOCKER}/{name}" if slash else f"{_DOCKER}/library/{name}"


def is_fixed(text: str) -> bool:
    """Whether it says by its digest which image is meant."""
    return bool(_DIGEST.fullmatch(text.partition("@")[2]))


def without_tag(text: str) -> str:
    """An image at its digest, with its registry and without a tag beside the digest."""
    name, _, digest = text.partition("@")
    return f"{qualified(_split(name)[0])}@{digest}"


def find(text: str) -> str:
    """The command that prints an image at its digest, and fetches it for that."""
    name, tag = _split(text.partition("@")[0])
    full = f"{qualified(name)}:{tag or 'latest'}"
    return f"podman pull -q {full} && podman image inspect --format '{{{{index .RepoDigests 0}}}}' {full}"


def _split(name: str) -> tuple[str, str]:
    """Name and tag; a port of the registry is no tag."""
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "")
