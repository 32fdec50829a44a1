"""One byte string per JSON value, however it was written: what hashes of definitions and arguments are of.

Members are sorted by the code points of their keys, nothing stands between tokens, strings have the fewest
escapes. Numbers stay as they were written: 1 and 1.0 may not be the same to whoever reads them.
"""

import hashlib
import json

import msgspec

_encode = msgspec.json.Encoder(order="sorted").encode
_encode_as_it_is = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def canonical(raw: bytes) -> bytes:
    """Raises ValueError for what is not JSON, for a key that stands twice in one object, and for text that
    UTF-8 cannot carry.
    """
    try:
        value: object = _decode(raw)
        # What comes out as it went in has each key once and every number as the encoder writes it, so only
        # the order of keys can differ. Most clients write like that, and this is the fast way.
        if _encode_as_it_is(value) != raw:
            value = _decoder.decode(raw.decode())
        return _encode(value)
    except msgspec.DecodeError:
        raise ValueError("It is not JSON.") from None
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None


def digest(raw: bytes) -> str:
    """SHA-256 of the canonical form, in hex. Raises as ``canonical`` does."""
    return hashlib.sha256(canonical(raw)).hexdigest()


def _number(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("A key stands twice in one object.")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON.")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_number, parse_float=_number, parse_constant=_no_constant
)
