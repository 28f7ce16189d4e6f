"""From what a form holds to an event of feedback, checked as the gate will check the event.

Belongs here: fields to events, and what is said of them before they are sent. Does not belong here: the gate (see
``crowd_assets.quality``), keeping what was sent (see ``store``).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from crowd_assets.desk.letting_in import Form, Seals
from crowd_assets.desk.store import Sent
from crowd_assets.desk.work import Comparison, Lot, Ranking
from crowd_assets.importers.records import ranked_pairs
from crowd_assets.quality.detectors.personal import spans
from resources.feedback.events import EVENT_SCHEMA, InvalidEventError, Limits, parse_event
from resources.settings.settings import Settings

FEWEST_LETTERS = 3
LONGEST_REASON = 2_000
STRENGTHS = (0.02, 0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 0.98)
"""Chances that the left answer is the better one, from the right end of the scale to the left."""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
HIDDEN = re.compile("[\u180e\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
"""Characters that are there and nobody sees, and by which a text can say something else to a program than to a reader. What languages
and emoji need between their letters (joiners, soft hyphens, marks of direction) is none of them."""


@dataclass(frozen=True)
class Problem:
    """Why a form cannot be sent as it is; ``field`` names the part of the form."""

    field: str
    text: str


class FormError(ValueError):
    """What a form holds cannot be sent; ``problems`` says what to change."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.text}" for each in problems))
        self.problems = problems


@dataclass(frozen=True)
class Forms:
    """Makes events of what people write."""

    settings: Settings
    seals: Seals

    def demonstration(self, name: str, fields: Mapping[str, str], form: Form, lot: Lot | None) -> Sent:
        """A text for a prompt that was published, or for one of the person's own.

        Raises:
            FormError: it cannot be sent as it is.
        """
        prompt = lot.prompt if lot else plain(fields.get("prompt", ""))
        response = plain(fields.get("response", ""))
        problems = [*self._written("response", response, prompt), *([] if lot else self._written("prompt", prompt))]
        event = {"kind": "demonstration", "contributor_id": name, "prompt": prompt, "response": response}
        return self._sent(name, event, form, form.subject, response, problems)

    def offer(self, name: str, fields: Mapping[str, str], form: Form, lot: Lot) -> Sent:
        """An answer for a lot, with its asked price.

        Raises:
            FormError: it cannot be sent as it is.
        """
        response = plain(fields.get("response", ""))
        problems = self._written("response", response, lot.prompt)
        price, quality = fields.get("asked_price", "").strip().replace(",", "."), fields.get("claimed_quality", "")
        if not price:
            problems.append(Problem("asked_price", "say what you ask for the answer, 0 or more"))
        if not _is_share(quality):
            problems.append(Problem("claimed_quality", "say how well the answer meets what is asked for"))
        event = {
            "kind": "bid",
            "contributor_id": name,
            "lot_id": lot.lot_id,
            "prompt": lot.prompt,
            "response": response,
            "asked_price": price,
            "claimed_quality": float(quality) if _is_share(quality) else 0.0,
        }
        return self._sent(name, event, form, lot.lot_id, response, problems)

    def judgement(
        self, name: str, fields: Mapping[str, str], form: Form, found: Comparison, *, left_is_a: bool, pair: str
    ) -> Sent:
        """What somebody says of two answers.

        Raises:
            FormError: it cannot be sent as it is.
        """
        both_bad = fields.get("both_bad") == "yes"
        strength = fields.get("strength", "")
        problems = []
        if strength not in {str(place) for place in range(len(STRENGTHS))} and not both_bad:
            problems.append(
                Problem("strength", "say which answer is better and how sure you are, or that neither is good")
            )
        problems += _of_reason(fields)
        if problems:
            raise FormError(problems)
        left = STRENGTHS[int(strength)] if strength else 0.5
        return self._report(name, fields, form, found, left if left_is_a else 1 - left, pair, both_bad=both_bad)

    def ranking(
        self,
        name: str,
        fields: Mapping[str, str],
        form: Form,
        found: Ranking,
        *,
        shown: Sequence[int],
        pair: Callable[[Comparison], str],
    ) -> list[Sent]:
        """What somebody says of more than two answers, as one report on every two of them: one judgement, of which each has a share (see
        ``ranked_pairs``).

        Args:
            shown: Numbers of the answers in the order in which the person saw them.
            pair: Hashes a pair.

        Raises:
            FormError: it cannot be sent as it is.
        """
        none_good = fields.get("both_bad") == "yes"
        places = [fields.get(f"place-{at}", "") for at in range(len(shown))]
        known = {str(place) for place in range(1, len(shown) + 1)}
        problems = [
            Problem(f"place-{at}", "say which place the answer has, or that no answer is good")
            for at, place in enumerate(places)
            if place not in known and not none_good
        ]
        if problems := [*problems, *_of_reason(fields)]:
            raise FormError(problems)
        ranks = {
            found.answers[number]: 1.0 if none_good else float(place)
            for number, place in zip(shown, places, strict=True)
        }
        ranked = ranked_pairs({answer: ranks[answer] for answer in found.answers})
        return [
            self._report(
                name,
                fields,
                form,
                each,
                probability if each.response_a == one else 1 - probability,
                pair(each),
                both_bad=none_good,
                share=share,
            )
            for each, (one, _, probability, share) in zip(found.pairs, ranked, strict=True)
        ]

    def _report(
        self,
        name: str,
        fields: Mapping[str, str],
        form: Form,
        found: Comparison,
        probability_a: float,
        pair: str,
        *,
        both_bad: bool,
        share: float | None = None,
    ) -> Sent:
        accepted = datetime.now(UTC) - timedelta(seconds=form.seconds)
        event: dict[str, Any] = {
            "kind": "preference",
            "contributor_id": name,
            "comparison_id": found.comparison_id,
            "prompt": found.prompt,
            "response_a": found.response_a,
            "response_b": found.response_b,
            "probability_a": round(probability_a, 6),
            "accepted_at": accepted.isoformat(timespec="milliseconds"),
        }
        if found.messages:
            event["messages"] = [*found.messages, {"role": "user", "content": found.prompt}]
        if both_bad:
            event |= {"both_bad": True, "probability_a": 0.5}
        if reason := plain(fields.get("reason", "")):
            event["reason"] = reason
        if share is not None:
            event["judgement_share"] = share
        return replace(self._sent(name, event, form, found.comparison_id, "", []), text=pair, share=share)

    def _sent(
        self, name: str, event: dict[str, Any], form: Form, subject: str, text: str, problems: list[Problem]
    ) -> Sent:
        if problems:
            raise FormError(problems)
        about = event.get("prompt", "") if event["kind"] == "demonstration" else subject
        event["event_id"] = f"desk-{self.seals.hashed('event', event['kind'], name, about, text)}"
        event["submitted_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            parse_event(event, Limits(self.settings.max_line_bytes, self.settings.max_text_characters))
        except InvalidEventError as problem:
            said = str(problem)
            field = next(
                (each for each in ("asked_price", "claimed_quality", "prompt", "response") if each in said), ""
            )
            raise FormError([Problem(field, said)]) from None
        if len(json.dumps(event, ensure_ascii=False).encode()) > self.settings.max_line_bytes:
            raise FormError(
                [Problem("response", f"is too long: more than {self.settings.max_line_bytes:,} bytes with the prompt")]
            )
        marked = self.seals.hashed("text", text.strip()) if text else ""
        return Sent(event["event_id"], event["kind"], subject, marked, event, form.seconds)

    def _written(self, field: str, text: str, prompt: str = "") -> list[Problem]:
        """What the gate would hold against a text."""
        if sum(character.isalnum() for character in text) < FEWEST_LETTERS:
            return [Problem(field, "is empty or too short to be of use")]
        if len(text) > (most := self.settings.max_text_characters):
            return [Problem(field, f"has {len(text):,} characters; at most {most:,}")]
        problems = shapes(field, text)
        if prompt and _words(text) == _words(prompt):
            problems.append(Problem(field, "is a copy of the prompt"))
        if kinds := sorted({kind for *_, kind in spans(text, self.settings.phone_region)}):
            problems.append(Problem(field, f"holds personal data ({', '.join(kinds)}): please leave the data out"))
        if foreign := _foreign(text, self.settings.spoken_languages):
            problems.append(Problem(field, foreign))
        return problems


def plain(text: str) -> str:
    """A text of a form with the line ends that feedback has, without white space around the text."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _of_reason(fields: Mapping[str, str]) -> list[Problem]:
    reason = plain(fields.get("reason", ""))
    if len(reason) > LONGEST_REASON:
        return [Problem("reason", f"has {len(reason):,} characters; at most {LONGEST_REASON:,}")]
    return shapes("reason", reason)


def _words(text: str) -> list[str]:
    return "".join(each.lower() if each.isalnum() else " " for each in text).split()


def shapes(field: str, text: str) -> list[Problem]:
    """Characters that nobody types and nobody sees."""
    if CONTROLS.search(text):
        return [Problem(field, "holds control characters: please type the text anew")]
    if DIRECTIONS.search(text):
        return [Problem(field, "holds characters that turn the direction of writing around: please leave them out")]
    if HIDDEN.search(text):
        return [Problem(field, "holds characters that nobody sees: please type the text anew")]
    return []


def _is_share(value: str) -> bool:
    try:
        return 0.0 <= float(value) <= 1.0
    except ValueError:
        return False


def _foreign(text: str, languages: tuple[str, ...]) -> str:
    """Why the detector of languages would object; empty where it would not."""
    if not languages:
        return ""
    from crowd_assets.quality.detectors.texts import language

    row = {
        "event_id": "here",
        "seq": 1,
        "kind": "demonstration",
        "contributor_id": "here",
        "prompt": "",
        "response": text,
    }
    found = language(pl.DataFrame([row], schema={"seq": pl.Int64(), **EVENT_SCHEMA}), languages)
    if found.events.is_empty():
        return ""
    return f"seems to be written in another language than those of this project ({', '.join(languages)})"
