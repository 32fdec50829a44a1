"""Rules as an administrator writes them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from penstock.principal import Principal
from penstock_agent import config
from penstock_agent.config import Options
from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy.rules import Arrived, Policy, Ruling, decide
from penstock_agent.policy_settings import policy

ALICE = Principal(
    "https://idp.example", "alice", email="alice@example.com", groups=("finance", "staff"), client="claude"
)
BOB = Principal("https://idp.example", "bob", groups=("staff",), client="chatgpt")


def rules(text: str, profile: str = "") -> Policy:
    """From ``[[rules]]`` tables."""
    tables = text.replace("[[rules]]", "[[servers.files.rules]]").replace("[rules.", "[servers.files.rules.")
    head = f'[servers.files]\ncommand = ["s"]\nexpose = ["*"]\n{profile}\n'
    server = config.parse(head + tables, Path("/etc/agent.toml"), Options(), {}).server("files")
    return policy(server.profile, server.rules) or Policy()


def one(condition: str, place: str = "path") -> Policy:
    """A rule that allows ``call`` with this condition about one argument."""
    return rules(
        f'[[rules]]\nname = "r"\nallow = ["call"]\n[rules.arguments.call]\n"{place}" = {{ {condition} }}\n'
    )


def ruling(
    found: Policy,
    name: str = "call",
    arguments: bytes | None = b"{}",
    who: Principal = ALICE,
    item: Item = Item.TOOL,
    marked: Collection[str] = (),
) -> Ruling:
    return decide(found, who, item, name, Arrived(arguments), marked)
