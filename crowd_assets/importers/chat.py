"""What a row asks: a prompt, or the conversation that ends with it, in whichever words a tool writes it.

Belongs here: roles and contents under their many names, dialogues in one text, columns that change what is asked. Does not
belong here: what an event's conversation must be (see ``resources.feedback.conversations``), which column is the answer.
"""

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from crowd_assets.importers.records import PROMPT_FIELDS, RowError, excerpt
from resources.feedback.conversations import ASSISTANT, SYSTEM, USER, Message
from resources.feedback.events import is_visible

ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer", "instruction", "question"), USER),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "ai", "agent", "chatbot", "answer"), ASSISTANT),
    **dict.fromkeys(("system", "developer"), SYSTEM),
}
TOOL_ROLES = frozenset({"tool", "function", "observation", "functioncall", "toolcall", "ipython"})
ROLE_KEYS = ("role", "from", "author", "speaker", "user")
CONTENT_KEYS = ("content", "value", "text", "message", "utterance")
UNUSABLE = (
    "images",
    "image",
    "tools",
    "tool_calls",
    "functions",
    "function_call",
    "reasoning_content",
    "videos",
    "video",
    "audios",
    "audio",
    "documents",
)
"""Columns and parts that change what is asked and that no text can stand for: a row that has one is skipped."""
MARKED = ("deleted", "is_deleted", "spam", "is_spam", "flagged", "is_flagged", "hidden")
"""Columns that say, where they are true, that a row counts no longer."""
LONGEST_LITERAL = 1_000_000  # characters
SYSTEM_FIELDS = ("system", "system_prompt", "system_message", "context_system")
ASKED_FIELDS = ("prompt", "instruction", "question", "query", "history", "problem")
SPOKEN_FIELDS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")
BESIDE = ("input", "context", "passage", "document")
"""Columns with a text that an instruction or a question is about."""
NOTHING = ("<noinput>",)
"""What alpaca writes where there is no input."""
TURNS = (
    re.compile(r"(?:\A|\n\n)(Human|Assistant|System): ?"),  # Anthropic's hh-rlhf
    re.compile(r"(?:\A|\s*)### ?(Human|Assistant|System): ?"),  # Guanaco
    re.compile(r"(?:<\|im_end\|>)?\s*<\|im_start\|>(system|user|assistant)\n"),  # ChatML
    re.compile(r"(?:\A|\n)<extra_id_[01]>(System|User|Assistant)\n"),  # HelpSteer, whose first turn has no mark
)
SHOWN = re.compile(r"<img>[^<>]+</img>")
"""How Qwen and ms-swift write an image into a text; an image of a page has no end."""
UNTRAINED = ("weight", "train", "training")
"""Keys of a message that say whether it is trained on."""


@dataclass(frozen=True)
class Asked:
    """A prompt, and the conversation that ends with it where there is more than the prompt."""

    prompt: str
    messages: tuple[Message, ...] = ()

    @property
    def payload(self) -> dict[str, Any]:
        """What an event says besides its prompt."""
        return {"messages": list(self.messages)} if len(self.messages) > 1 else {}

    @property
    def key(self) -> str:
        """The prompt and all that stands before it, as one text that tells it from every other."""
        return (
            json.dumps(self.payload, ensure_ascii=False, sort_keys=True) + self.prompt if self.payload else self.prompt
        )


def messages_of(value: object, field: str) -> list[Message]:
    """Chat messages under any of the names that tools give to role and content, or a dialogue written as one text.

    Raises:
        RowError: it is none, or holds what is no text.
    """
    if isinstance(value, str):
        if (listed := _listed(value)) is not None:
            return messages_of(listed, field)
        spoken = dialogue(value)
        if spoken:
            return spoken
        return [{"role": USER, "content": _visible(value, field)}]
    if isinstance(value, Mapping):
        inside = value.get("messages")
        value = inside if isinstance(inside, list) and not {*ROLE_KEYS} & set(value) else [value]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if not isinstance(value, list) or not value:
        raise RowError(f"no {field}" if not value else f"{field} is neither text nor chat messages", value)
    if all(isinstance(each, Mapping) and _is_exchange(each) for each in value):
        value = [
            {"role": EXCHANGED[name], "content": each[name]} for each in value for name in sorted(each, key=_turn_of)
        ]
    spoken = [each for each in value if not (isinstance(each, Mapping) and _says_nothing(each))]
    return [_message(each, field) for each in spoken or value]


def _says_nothing(message: Mapping[str, Any]) -> bool:
    """Whether a message is one of the system without a text, which tools write where there is no system prompt."""
    return message.get("role", message.get("from")) == SYSTEM and all(
        message.get(key) in (None, "") for key in (*CONTENT_KEYS, *UNUSABLE)
    )


EXCHANGED = {
    SYSTEM: SYSTEM,
    "input": USER,
    "human": USER,
    "user": USER,
    "question": USER,
    "prompt": USER,
} | dict.fromkeys(("output", "assistant", "gpt", "bot", "response", "answer"), ASSISTANT)
"""Keys of one object that holds what the user and the assistant said, as XTuner and ms-swift write a conversation."""


def _is_exchange(value: Mapping[str, Any]) -> bool:
    roles = sorted(EXCHANGED.get(str(key), "") for key in value)
    return roles in ([ASSISTANT, USER], [ASSISTANT, SYSTEM, USER])


def _turn_of(key: str) -> int:
    return (SYSTEM, USER, ASSISTANT).index(EXCHANGED[key])


def _listed(text: str) -> list[Any] | None:
    """Chat messages that a text holds as JSON, or as Python prints them, which is what pandas makes of them; None where it is another."""
    if len(text) > LONGEST_LITERAL or not text.lstrip().startswith(("[{", "[ {")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:  # constants, lists and objects alone: nothing is executed
            found = ast.literal_eval(re.sub(r"\}\s*\n\s*\{", "}, {", text.strip()))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    spoken = isinstance(found, list) and found and all(_is_message(each) for each in found)
    return cast("list[Any]", found) if spoken else None


def _is_message(value: object) -> bool:
    """Whether a value says who spoke and what: a text may be a list of objects that are none."""
    return (
        isinstance(value, dict)
        and any(isinstance(value.get(key), str) for key in ROLE_KEYS)
        and any(key in value for key in (*CONTENT_KEYS, *UNUSABLE))
    )


def _message(value: object, field: str) -> Message:
    if not isinstance(value, Mapping):
        raise RowError(f"{field} is not a list of chat messages", value)
    refuse_unusable(value, f"a message of {field}")
    said = next((value[key] for key in ROLE_KEYS if isinstance(value.get(key), str)), None)
    if said is None:
        raise RowError(f"{field} is not a list of chat messages", value)
    name = re.sub(r"[^a-z]", "", said.lower())
    if name in TOOL_ROLES:
        raise RowError(f"{field} has a message of a tool: tools are not trained on", said)
    if name not in ROLES:
        raise RowError(
            f"{field} has a message of an unknown role {excerpt(said, 20)!r}: call it user or assistant", said
        )
    content = next((value[key] for key in CONTENT_KEYS if key in value and key != said), None)
    return {"role": ROLES[name], "content": content_of(content, field)}


def content_of(content: object, field: str) -> str:
    """The text of a message's content: text, or parts that are all text.

    Raises:
        RowError: a part is something else, or there is nothing to see.
    """
    if isinstance(content, list):
        parts = []
        for part in content:
            text = part.get("text", part.get("value")) if isinstance(part, Mapping) else part
            if isinstance(part, Mapping) and part.get("type", "text") != "text":
                raise RowError(f"{field} has a part of type {excerpt(part.get('type'), 20)}: only text is taken")
            if not isinstance(text, str):
                raise RowError(f"{field} has a chat message without text", part)
            parts.append(text)
        content = "".join(parts)
    if not isinstance(content, str) or not is_visible(content):
        raise RowError(f"{field} has a chat message without text", content)
    return _visible(content, field)


def dialogue(text: str) -> list[Message] | None:
    """The turns of a dialogue that is written as one text in one of the ways of ``TURNS``, like "Human: …" and "Assistant: …" after
    an empty line each; None where it is no dialogue. An empty last turn is left out.
    """
    if not any(mark in text for mark in ("Human:", "<|im_start|>", "<extra_id_")):
        return None
    return next((spoken for marks in TURNS if (spoken := _turns(text, marks)) is not None), None)


def _turns(text: str, marks: re.Pattern[str]) -> list[Message] | None:
    turns = list(marks.finditer(text))
    before = text[: turns[0].start()] if turns else ""
    unmarked = before.strip() and marks is TURNS[-1] and turns[0][1] == "Assistant"
    if len(turns) + bool(unmarked) < 2 or (before.strip() and not unmarked):
        return None
    ends = [each.start() for each in turns[1:]] + [len(text)]
    spoken = [{"role": USER, "content": before}] if unmarked else []
    spoken += [
        {"role": ROLES[turn[1].lower()], "content": text[turn.end() : end].removesuffix("<|im_end|>")}
        for turn, end in zip(turns, ends, strict=True)
    ]
    if not any(each["role"] == USER for each in spoken):
        return None
    if not is_visible(spoken[-1]["content"]):
        spoken.pop()
    if not spoken or not all(is_visible(each["content"]) for each in spoken):
        return None
    return spoken


def asked(messages: Iterable[Message], field: str = "prompt", system: str | None = None) -> Asked:
    """Messages as what an event asks.

    Raises:
        RowError: they do not end with one of the user, or the system speaks later than first.
    """
    said = list(messages)
    if system:
        if said and said[0]["role"] == SYSTEM:
            if said[0]["content"].strip() != system.strip():
                raise RowError("two system prompts: one in a column, one in the messages")
        else:
            said.insert(0, {"role": SYSTEM, "content": system})
    if not said or said[-1]["role"] != USER:
        raise RowError(f"{field} does not end with a message of the user")
    if any(each["role"] == SYSTEM for each in said[1:]):
        raise RowError(f"{field} has a system message that is not the first")
    return Asked(said[-1]["content"], tuple(said))


def shared_messages(one: list[Message], other: list[Message]) -> int:
    """How many messages both begin with, leaving at least one to each of them."""
    most = min(len(one), len(other)) - 1
    return next((index for index in range(most) if one[index] != other[index]), max(most, 0))


def parted(one: list[Message], other: list[Message]) -> tuple[list[Message], tuple[str, str]]:
    """What two conversations both begin with, up to a message of the user, and what each goes on with: an answer, or where there are later
    turns these too, in the words of ``TURNS``' first way.

    Raises:
        RowError: they do not begin with the same question, or one of them does not end with an answer.
    """
    shared = shared_messages(one, other)
    while shared and one[shared - 1]["role"] != USER:
        shared -= 1
    if not shared:
        raise RowError("the conversations do not begin with the same question")
    rests = one[shared:], other[shared:]
    if any(each["role"] == SYSTEM for rest in rests for each in rest) or any(
        rest[-1]["role"] != ASSISTANT for rest in rests
    ):
        raise RowError("one of the conversations does not end with an answer")
    return one[:shared], (_in_turns(rests[0]), _in_turns(rests[1]))


def _in_turns(said: list[Message]) -> str:
    if len(said) > 1 and said[0]["role"] != ASSISTANT:
        raise RowError("two messages of the user follow each other")
    names = {USER: "Human", ASSISTANT: "Assistant"}
    return said[0]["content"] + "".join(f"\n\n{names[each['role']]}: {each['content']}" for each in said[1:])


def refuse_unusable(cells: Mapping[str, Any], what: str = "row") -> None:
    """Refuse what no text can stand for.

    Raises:
        RowError: a column says more than a text can; its name is in the reason.
    """
    for name in UNUSABLE:
        if cells.get(name) not in (None, "", [], {}, "[]", "null"):
            raise RowError(f"{what} has {name}: only text is trained on")
    for name in MARKED:
        if str(cells.get(name)).strip().lower() in ("true", "1", "1.0", "yes"):
            raise RowError(f"{what} is marked as {name.removeprefix('is_')}")


def system_of(cells: Mapping[str, Any]) -> str | None:
    """The system prompt that a column of the row holds."""
    for name in SYSTEM_FIELDS:
        value = cells.get(name)
        if isinstance(value, str) and is_visible(value):
            return value
    return None


def has_question(cells: Mapping[str, Any]) -> bool:
    """Whether a column of the row is known to hold what is asked."""
    return _spoken_context(cells) or any(
        cells.get(name) not in (None, "", []) for name in (*ASKED_FIELDS, *SPOKEN_FIELDS, "input")
    )


def _spoken_context(cells: Mapping[str, Any]) -> bool:
    """Whether the row's context is a conversation, and not a text that a question is about."""
    value = cells.get("context")
    return isinstance(value, list) and bool(value) and all(_is_message(each) for each in value)


def question_of(cells: Mapping[str, Any], field: str | None = None) -> Asked:
    """What a row asks, from the columns that are known to hold it: prompt, instruction with its input, messages, system.

    Raises:
        RowError: no known column is there; the reason lists those that are.
    """
    system = system_of(cells)
    if field is None:
        field = next((name for name in (*ASKED_FIELDS, *SPOKEN_FIELDS) if cells.get(name) not in (None, "", [])), None)
    if field is None and isinstance(cells.get("input"), str) and is_visible(cells["input"]):
        field = "input"
    if field is None and _spoken_context(cells):
        field = "context"
    if field is None:
        raise RowError("no prompt", f"fields: {', '.join(map(str, cells))}")
    value = cells.get(field)
    said = _conversation_of(cells, value) or messages_of(value, field)
    if field in ("prompt", "instruction", "question", "query", "problem") and len(said) == 1:
        beside = [text for text in _beside(cells) if field != "prompt" or text.strip() not in said[0]["content"]]
        said = [{"role": said[0]["role"], "content": "\n\n".join([said[0]["content"], *beside])}]
    earlier = cells.get("history") if field in ("instruction", "query", "prompt") else None
    if isinstance(earlier, str) and is_visible(earlier):
        raise RowError("row has a history that is no list of [question, answer]", earlier)
    if isinstance(earlier, list) and earlier:
        said = [*_exchanges(earlier), *said]
    return asked(said, field, system)


def _beside(cells: Mapping[str, Any]) -> list[str]:
    """The texts that a question is about.

    Raises:
        RowError: one of them is no text, or the answers to choose from are in a column of their own.
    """
    for name in ("choices", "options"):
        if cells.get(name) not in (None, "", [], {}):
            raise RowError(f"row has {name}, which are part of the question: join them by a mapping of `import table`")
    found = []
    for name in BESIDE:
        value = cells.get(name)
        if value in (None, "", [], {}):
            continue
        if not isinstance(value, str):
            raise RowError(f"row has {name}, which is part of the question and no text: name it in a mapping", value)
        if is_visible(value) and value.strip().lower() not in NOTHING:
            found.append(value)
    return found


def untrained(value: object) -> bool:
    """Whether the last of some chat messages says that it is not to be learnt, as OpenAI's ``weight`` of 0 does."""
    last = value[-1] if isinstance(value, list) and value else value
    return isinstance(last, Mapping) and any(last.get(key) in (0, False) for key in UNTRAINED)


def missing(cells: Mapping[str, Any], name: object) -> bool:
    """Whether a column is not there, or is as empty as tables write it: null, NaN, nothing."""
    value = cells.get(str(name))
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _conversation_of(cells: Mapping[str, Any], prompt: object) -> list[Message] | None:
    """The conversation that a row has beside the prompt that ends it; None where there is none, or it goes on to an answer."""
    spoken = cells.get("messages")
    if not isinstance(prompt, str) or not isinstance(spoken, list) or not spoken:
        return None
    said = messages_of(spoken, "messages")
    return said if said[-1] == {"role": USER, "content": prompt} else None


def _exchanges(history: list[Any]) -> list[Message]:
    """``[[question, answer], …]``, as LLaMA-Factory writes what was said before."""
    spoken = []
    for each in history:
        if not isinstance(each, list) or len(each) != 2 or not all(isinstance(text, str) for text in each):
            raise RowError("history is not a list of [question, answer]", each)
        spoken += [{"role": USER, "content": each[0]}, {"role": ASSISTANT, "content": each[1]}]
    return spoken


def answer_of(value: object, field: str) -> str:
    """The text of an answer: text, one message, or messages of which the last is the assistant's and the only one of it.

    Raises:
        RowError: there is none.
    """
    if isinstance(value, str):
        if (listed := _listed(value)) is not None:
            return answer_of(listed, field)
        return _visible(value, field)
    if value is None:
        raise RowError(f"no {field}")
    if not isinstance(value, list | Mapping):
        raise RowError(f"{field} is not text", value)
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        raise RowError(f"{field} is a list of texts: one answer is taken", value)
    said = messages_of(value, field)
    if len(said) != 1:
        raise RowError(f"{field} is several messages; one answer is compared", value)
    return said[0]["content"]


def _visible(text: str, field: str) -> str:
    if not is_visible(text):
        raise RowError(f"{field} is empty")
    if "</img>" in text and SHOWN.search(text):
        raise RowError(f"{field} shows an image: only text is taken", text)
    return text


def question_in(fields: Mapping[str, Any], wanted: str | None, answers: Iterable[str] = ()) -> Asked:
    """What the fields of a labelling tool's task ask: the field that the user names, or the first known one that is no answer.

    Raises:
        RowError: there is none; the reason says how to name it.
    """
    others = {name: value for name, value in fields.items() if name not in set(answers)}
    if wanted is None and not any(others.get(name) not in (None, "", []) for name in (*PROMPT_FIELDS, *SPOKEN_FIELDS)):
        raise RowError("no field known as the prompt: name it with an option", f"fields: {', '.join(map(str, fields))}")
    if wanted is not None and wanted not in fields:
        raise RowError(f"no field {wanted!r}", f"fields: {', '.join(map(str, fields))}")
    field = wanted or next(name for name in (*PROMPT_FIELDS, *SPOKEN_FIELDS) if others.get(name) not in (None, "", []))
    refuse_unusable(others, "task")
    return question_of(others if wanted is None else {**others, wanted: fields[wanted]}, field)
