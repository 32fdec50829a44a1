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


LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEF\n"
SAMPLES = {
    "private_key": "-----BEGIN PRIVATE KEY-----\n"
    + "MIIEvQIBADANBgkqhkiG9w0BAQEF\n" * 40
    + "-----END PRIVATE KEY-----",
    "token": "ghp_" + "a1B2" * 9,
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "email": "bob@example.com",
}


def in_steps(name: str, text: str) -> set[tuple[int, int]]:
    """What is found, with what touches as one."""
    whole: list[tuple[int, int]] = []
    for start, end in sorted(span for some in DETECTORS[name].find_in_steps(text) for span in some):
        if whole and start < whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return set(whole)


@pytest.mark.parametrize("name", sorted(SAMPLES))
@pytest.mark.parametrize("back", [0, 1, 3, 9, 15, 40, 200, 900])
def test_a_long_text_is_read_in_steps_and_nothing_is_missed_where_they_meet(name: str, back: int) -> None:
    detector, sample = DETECTORS[name], SAMPLES[name]
    step = max(1 << 14, 3 * detector.reach)
    text = "".join(
        ("lorem " * step)[: step * n + detector.reach * m - back - before] + f" {sample} "
        for n, m, before in ((1, 0, 0), (1, 0, len(sample)), (1, 1, 0))
    )
    text += "lorem " * step
    assert len(list(detector.find_in_steps(text))) > 3
    assert in_steps(name, text) == set(detector.find(text))
    assert len(in_steps(name, text)) == 3


def test_what_is_longer_than_a_step_shows_counts_to_the_end_of_its_value() -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + LINE * 20_000
    text = f"a\0{key}\0b@c.de"
    assert in_steps("private_key", text) == {(2, 2 + len(key))}
    token = "ghp_" + "a1B2" * 60_000
    assert in_steps("token", f"{token} and\0more") == {(0, len(token) + 4)}
