"""What every family of mechanisms has in common: a table of members, and what each member says of itself.

A family (points schemes, auctions, aggregates, groupings) is a folder: a protocol that extends ``Member``, one module a
member, and ``table.py`` with the table. A setting names the member that runs in a round; graph, audit, attack games,
experiments, benchmarks and docs take members from the table, so that a new member is one module, one row and one page.

Belongs here: ``Family``, ``Member`` and the words for what members need. Does not belong here: any member, or settings (which
find a table by its name, see ``resources.common.members``).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol, TypeVar

NEEDS = {
    "outcomes": "realised outcomes of comparisons",
    "horizon": "how many slots or rounds there will be",
    "embeddings": "embeddings of texts or of candidates' generations in Φ",
    "candidate values": "a value of each candidate of a round",
    "estimates": "estimates of contributors from earlier rounds, with their standard errors",
    "points": "points of contributors from earlier rounds",
    "memory": "what contributors sent in earlier rounds",
    "verified quality": "a quality of each answer that the buyer verified",
    "asked prices": "a price that each seller asks",
    "past sales": "bids of earlier rounds with their verified qualities",
    "response lengths": "the length of each response",
}
"""Words that a member's ``needs`` may hold, and what each stands for."""


class Member(Protocol):
    """One mechanism of a family: a small frozen object with the family's methods and these attributes.

    name: What the setting and the table call it, ``lower_case``.
    summary: One sentence that says what it does.
    needs: Words of ``NEEDS``: what has to be there before it can run.
    guarantees: One sentence for each property that tests check; empty for a baseline.
    source: The publication it comes from, or the sentence that it is ours.
    page: Page of the docs that explains it, below ``docs/``.
    """

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def guarantees(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> str: ...
    @property
    def page(self) -> str: ...


M = TypeVar("M", bound=Member)
M_co = TypeVar("M_co", bound=Member, covariant=True)


class NoSuchMemberError(KeyError):
    """A family has no member of that name; the message lists the ones it has."""

    def __str__(self) -> str:
        return str(self.args[0])


class Family(Mapping[str, M_co]):
    """Members of one family by name, in the order in which members are shown. A family is immutable.

    Args:
        title: What the family is called in docs and messages, such as ``"auction"``.
        setting: Field of the settings that chooses the member of a round, such as ``"auction"``.
        members: At least one, each of a name of its own.

    Raises:
        ValueError: two members of one name, a name that is no identifier, a summary that is missing, or a need that
            ``NEEDS`` does not know.
    """

    __slots__ = ("_members", "setting", "title")

    title: str
    setting: str
    _members: dict[str, M_co]

    def __init__(self, title: str, setting: str, *members: M_co) -> None:
        by_name = {member.name: member for member in members}
        if not members or len(by_name) < len(members):
            raise ValueError(
                f"family {title!r} needs members of different names, got {[each.name for each in members]}"
            )
        for member in members:
            unknown = [need for need in member.needs if need not in NEEDS]
            if not member.name.isidentifier() or not member.summary or unknown:
                raise ValueError(
                    f"{title} {member.name!r} needs a name that is an identifier, a summary, and needs that are words of "
                    f"families.NEEDS; not of these: {unknown}"
                )
        object.__setattr__(self, "title", title)
        object.__setattr__(self, "setting", setting)
        object.__setattr__(self, "_members", by_name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"family {self.title!r} cannot be changed: make one with other members by Family.plus")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in order."""
        return tuple(self._members)

    def __getitem__(self, name: str) -> M_co:
        """The member called ``name``.

        Raises:
            NoSuchMemberError: there is none.
        """
        try:
            return self._members[name]
        except KeyError:
            raise NoSuchMemberError(
                f"no {self.title} is called {name!r}; there are {', '.join(self._members)}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"Family({self.title!r}: {', '.join(self._members)})"

    def plus(self: "Family[M]", *members: M) -> "Family[M]":
        """This family with further ``members`` at the end."""
        return Family(self.title, self.setting, *self._members.values(), *members)

    def unmet(self, name: str, there: Collection[str]) -> tuple[str, ...]:
        """What the member called ``name`` needs and ``there`` lacks, each as ``"word: what it stands for"``; empty where it
        can run."""
        return tuple(f"{need}: {NEEDS[need]}" for need in self[name].needs if need not in there)
