"""Card numbers and IBANs: check digits, lengths, and who issues them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate.redaction.numbers import LENGTHS, cards, ibans


def taken(found: list[tuple[int, int]], text: str) -> list[str]:
    return [text[start:end] for start, end in found]


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111", "4012888888881881", "4222222222222", "5555555555554444", "5105105105105100",
        "2221000000000009", "2720990000000007", "378282246310005", "371449635398431", "6011111111111117",
        "6011000990139424", "30569309025904", "38520000023237", "3530111333300000", "6200000000000005",
        "6304000000000000", "6759649826438453", "2200000000000004", "4917610000000000003",
        "4111 1111 1111 1111", "4111-1111-1111-1111", "3782 822463 10005",
        "4111\u00a01111\u00a01111\u00a01111",
        "41111111 11111111", "4917 6100 0000 0000 003",
    ],
)  # fmt: skip
def test_a_card_number_is_found(number: str) -> None:
    for before, after in [
        ("", ""), ("card: ", "."), ('"', '"'), ("#", ", CVV 123"), ("12 ", " 123"), ("2026 ", " EUR"),
        ("\1", "\0"),
    ]:  # fmt: skip
        assert taken(cards(text := f"{before}{number}{after}"), text) == [number], (before, after)


def test_several_are_found_one_by_one() -> None:
    text = "4111111111111111 5555555555554444, 378282246310005\n4111 1111 1111 1111 4012 8888 8888 1881"
    assert len(cards(text)) == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4111111111111112",  # check digit
        "1111111111111117",  # nobody's
        "0000000000000000",
        "4111111111111",  # thirteen digits, and the wrong check digit
        "5555555555554",  # Mastercard has sixteen
        "411111111111111",
        "41111111111111111111",
        "x4111111111111111",
        "4111111111111111x",
        "id_4111111111111111",
        "0.4111111111111111",
        "4111111111111111.25",
        "1700000000000 1700000000000000 1700000000000000000",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "4111 1111-1111 1111",
        "4111  1111  1111  1111",
        "10 200 3000 40000 500000",
        "tel +49 89 1234 5678 9012",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert cards(text) == []


@given(st.text("0123456789", min_size=15, max_size=15))
def test_one_digit_in_ten_makes_a_number_of_visa_a_card(digits: str) -> None:
    numbers = [f"4{digits[:-1]}{last}" for last in range(10)]
    assert sum(bool(cards(number)) for number in numbers) == 1


IBANS = [
    "DE89370400440532013000", "GB29NWBK60161331926819", "FR1420041010050500013M02606", "NL91ABNA0417164300",
    "CH9300762011623852957", "ES9121000418450200051332", "IT60X0542811101000000123456", "NO9386011117947",
    "MT84MALT011000012345MTLCAST001S", "BE68539007547034", "AT611904300234573201", "SE4550000000058398257466",
    "PL61109010140000071219812874", "SA0380000000608010167519", "LC55HEMM000100010012001200023015",
]  # fmt: skip


@pytest.mark.parametrize("iban", IBANS)
def test_an_iban_is_found_as_people_write_it(iban: str) -> None:
    fours = " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))
    for written in (iban, iban.lower(), fours, fours.replace(" ", "-")):
        for before, after in [
            ("", ""),
            ("IBAN: ", " and so on"),
            ("(", ")"),
            ("\1", "\0"),
            ("to ", ", BIC X"),
        ]:
            assert taken(ibans(text := f"{before}{written}{after}"), text) == [written]


@pytest.mark.parametrize("iban", IBANS)
def test_one_wrong_character_and_it_is_none(iban: str) -> None:
    wrong = "1" if iban[-2] != "1" else "2"
    assert ibans(f"{iban[:-2]}{wrong}{iban[-1]}") == []
    assert ibans(f"{iban}0") == []
    assert ibans(f"x{iban}") == []
    assert ibans(f"XX{iban[2:]}") == []


def test_the_beginning_of_one_does_not_hide_the_next() -> None:
    text = "DE89 3704 DE89 3704 0044 0532 0130 00"
    assert taken(ibans(text), text) == ["DE89 3704 0044 0532 0130 00"]


def test_every_length_is_one_that_the_registry_has() -> None:
    assert all(15 <= length <= 34 and len(country) == 2 for country, length in LENGTHS.items())
