"""E-mail and IP addresses, phone, card and bank account numbers in a text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from tilth.core.run import Run
from tilth.core.signal import Columns, PureSignal
from tilth.kernels.buffers import string_buffers
from tilth.kernels.pii import windows

__all__ = ["Pii"]

TYPES: Final = ("email", "ip", "phone", "card", "iban")


class Pii(PureSignal):
    """Finds personal data by form: e-mail, public IP addresses, phone, payment card and bank account (IBAN) numbers.

    Outputs a count per type, their `total`, and `spans`: start and end in characters (as Python slices the text) and
    type, so that a transform can cut or mask them. Check digits are verified (Luhn for cards, mod 97 for IBANs), and
    IP addresses that belong to no one (private networks, loopback, netmasks, documentation) or read like section
    numbers are left out, which is what keeps versions, dates, ISBNs and table entries from being reported.

    Cost: one pass over the bytes, then regular expressions around the few promising places. Trap: it knows forms, not
    people: names, street addresses and phone numbers written without a country code outside North America are not
    found, and an unlucky order number can pass a check digit.

    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> text = "Grüße an ann.lee@mail.example.org, Tel. +49 30 901820, build 4111-1111, release 10.2.3"
    >>> made = score_in_memory(Pii(), TablePool(pa.table({"text": [text, None]}))).column("pii").to_pylist()
    >>> [(text[s["start"]:s["end"]], s["type"]) for s in made[0]["spans"]]
    [('ann.lee@mail.example.org', 'email'), ('+49 30 901820', 'phone')]
    >>> made[1]["total"]
    0
    """

    @property
    def needs(self) -> Sequence[str]:
        """The text."""
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        """A count per type, their sum, and where they are."""
        span = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("type", pa.string())])
        return {**dict.fromkeys((*TYPES, "total"), pa.int32()), "spans": pa.list_(span)}

    def map(self, batch: pa.RecordBatch, run: Run) -> Columns:
        texts = batch.column("text")
        offsets, data = string_buffers(texts)
        counts = np.zeros((len(TYPES), len(texts)), np.int32)
        spans: list[list[dict[str, int | str]]] = [[] for _ in range(len(texts))]
        seen, read, chars = -1, 0, 0  # how many characters of the text in hand come before byte `read`
        for t, start, stop in windows(texts).tolist():
            if t != seen:
                seen, read, chars = t, 0, 0
            window = data[offsets[t] + start : offsets[t] + stop].tobytes().decode("utf-8", "replace")
            for low, high, kind in find(window):
                if read != start:
                    skipped = data[offsets[t] + read : offsets[t] + start]
                    chars += int(np.count_nonzero((skipped & 0xC0) != 0x80))
                    read = start
                spans[t].append({"start": chars + low, "end": chars + high, "type": kind})
                counts[TYPES.index(kind), t] += 1
        made = dict(zip(TYPES, counts, strict=True))
        return {**made, "total": counts.sum(0, dtype=np.int32), "spans": pa.array(spans, self.makes["spans"])}


def find(text: str) -> list[tuple[int, int, str]]:
    """Start, end and type of everything found in a short text, in order, none overlapping another."""
    found: list[tuple[int, int, str]] = []
    taken = bytearray(len(text))
    for kind, finder in (("email", _emails), ("iban", _ibans), ("card", _cards), ("ip", _ips), ("phone", _phones)):
        for low, high in finder(text):
            if not any(taken[low:high]):
                taken[low:high] = b"\x01" * (high - low)
                found.append((low, high, kind))
    return sorted(found)


# ---- e-mail and IP -----------------------------------------------------------------------------

_EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9](?:[\w.+%-]{0,62}[\w+%-])?@"
    r"(?=[A-Za-z0-9.-]{4,64}(?![\w-]))(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w-]|\.\w)",
    re.ASCII,
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]*\d)(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)")
_NUMBERED = re.compile(r"(?:version|release|section|chapter|clause|ver|sec|no|v|rev|rfc|§)[.:]?\s*$", re.IGNORECASE)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        for m in _EMAIL.finditer(text):
            if ".." not in m[0]:
                yield m.span()


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_IPV4, _IPV6):
        for m in pattern.finditer(text):
            try:
                public = ipaddress.ip_address(m[0]).is_global
            except ValueError:
                continue
            if public and not _numbering(m[0]) and not _NUMBERED.search(text, max(0, m.start() - 12), m.start()):
                yield m.span()


def _numbering(address: str) -> bool:
    """Whether it reads like a section, a version (1.4.5.2) or a slice (1::3) more than like an address.

    One address in 256 has four numbers below 64; of section numbers, nearly all.
    """
    if ":" in address:
        return sum(map(bool, address.split(":"))) < 3
    return all(int(part) < 64 for part in address.split("."))


# ---- phone -------------------------------------------------------------------------------------

_INTERNATIONAL = re.compile(r"(?<![\w.+/-])\+[1-9]\d{0,3}(?:[ .\-/]?(?:\(\d{1,4}\)|\d{2,14})){1,6}(?!\w|[.\-/]\d)")
_AMERICAN = re.compile(
    r"(?<![\w.+/(-])(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d([ .-]))[2-9]\d\d(?:(?(1)\1|[ .-]))\d{4}(?!\w|[.\-/]\d)"
)


def _phones(text: str) -> Iterator[tuple[int, int]]:
    if "+" in text:
        for m in _INTERNATIONAL.finditer(text):
            if 8 <= sum(map(str.isdigit, m[0])) <= 15:
                yield m.span()
    for m in _AMERICAN.finditer(text):
        yield m.span()


# ---- cards and accounts ------------------------------------------------------------------------

_CARD = re.compile(r"(?<![\w.,+-])[2-6]\d{3}(?:\d{9,15}|([ -])(?:\d{4}\1\d{4}\1\d{4}|\d{6}\1\d{4,5}))(?!\w|[.,-]\d)")
_ISSUERS: Final = (  # first digits, possible lengths
    (re.compile("4"), (13, 16, 19)),
    (re.compile("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile("3[47]"), (15,)),
    (re.compile("30[0-5]|3[68]"), (14,)),
    (re.compile("35(?:2[89]|[3-8])"), (16, 17, 18, 19)),
    (re.compile("6011|64[4-9]|65|62"), (16, 17, 18, 19)),
)


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for m in _CARD.finditer(text):
        digits = m[0].replace(" ", "").replace("-", "")
        if _luhn(digits) and any(p.match(digits) and len(digits) in lengths for p, lengths in _ISSUERS):
            yield m.span()


def _luhn(digits: str) -> bool:
    """The last digit checks the others: every second one from the right doubled, digit sums added up."""
    values = [int(d) for d in reversed(digits)]
    doubled = (sum(divmod(2 * v, 10)) for v in values[1::2])
    return (sum(values[::2]) + sum(doubled)) % 10 == 0


_IBAN = re.compile(r"(?<!\w)([A-Z]{2})\d{2}(?: ?[A-Z0-9]){11,30}")
_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for m in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(m[1], 0)
        end, left = m.start(), length
        while end < m.end() and left:
            left -= text[end] != " "
            end += 1
        code = m[0][: end - m.start()].replace(" ", "")
        if length and not left and not text[end : end + 1].isalnum() and _mod97(code):
            yield m.start(), end


def _mod97(code: str) -> bool:
    """Country and check digits moved to the end, letters read as 10 to 35: the number leaves 1 when divided by 97."""
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1
