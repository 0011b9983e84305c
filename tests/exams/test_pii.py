"""pii: planted personal data and near misses, each in running text of several scripts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tilth.core import Run
from tilth.signals.audit.pii import Pii

PLANTED = {
    "email": [
        "ann.lee@mail.example.org", "x@y.io", "first+tag@sub.domain.co.uk", "o_r-1@uni-koeln.de", "A.B%c@host99.museum",
    ],
    "ip": [
        "84.232.78.51", "8.8.100.8", "217.165.172.40", "2606:4700:4700::1111", "2a00:1450:4001:81b:0:0:0:200e",
        "2001:4860:4860:0:0:0:0:8888",
    ],
    "phone": [
        "+49 30 901820", "+1 (212) 555-0143", "+44 20 7946 0958", "+33123456789", "+1-778-382-7729", "(202) 966-2664",
        "212-555-0143", "612.673.7003", "1-888-407-4747", "+49 (0) 30 901820",
    ],
    "card": [
        "4111 1111 1111 1111", "5500-0055-5555-5559", "378282246310005", "3782 822463 10005", "6011111111111117",
        "30569309025904", "2223003122003222",
    ],
    "iban": [
        "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "FR14 2004 1010 0505 0001 3M02 606",
        "NO9386011117947", "NL91 ABNA 0417 1643 00", "MT84MALT011000012345MTLCAST001S", "CH93 0076 2011 6238 5295 7",
    ],
}  # fmt: skip
NEAR_MISSES = [
    "4111 1111 1111 1112", "5500005555555558", "378282246310006", "1111 1111 1111 1117", "DE88 3704 0044 0532 0130 00",
    "GB82WEST12345698765433", "XX89370400440532013000", "1.2.3", "version 1.2.3.4", "v84.232.78.51", "3.1.4.8",
    "192.168.0.12", "127.0.0.1", "255.255.255.0", "10.0.0.1", "300.1.200.2", "84.232.78.51.9", "2021-03-04",
    "04.03.2021 12:30:45", "12:30:45", "std::vector", "a[1::3]", "1::", "fe80::1", "aa:bb:cc:dd:ee:ff",
    "ISBN 978-3-16-148410-0", "ISBN-10 3-16-148410-X", "ISSN 2049-3630", "1609459200000", "user@localhost",
    "@handle", "a @ b.com", "foo@bar..com", "me@1.2", "3.14159265358979", "1,234,567,890", "+5", "C++ 11",
    "doi:10.1000/182", "arXiv:2503.01234", "call 911", "123-45-6789", "100-200-3000", "000-000-0000", "= +12 345",
    "12 34 56 78 90", "2020/2021", "http://example.org/1234567890123456", "0xDEADBEEF", "x" * 300 + "@",
]  # fmt: skip
SETTINGS = ["Write to {} today.", "({})", "{}", "Grüße — {}, 谢谢", "שלום {} שלום", "🙂🙂 {}\r\nnext line", "see: {}."]


def test_planted_are_found_and_near_misses_are_not() -> None:
    texts, truth = [], []
    for kind, values in PLANTED.items():
        for value in values:
            for setting in SETTINGS:
                texts.append(setting.format(value))
                truth.append((setting.index("{"), setting.index("{") + len(value), kind))
    batch = pa.record_batch({"text": texts + [s.format(v) for v in NEAR_MISSES for s in SETTINGS]})
    made = Pii().map(batch, Run())
    found = [{(s["start"], s["end"], s["type"]) for s in spans} for spans in made["spans"].to_pylist()]
    hits = sum(want in got for want, got in zip(truth, found, strict=False))
    reported = sum(map(len, found))
    assert hits / len(truth) >= 0.95
    assert hits / reported >= 0.95
    # The naive rival, any run of digits or any @, reports every near miss with digits in it.
    naive = sum(any(c.isdigit() for c in text) or "@" in text for text in NEAR_MISSES)
    assert naive / (naive + sum(map(len, PLANTED.values()))) > 0.5
    for kind, values in PLANTED.items():
        assert made[kind].sum() == sum(s[2] == kind for spans in found for s in spans) >= len(values)
    assert made["total"].tolist() == [len(spans) for spans in made["spans"].to_pylist()]


def test_random_digits_rarely_pass() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    numbers = ["".join(map(str, rng.integers(0, 10, 16))) for _ in range(2000)]
    made = Pii().map(pa.record_batch({"text": [f"order {n} shipped" for n in numbers]}), Run())
    assert made["card"].mean() < 0.05
    assert made["total"].sum() == made["card"].sum()


def test_finds_all_in_much_text() -> None:
    rng = np.random.Generator(np.random.PCG64(4))
    words = np.array(
        ["soil", "and", "the", "in 1987", "12", "harvest", "3.5", "(see", "note)", "was", "naïve", "7,100"]
    )
    texts = [" ".join(rng.choice(words, 400)) for _ in range(2000)]
    texts[::10] = [t + " a.b@example.org +49 30 901820" for t in texts[::10]]
    batch = pa.record_batch({"text": texts})
    made = Pii().map(batch, Run())
    assert made["email"].sum() == made["phone"].sum() == 200
