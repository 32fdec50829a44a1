"""Sizes, written and read by people."""

from __future__ import annotations

import pytest

from penstock_agent.sizes import read, shown


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1), ("1B", 1), ("2kB", 2000), ("2KiB", 2048), ("50MB", 50_000_000), ("512MiB", 512 << 20),
        ("4 GiB", 4 << 30), ("2GB", 2_000_000_000), ("1gib", 1 << 30), ("1 TiB", 1 << 40), ("0MiB", 0),
    ],
)  # fmt: skip
def test_a_size_is_a_number_with_a_unit_or_without(text: str, size: int) -> None:
    assert read(text) == size


@pytest.mark.parametrize("value", [7, True, None, 1.5, [1]])
def test_what_is_no_text_is_for_others_to_judge(value: object) -> None:
    assert read(value) is value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2g",
        "2G",
        "-1MiB",
        "1.5GiB",
        "9" * 40 + "B",
        "2GiB\n",
        "\u0662GiB",
        "4  GiB",
        " 4GiB",
        "lots",
        "MiB",
    ],
)
def test_what_is_no_size_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match='such as "50MB" or "4 GiB"'):
        read(text)


def test_people_read_one_decimal_and_the_unit_that_fits() -> None:
    assert [shown(n) for n in (0, 1023, 1024, 5 << 20, 3 << 40, 5000 << 40)] == [
        "0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3.0 TiB", "5000.0 TiB",
    ]  # fmt: skip
