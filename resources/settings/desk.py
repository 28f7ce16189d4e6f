"""Settings: the desk, the web pages on which people take part.

Belongs here: those fields, and what is made of them alone. Does not belong here: what the desk does (see ``crowd_assets.desk``).
"""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, field_validator

from resources.settings.fields import SettingError, decimal_text, setting


class Desk(BaseModel):
    """The web pages on which people take part: where they are, who is let in, what is asked."""

    desk_url: str = setting(
        default="",
        description="Address by which people reach the desk, like https://crowd.example.org: invitations begin with the address. "
        "Empty: http://127.0.0.1 and the port of crowd-rounds serve.",
        shown="no",
        per_run=False,
        place=True,
    )
    desk_user_header: str = setting(
        default="",
        description="Header by which a proxy in front of the desk names the person who is signed in, like X-Forwarded-Email. "
        "Whoever reaches the desk past the proxy can be anybody: let the desk listen where the proxy alone reaches the desk. Empty: "
        "invitations alone let people in.",
        shown="no",
        per_run=False,
    )
    desk_operators: str = setting(
        default="",
        description="Names of operators in the header of CROWD_DESK_USER_HEADER, separated by commas.",
        shown="people",
        per_run=False,
    )
    desk_panel_code: str = setting(
        default="",
        description="Completion code of a study on Prolific. Where the code is set, /panel lets in whoever comes with a participant's "
        "id, and shows the code once CROWD_DESK_PANEL_TASKS tasks are done. Empty: nobody comes from a panel.",
        shown="no",
        per_run=False,
    )
    desk_panel_tasks: int = setting(
        default=20,
        ge=1,
        description="Number of tasks that a participant of a panel does before the completion code is shown.",
        shown="yes",
        per_run=False,
    )
    desk_consent: str = setting(
        default="",
        description="Text file with the terms that people agree to before people take part. A change of the text asks everybody again. Empty: the "
        "text that comes with the desk.",
        shown="file",
        per_run=False,
        place=True,
    )
    desk_judgements: int = setting(
        default=3,
        ge=1,
        description="Number of judgements that the desk asks for on a comparison, where no assignments are published.",
        shown="yes",
        per_run=False,
    )
    desk_ranked: int = setting(
        default=4,
        ge=2,
        le=8,
        description="Number of answers to one prompt that the desk asks people to rank at once, at most, where a round published several comparisons of the prompt and assigned none of the comparisons. A ranking counts as one judgement. 2: answers are compared two by two.",
        shown="yes",
        per_run=False,
    )
    desk_batch_s: float = setting(
        default=2.0,
        gt=0,
        le=3600,
        description="Seconds for which the desk collects forms before the desk writes a file of feedback into the inbox.",
        shown="yes",
        per_run=False,
    )
    desk_forms_per_minute: int = setting(
        default=60,
        ge=1,
        description="Number of forms that one person may send in a minute; whoever sends more is asked to wait.",
        shown="yes",
        per_run=False,
    )
    desk_connections: int = setting(
        default=100,
        ge=1,
        description="Number of connections that one address (of IPv6: one network of 64 bits) may hold open at the desk at once. Proxies "
        "that the desk trusts, by default those on this machine, may hold any number.",
        shown="yes",
        per_run=False,
    )
    desk_credit_rate: str = setting(
        default="1",
        description="Money paid for one credit, in the currency of CROWD_DESK_CURRENCY: what the list of payouts multiplies by.",
        shown="yes",
        per_run=False,
    )
    desk_currency: str = setting(
        default="credits",
        description="Currency of payouts, as the list of payouts and people's own pages name the currency.",
        shown="word",
        per_run=False,
    )

    @field_validator("desk_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        found = urlsplit(value)
        if value and (found.scheme not in ("http", "https") or not found.hostname or found.query or found.username):
            raise ValueError(
                "must be http:// or https:// and a host, with or without a path, and nothing after the path"
            )
        return value.rstrip("/")

    @field_validator("desk_credit_rate")
    @classmethod
    def _rate(cls, value: str) -> str:
        return decimal_text(value)

    def consent_text(self) -> str:
        """What people agree to; empty: the text that comes with the desk.

        Raises:
            SettingError: the file cannot be read, or is empty.
        """
        if not self.desk_consent:
            return ""
        try:
            found = Path(self.desk_consent).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise SettingError(
                f"CROWD_DESK_CONSENT={self.desk_consent!r} cannot be read ({problem}): name a text file, or unset CROWD_DESK_CONSENT."
            ) from None
        if not found:
            raise SettingError(
                f"CROWD_DESK_CONSENT={self.desk_consent!r} is empty: write what people agree to, or unset CROWD_DESK_CONSENT."
            )
        return found
