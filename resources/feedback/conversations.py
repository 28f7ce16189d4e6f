"""Conversations: what stands before a response where one prompt is not all of it.

A conversation is a list of ``{"role", "content"}``: at most one message of the system, at its beginning, then messages of
the user and the assistant, the last of them the user's. That last one is the event's ``prompt``.

Belongs here: what a conversation must be, its one canonical text, and back. Does not belong here: chat templates (see
``resources.training``), other tools' names of roles (see ``crowd_assets.importers``).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = (SYSTEM, USER, ASSISTANT)

Message = dict[str, str]


class InvalidConversationError(ValueError):
    """What was given is no conversation; the message is the reason."""


def conversation(value: Any) -> list[Message]:
    """``value`` as a conversation, every content as it was given.

    Raises:
        InvalidConversationError: it is none; the message says which rule it breaks.
    """
    if not isinstance(value, list) or not value:
        raise InvalidConversationError('messages must be a list of {"role", "content"}')
    messages: list[Message] = []
    for number, each in enumerate(value, start=1):
        if not isinstance(each, Mapping) or set(each) != {"role", "content"}:
            raise InvalidConversationError(f"message {number} must have a role and a content, and nothing else")
        role, content = each["role"], each["content"]
        if role not in ROLES:
            raise InvalidConversationError(f"message {number} has another role than {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise InvalidConversationError(f"message {number} has a content that is no text")
        if role == SYSTEM and number > 1:
            raise InvalidConversationError(f"message {number} is of the system; only the first may be")
        messages.append({"role": role, "content": content})
    if messages[-1]["role"] != USER:
        raise InvalidConversationError("messages must end with one of the user, which is the prompt")
    return messages


def as_text(messages: Sequence[Mapping[str, str]]) -> str | None:
    """The one text of a conversation, JSON; None where it is its last message and nothing else, which the prompt says."""
    if len(messages) < 2:
        return None
    plain = [{"role": each["role"], "content": each["content"]} for each in messages]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def messages_of(prompt: str, text: str | None) -> list[Message]:
    """The conversation of an event, from its ``prompt`` and its column ``messages``."""
    return json.loads(text) if text else [{"role": USER, "content": prompt}]
