"""Personal data in texts: found by their form and, where there is one, their checksum, and masked.

Names and other free text that identifies somebody need a model of a language and are not looked for.

Belongs here: the forms, masking. Does not belong here: pseudonyms of contributors.
"""

import re
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address

import polars as pl

from crowd_assets.quality.detectors.base import Detection, authored, detection_of_events
from resources.feedback.conversations import as_text, messages_of
from resources.feedback.events import TEXTS

STREETS = "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Terrace"

# A superset of all that is found, for Polars, which has neither look-around nor checksums.
SUSPECT = rf"(?i:@|\bat\b.{{0,40}}\bdot\b)|\d(?:[\s().\-/]{{0,3}}\d){{6,}}|\d(?:\.\d{{1,3}}){{3}}|\b[A-Z]{{2}}\d{{2}}\s?[A-Z0-9]{{4}}|\d\s+(?:[A-Z][a-z]+\s+){{1,3}}(?:{STREETS})\b"

EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}(?:@|\s?[\[(]\s?at\s?[\])]\s?)[a-z0-9-]+(?:(?:\.|\s?[\[(]\s?dot\s?[\])]\s?)[a-z0-9-]+)*"
    r"(?:\.|\s?[\[(]\s?dot\s?[\])]\s?)[a-z]{2,24}\b",
    re.IGNORECASE,
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}(?:\s?[A-Z0-9]{1,4})?\b")
CARD = re.compile(r"(?<![\w.])(?<!\d[ -])[3-6](?:[ -]?\d){12,18}(?![\d.]\d|\d)")
SOCIAL_SECURITY = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
IP_ADDRESS = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)")
ADDRESS = re.compile(rf"\b\d{{1,5}}\s+(?:[A-Z][a-z]+\s+){{1,3}}(?:{STREETS})\b\.?")

Span = tuple[int, int, str]


def personal_data(events: pl.DataFrame, region: str) -> Detection:
    """Responses that hold an e-mail address, a telephone or payment card number, an IBAN, a US social security number, a public
    IPv4 address, or a street address in the English form.

    Unit: how many are in the text. Checked beyond their form: telephone numbers by the numbering plans (phonenumbers;
    in national form those of ``region``, ``CROWD_PHONE_REGION``), cards by Luhn, IBAN by its check digits and social
    security numbers by their ranges (python-stdnum). Names are not looked for. The reason says which kinds, and quotes
    none.

    An honest person trips it with the address or hotline of an office, which is no person's, and with numbers that
    happen to be valid.
    """
    rows = authored(events)
    kinds = _kinds("response", region)
    flagged = (
        rows.filter(pl.col("response").str.contains(SUSPECT))
        .with_columns(kinds=kinds)
        .filter(pl.col("kinds").list.len() > 0)
        .select(
            "event_id",
            score=pl.col("kinds").list.len(),
            detail=pl.col("kinds").list.unique().list.sort().list.join(", "),
        )
    )
    return detection_of_events("personal_data", rows, flagged)


def masked(events: pl.DataFrame, region: str) -> pl.DataFrame:
    """Events with personal data in any of their texts replaced by its kind: ``[e-mail]``, ``[telephone]``, ….

    Prompts and the answers of comparisons are masked too: the same text becomes the same text wherever it stands.
    """

    def hidden(texts: pl.Series) -> pl.Series:
        return pl.Series([mask(text, region) for text in texts], dtype=pl.String)

    replaced = []
    for column in TEXTS:
        suspects = events.select(column).unique().filter(pl.col(column).str.contains(SUSPECT))
        masks = suspects.with_columns(masked=pl.col(column).map_batches(hidden, return_dtype=pl.String))
        replaced.append(pl.col(column).replace(masks[column], masks["masked"]))
    if "messages" in events.columns:
        quoted = events.select("messages").unique().filter(pl.col("messages").str.contains(SUSPECT))
        without = [_masked_conversation(text, region) for text in quoted["messages"]]
        replaced.append(pl.col("messages").replace(quoted["messages"], pl.Series(without, dtype=pl.String)))
    return events.with_columns(replaced)


def _masked_conversation(text: str, region: str) -> str:
    """The conversation in ``text`` with every message masked as :func:`mask` does."""
    said = messages_of("", text)
    return as_text([{**message, "content": mask(message["content"], region)} for message in said]) or text


def mask(text: str, region: str) -> str:
    """``text`` with every piece of personal data replaced by its kind in square brackets."""
    parts, done = [], 0
    for start, end, kind in spans(text, region):
        parts += [text[done:start], f"[{kind}]"]
        done = end
    return "".join([*parts, text[done:]])


def spans(text: str, region: str) -> list[Span]:
    """Where personal data stands in ``text``, in order and without overlap: start, end, kind."""
    pieces: list[Span] = []
    for start, end, kind in _found(text, region):
        if all(end <= other_start or other_end <= start for other_start, other_end, _ in pieces):
            pieces.append((start, end, kind))
    return sorted(pieces)


def _found(text: str, region: str) -> Iterator[Span]:
    """The surest kinds first: of two that overlap the first counts."""
    for kind, pattern, valid in FORMS:
        for match in pattern.finditer(text):
            if valid(match.group()):
                yield (*match.span(), kind)
    if sum(character.isdigit() for character in text) >= 7:
        from phonenumbers import Leniency, PhoneNumberMatcher

        for number in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
            yield number.start, number.end, "telephone"


def _kinds(column: str, region: str) -> pl.Expr:
    def kinds(texts: pl.Series) -> pl.Series:
        return pl.Series([[kind for *_, kind in spans(text, region)] for text in texts], dtype=pl.List(pl.String))

    return pl.col(column).map_batches(kinds, return_dtype=pl.List(pl.String))


def _valid_iban(text: str) -> bool:
    from stdnum import iban

    return bool(iban.is_valid(text))


def _valid_card(text: str) -> bool:
    from stdnum import luhn

    digits = re.sub(r"\D", "", text)
    return len(set(digits)) > 1 and bool(luhn.is_valid(digits))


def _valid_social_security(text: str) -> bool:
    from stdnum.us import ssn

    return bool(ssn.is_valid(text))


def _public_address(text: str) -> bool:
    try:
        return IPv4Address(text).is_global
    except AddressValueError:
        return False


FORMS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("e-mail", EMAIL, bool),
    ("IBAN", IBAN, _valid_iban),
    ("card", CARD, _valid_card),
    ("social security", SOCIAL_SECURITY, _valid_social_security),
    ("IP address", IP_ADDRESS, _public_address),
    ("street address", ADDRESS, bool),
)
