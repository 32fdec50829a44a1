"""The tool ``penstock_status``: how the servers of the site are. Never what is withheld, only how much."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from penstock_agent.site.asking import Asking


async def answer(asking: Asking, since: float) -> bytes:
    """The raw result. ``since``: when the site went online, in seconds since 1970."""
    withheld = await asking.withheld()
    online = f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M} UTC"
    lines = [f"The site is online since {online}."]
    for name, count in withheld.items():
        state = "down; it is started again in the background" if count is None else "up"
        more = "" if count is None else f", {count} of its items are withheld by the site"
        lines.append(f"{name}: {state}{more}")
    structured = {
        "online_since": datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds"),
        "servers": [
            {"name": name, "up": count is not None, **({} if count is None else {"withheld": count})}
            for name, count in withheld.items()
        ],
    }
    text = "\n".join(lines)
    return msgspec.json.encode(
        {"content": [{"type": "text", "text": text}], "structuredContent": structured, "isError": False}
    )
