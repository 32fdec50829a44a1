"""Card numbers (ISO/IEC 7812) and IBANs (ISO 13616) in a text, by check digits, lengths and prefixes."""

from __future__ import annotations

import re
from typing import Final

from penstock_agent.gate.redaction.keys import Span

_SEPARATORS: Final = " \u00a0\u202f\u2009\u2011-"
_DROP: Final = str.maketrans("", "", _SEPARATORS)

# Cards: runs of digits and single separators. What follows a run is looked at by hand: a look-ahead that
# fails after a long run would have the search begin again inside of it.
_RUN: Final = re.compile(rf"(?<![0-9A-Za-z_])[0-9](?:[{_SEPARATORS}]?[0-9]){{12,}}+")
_GROUP: Final = re.compile(r"[0-9]+")
_LEAST, _MOST = 13, 19
_MOST_GROUPS = 5
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")
_FIRST: Final = frozenset("234568")


def cards(text: str) -> list[Span]:
    """Where card numbers are."""
    found = []
    for run in _RUN.finditer(text):
        start = run.start()
        groups = [m.span() for m in _GROUP.finditer(text, start, run.end())]
        before_is_fraction = start > 1 and text[start - 1] == "." and text[start - 2].isdigit()
        at = 1 if before_is_fraction else 0
        while at < len(groups):
            first, end = groups[at]
            begins = end - first >= 4 and text[first] in _FIRST
            stop = _card(text, groups, at) if begins else None
            if stop is None:
                at += 1
            else:
                found.append((first, groups[stop][1]))
                at = stop + 1
    return found


def _card(text: str, groups: list[Span], first: int) -> int | None:
    """The last group of the longest card number that begins with group ``first``."""
    begin, end = groups[first]
    length, last, separator = 0, None, text[end : end + 1]
    for at in range(first, min(first + _MOST_GROUPS, len(groups))):
        start, end = groups[at]
        if at > first and text[start - 1] != separator:
            break
        length += end - start
        if length > _MOST:
            break
        if length >= _LEAST:
            digits = text[begin:end].translate(_DROP)
            if _is_card(digits) and not _goes_on(text, end):
                last = at
        if end - start < 4:  # only the last group of a number is short
            break
    return last


def _goes_on(text: str, end: int) -> bool:
    after = text[end : end + 2]
    return after[:1].isalnum() or after[:1] == "_" or (after[:1] == "." and after[1:].isdigit())


def _is_card(digits: str) -> bool:
    return _is_issued(digits, len(digits)) and _luhn(digits)


def _is_issued(digits: str, length: int) -> bool:
    """Whether a network issues numbers of this length that begin so."""
    two, four = int(digits[:2]), int(digits[:4])
    match digits[0]:
        case "4":  # Visa
            return length in (13, 16, 19)
        case "5":  # Mastercard; Maestro
            return length == 16 if 51 <= two <= 55 else two in (50, 56, 57, 58)
        case "2":  # Mastercard; Mir
            return (2221 <= four <= 2720 and length == 16) or (2200 <= four <= 2204 and length >= 16)
        case "3":
            if two in (34, 37):  # American Express
                return length == 15
            if 3528 <= four <= 3589:  # JCB
                return length >= 16
            return two in (36, 38, 39) or 3000 <= four <= 3059 or four == 3095  # Diners
        case "6":  # Discover, UnionPay, RuPay; Maestro
            return length >= 16 if two in (60, 62, 64, 65) else two in (63, 67)
        case "8":  # RuPay
            return length >= 16 and two in (81, 82)
    return False


def _luhn(digits: str) -> bool:
    plain, doubled = digits[::-2].encode(), digits[-2::-2].translate(_DOUBLED).encode()
    total = sum(plain) + sum(doubled) - 48 * len(digits)
    return total % 10 == 0 and digits != digits[0] * len(digits)


# IBANs.
_START: Final = re.compile(
    rf"(?<![A-Za-z0-9])[A-Za-z]{{2}}[0-9]{{2}}(?:[{_SEPARATORS}]?[A-Za-z0-9]){{11,30}}"
)
#: Characters of an IBAN, by country: SWIFT's registry.
LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25,
    "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip


def ibans(text: str) -> list[Span]:
    """Where IBANs are."""
    found = []
    at = 0
    while (begun := _START.search(text, at)) is not None:
        start = begun.start()
        at = start + 4  # what was read may hold another beginning: only 34 characters are read again
        length = LENGTHS.get(begun[0][:2].upper())
        if length is None:
            continue
        end = _end(text, start, begun.end(), length)
        if end is not None and _checks(text[start:end].translate(_DROP).upper()):
            found.append((start, end))
            at = end
    return found


def _end(text: str, start: int, stop: int, length: int) -> int | None:
    """Where ``length`` letters and digits from ``start`` end, if nothing of the kind follows them."""
    at = start
    while length and at < stop:
        length -= text[at] not in _SEPARATORS
        at += 1
    return None if length or text[at : at + 1].isalnum() else at


def _checks(iban: str) -> bool:
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(c, 36)) for c in turned)) % 97 == 1
