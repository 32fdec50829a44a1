"""All detectors together: their words, and that hostile text costs them no more than other text."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from penstock_agent.gate.redaction.detectors import DETECTORS, FIELD, Find, mask

MIB = 1 << 20
#: CPU seconds that one of them may take for a MiB of the worst text; the slowest takes a second here, and
#: what is not linear would take minutes.
BOUND = 10.0

HOSTILE: dict[str, str] = {
    "at": "@", "at_a": "a@", "labels": "@" + "a." * 8, "long_label": "@" + "a" * 70, "local": "a",
    "dots": "a.",
    "dash": "-", "begin": "-----BEGIN PRIVATE KEY-----", "end": "-----END PRIVATE KEY-----",
    "begin_line": "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n",
    "end_line": ("A" * 64 + "\n") * 3 + "-----END PRIVATE KEY-----\n",
    "begin_header": "-----BEGIN PRIVATE KEY-----\nComment: 1\n", "base64_lines": "A" * 64 + "\n",
    "putty": "PuTTY-User-Key-File-2: ", "mac": "Private-MAC: " + "a" * 40 + "\n",
    "digit": "4", "digit_blank": "4 ", "fours": "4111 ", "card": "4111111111111111 ",
    "no_card": "4111111111111112 ",
    "iban": "DE89", "iban_blank": "DE89 ", "real_iban": "GB82WEST12345698765432 ",
    "no_iban": "GB82WEST12345698765431 ",
    "jwt": "eyJ", "jwt_dash": "-eyJ", "jwt_blank": " -eyJaaaaaaaaaa.", "jwt_parts": "eyJaaaaaaaaaa.",
    "escape": "\\neyJ",
    "ghp": "ghp_", "sk": "sk-", "ya29": "ya29.", "sig": "sig=%", "azure": "aaa1Q~", "secret": "secretKey ",
    "session": "sessionToken ", "value": "value ", "base64": "QUJD", "equals": "==",
    "pad": "value QUJDQUJD==",
    "google": "private_key -----BEGIN PRIVATE KEY-----",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_mebibyte_of_hostile_text_takes_bounded_time(name: str) -> None:
    unit = HOSTILE[name]
    text = unit * (MIB // len(unit))
    for one in DETECTORS.values():
        for tried in (text, text[: MIB // 16][::-1]):
            assert _cpu_seconds(one.find, tried) < BOUND, one.name


def test_eight_times_the_text_takes_about_eight_times_as_long() -> None:
    for name in ("fours", "at_a", "iban_blank", "jwt_blank", "begin_line", "end_line", "azure"):
        unit = HOSTILE[name]
        part, whole = (unit * (size // len(unit)) for size in (MIB // 32, MIB // 4))
        for one in DETECTORS.values():
            few = min(_cpu_seconds(one.find, part) for _ in range(3))
            many = min(_cpu_seconds(one.find, whole) for _ in range(2))
            assert many < 24 * few + 0.05, (name, one.name)


def _cpu_seconds(find: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    find(text)
    return time.process_time() - began


def test_everything_that_can_be_asked_for_is_there() -> None:
    assert list(DETECTORS) == [one.value for one in Find]


def test_a_mask_says_what_was_there_and_is_found_by_nobody() -> None:
    masks = [mask(name) for name in (*DETECTORS, FIELD, "employee")]
    assert masks[2:] == [
        "[card number removed on site]", "[IBAN removed on site]", "[e-mail address removed on site]",
        "[removed on site]", "[employee removed on site]",
    ]  # fmt: skip
    assert all(not one.find("".join(masks)) for one in DETECTORS.values())
