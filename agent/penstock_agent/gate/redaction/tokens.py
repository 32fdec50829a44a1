"""Tokens of clouds and services in a text: by the prefix that their issuers give them, or by what they are
called where they have none.

The look-behind keeps a search from beginning inside a run that another search has been through already: that
makes it linear.
"""

from __future__ import annotations

import re
from typing import Final

from penstock_agent.gate.redaction import keys
from penstock_agent.gate.redaction.keys import Span

_WORD: Final = r"[A-Za-z0-9_-]"
# Not inside a word; a "-" may stand before it (the removed line of a patch), but not inside of a run that
# could have begun earlier. Where text holds JSON, \n before it is two characters.
_BEFORE: Final = r"(?:(?<![A-Za-z0-9_])(?<![A-Za-z0-9_-]-)|(?<=\\[nrt]))"

_PREFIXED: Final = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])",  # AWS: the ids of access keys
    rf"AIza{_WORD}{{35}}",  # Google: API key
    rf"ya29\.{_WORD}{{20,}}+",  # Google: access token
    rf"GOCSPX-{_WORD}{{28}}",  # Google: client secret
    r"gh[opusr]_[A-Za-z0-9]{36,}+",
    r"github_pat_[A-Za-z0-9_]{22,}+",
    rf"gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|ffct|wt)-{_WORD}{{20,}}+(?:\.[a-z0-9]{{2,16}}){{0,2}}",
    r"xox[abceoprsd](?:\.xox[abp])?-[A-Za-z0-9-]{10,}+",  # Slack
    r"xapp-[0-9]-[A-Za-z0-9-]{20,}+",
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{20,}+",
    r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}+",  # Stripe
    r"whsec_[A-Za-z0-9+/]{24,}+={0,2}",
    rf"sk-(?:ant|proj|svcacct|admin|None|or)-{_WORD}{{20,}}+",  # Anthropic, OpenAI
    r"sk-[A-Za-z0-9]{32,}+",
    r"npm_[A-Za-z0-9]{36,}+",
    rf"pypi-{_WORD}{{50,}}+",
    r"hf_[A-Za-z0-9]{30,}+",  # Hugging Face
    rf"dckr_(?:pat|oat)_{_WORD}{{20,}}+",
    r"do[opr]_v1_[a-f0-9]{64}",  # DigitalOcean
    rf"SG\.{_WORD}{{22}}\.{_WORD}{{43}}",  # SendGrid
    rf"hv[sbr]\.{_WORD}{{24,}}+",  # Vault
    rf"eyJ{_WORD}{{8,}}+\.eyJ{_WORD}{{8,}}+\.{_WORD}*+",  # JWT (RFC 7519), signed or not
    rf"eyJ{_WORD}{{8,}}+\.{_WORD}*+\.{_WORD}{{8,}}+\.{_WORD}{{8,}}+\.{_WORD}{{8,}}+",  # encrypted
    rf"pst_[a-z0-9]{{10}}_[A-Za-z0-9]{{43}}|ps[ar]_[a-z0-9]{{16}}_{_WORD}{{43}}",  # Penstock's own
    rf"penstock1\.{_WORD}{{40,}}+",
    r"AccountKey=[A-Za-z0-9+/]{86}==",  # Azure: connection strings
    r"SharedAccessKey=[A-Za-z0-9+/]{43}=",
    r"sig=[A-Za-z0-9%]{43,120}+",  # Azure: signed URLs; no shorter signature is good
)
_ALL: Final = re.compile(_BEFORE + "(?:" + "|".join(_PREFIXED) + ")")
_AZURE_CLIENT: Final = re.compile(
    r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}(?![\w~.-])"
)

# Secrets that look like anything else of their length: only after their name, or after the id they belong to.
_BETWEEN: Final = r"[^A-Za-z0-9/+\x00]{1,16}"
_AWS_SECRET: Final = re.compile(
    r"(?:[Ss]ecret[_-]?[Aa]ccess[_-]?[Kk]ey|SECRET_?ACCESS_?KEY|[Ss]ecret[_-]?[Kk]ey|SECRET_?KEY"
    rf"|(?:AKIA|ASIA)[A-Z2-7]{{16}}){_BETWEEN}([A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])"
)
_AWS_SESSION: Final = re.compile(
    rf"(?:[Ss]ession_?[Tt]oken|SESSION_TOKEN|[Ss]ecurity_?[Tt]oken){_BETWEEN}([A-Za-z0-9/+]{{100,}}+={{0,2}})"
)
_AZURE_KEY: Final = re.compile(
    r"(?:[Aa]ccount_?[Kk]ey|ACCOUNT_?KEY|[Aa]ccess_?[Kk]ey|ACCESS_?KEY|[Ss]torage_?[Kk]ey|STORAGE_?KEY"
    rf"|[Pp]rimary_?[Kk]ey|[Ss]econdary_?[Kk]ey|[Vv]alue){_BETWEEN}([A-Za-z0-9/+]{{86}}==)"
)
_GCP_KEY: Final = "private_key"
_NEAR: Final = 24


def find(text: str) -> list[Span]:
    """Where tokens and secrets are; they may overlap."""
    found = [m.span() for m in _ALL.finditer(text)]
    if "Q~" in text:
        found += [m.span() for m in _AZURE_CLIENT.finditer(text)]
    if "ecret" in text or "ECRET" in text or "AKIA" in text or "ASIA" in text:
        found += [m.span(1) for m in _AWS_SECRET.finditer(text)]
    if "oken" in text or "OKEN" in text:
        found += [m.span(1) for m in _AWS_SESSION.finditer(text)]
    if "==" in text:
        found += [m.span(1) for m in _AZURE_KEY.finditer(text)]
    if _GCP_KEY in text:  # the key of a service account, in its JSON
        found += [one for one in keys.find(text) if _GCP_KEY in text[max(0, one[0] - _NEAR) : one[0]]]
    return found
