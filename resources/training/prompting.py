"""How texts become tokens and tokens texts: the one place where a text begins and ends.

A :class:`TextFormat` is made from a model's tokenizer, chat template and configuration when the model is loaded. Training,
generation, QA-DPO, chat, the quality gate and exports ask it and nothing else, so that what a model is trained to end with is what
its generation waits for.

What people wrote is data: it never becomes a control token (the start of a turn, the end of a text), whatever it says.

Belongs here: the template, tokenising, lengths in tokens, ends, padding. Does not belong here: losses, sampling.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resources.common.errors import OperatorError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label that transformers' and torch's cross-entropy leave out
WAY_OUT = "put another chat_template.jinja into the folder of CROWD_BASE_MODEL, or name another base"
CLOCK = "strftime_now"
ROLES = ("system", "user", "assistant")
# Space that no template writes and that its trim takes away, around a mark that no template reads.
_MARK = re.compile("(\x0b?)\ue000(\\d+)\ue001(\x0b?)")
_CLOCK_READ = re.compile(CLOCK + r"""\(\s*(?:format\s*=\s*)?(['"])(.*?)\1\s*\)""")
_MARKED = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")
_BRACKETED = re.compile(r"<.*>|\[.*\]|\{.*\}|\|.*\|", re.DOTALL)

Prompt = str | Sequence[Mapping[str, str]]  # the user's turn, or a conversation of role and content that ends with it


class TemplateError(OperatorError, ValueError):
    """The chat template cannot write what a round asks it for."""


class TextTooLongError(OperatorError, ValueError):
    """The template alone leaves no room for what people wrote."""


@dataclass(frozen=True)
class TextOptions:
    """What an operator chooses about a model's texts.

    Attributes:
        system_prompt: Said before every conversation that has no system turn of its own; empty: nothing.
        template: A Jinja chat template, or the name of one of the tokenizer's; empty: the tokenizer's own.
        template_options: What the template is told beside the messages, as a JSON object: ``{"enable_thinking": false}``.
        today: The date that a template prints, ISO; empty: the day on which it is asked.
    """

    system_prompt: str = ""
    template: str = ""
    template_options: str = ""
    today: str = ""

    def changed(self) -> dict[str, str]:
        """What is not at its default."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class Tokens:
    """Token ids of one prompt and response, and how many of them belong to the prompt."""

    ids: list[int]
    prompt_length: int


@dataclass(frozen=True)
class TextFormat:
    """In what form a model reads and writes.

    Attributes:
        ends: Token ids after which a text is complete: what the template writes after an assistant's message, and the ends of the
            tokenizer and of the configuration. Empty where the model knows none: its texts then end by their length alone.
        closing: Token ids that training puts behind a response; the last one is its end.
        pad: A token id within the embedding, for places that nothing reads.
        positions: Tokens that the model can tell places of, None where it has no bound.
    """

    tokenizer: "PreTrainedTokenizerBase"
    options: TextOptions
    ends: tuple[int, ...]
    closing: tuple[int, ...]
    pad: int
    positions: int | None
    _template: str
    _arguments: dict[str, Any]
    _opening: tuple[int, ...]
    _controls: dict[str, int]
    _shapes: "dict[tuple[str, ...], _Shape]" = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        tokenizer: "PreTrainedTokenizerBase",
        config: Any = None,
        generation_config: Any = None,
        options: TextOptions | None = None,
    ) -> "TextFormat":
        """The format of a model.

        Args:
            config: The model's configuration: its ends, its vocabulary and its positions.
            generation_config: Of it only the ends are read.

        Raises:
            TemplateError: the template cannot be chosen, or cannot write a conversation.
        """
        options = options or TextOptions()
        of_text = config.get_text_config() if hasattr(config, "get_text_config") else config
        vocabulary = int(getattr(of_text, "vocab_size", 0) or len(tokenizer))
        template, arguments = _template_of(tokenizer, options)
        controls = _control_tokens(tokenizer)
        bare = cls(tokenizer, options, (), (), 0, None, template, arguments, (), controls)
        closing = bare._closing()
        named = [
            tokenizer.eos_token_id,
            *(getattr(each, "eos_token_id", None) for each in (generation_config, config, of_text)),
        ]
        ends = {*closing[-1:], *(int(end) for each in named if each is not None for end in _flat(each))}
        usable = tuple(sorted(end for end in ends if 0 <= end < vocabulary))
        pad = tokenizer.pad_token_id
        if pad is None or not 0 <= int(pad) < vocabulary:
            pad = usable[0] if usable else 0
        positions = getattr(of_text, "max_position_embeddings", None)
        return cls(
            tokenizer,
            options,
            usable,
            closing,
            int(pad),
            int(positions) if positions else None,
            template,
            arguments,
            () if template else _opening_of(tokenizer),
            controls,
        )

    @property
    def reads_the_clock(self) -> bool:
        """Whether the template prints a date, so that a model depends on the day on which its texts were made."""
        return CLOCK in self._template

    @property
    def control_texts(self) -> tuple[str, ...]:
        """The model's control tokens as they would be written."""
        return tuple(self._controls)

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """What gives a text its structure and stands in no honest one: control tokens, and marks in brackets that the template
        writes as plain text, such as ``[INST]``."""
        written = []
        for roles in (("user",), ("system", "user"), ("user", "assistant", "user")):
            try:
                written += [part for part in self.around(roles) if isinstance(part, str)]
            except TemplateError:
                continue
        marks = {mark for part in written for mark in _MARKED.findall(part)}
        return tuple(sorted({*self._controls, *marks}))

    @property
    def opens_itself(self) -> bool:
        """Whether the tokenizer puts its own beginning before a text, whatever the template writes."""
        return bool(_opening_of(self.tokenizer))

    def around(self, roles: Sequence[str]) -> tuple[str | int, ...]:
        """What is written around the contents of turns with these roles, up to where the response begins: words, and numbers of
        turns between them.

        Raises:
            TemplateError: the template cannot write such turns.
        """
        if not self._template:
            return tuple(part for place in range(len(roles)) for part in (place, "\n"))
        return self._rendered(tuple(roles)).parts

    def prompt(self, prompt: Prompt, longest: int | None = None) -> list[int]:
        """Token ids after which the response begins: the chat template where there is one, else each turn and a newline.

        Args:
            longest: Most tokens; a longer conversation loses its oldest turns and then the beginning of its last one, and never
                what the template writes. None: as many as the model has positions for.

        Raises:
            TemplateError: the template cannot write the conversation.
            TextTooLongError: the template alone is longer.
        """
        messages = self._messages(prompt)
        most = min(each for each in (longest, self.positions, 2**31) if each is not None)
        ids = self._ids(messages)
        while len(ids) > most:
            shorter = self._shortened(messages, len(ids) - most)
            if shorter == messages:
                raise TextTooLongError(
                    f"the chat template alone takes {len(ids)} tokens, and {most} tokens are left for the template: raise CROWD_MAX_TOKENS, or "
                    f"{WAY_OUT}."
                )
            messages = shorter
            ids = self._ids(messages)
        return ids

    def row(self, prompt: Prompt, response: str, longest: int) -> Tokens:
        """Prompt, response and end, at most ``longest`` tokens and as many as the model has positions for: a long prompt loses the
        beginning of what people wrote, a long response its end; the response keeps at least half where the template allows it.

        Raises:
            TextTooLongError: the template alone leaves no room for a response.
        """
        longest = min(longest, self.positions or longest)
        after = [*self.data(response), *self.closing]
        before = self.prompt(prompt)
        after = after[: max(longest - len(before), longest // 2)]
        if len(before) + len(after) > longest:
            try:
                before = self.prompt(prompt, longest - len(after))
            except TextTooLongError:
                before = self.prompt(prompt, longest - 1)
                after = after[: longest - len(before)]
        return Tokens(before + after, len(before))

    def length(self, prompt: Prompt, response: str = "") -> int:
        """Tokens of a prompt, response and end, before anything is cut."""
        messages = self._messages(prompt)
        return len(self._ids(messages)) + len(self.data(response)) + len(self.closing)

    def data(self, text: str) -> list[int]:
        """Token ids of what somebody wrote, none of them a control token."""
        ids = self._plain(text)
        known = self._control_ids
        if known.isdisjoint(ids):
            return ids
        # A control token that is cut after its first character is no longer one.
        pieces, at = [], 0
        for found in self._control_pattern.finditer(text):
            pieces.append(text[at : found.start() + 1])
            at = found.start() + 1
        ids = [token for piece in (*pieces, text[at:]) for token in self._plain(piece)]
        if known.isdisjoint(ids):
            return ids
        return [token for character in text for token in self._plain(character) if token not in known]

    def written(self, rows: "Iterable[Sequence[int]]") -> list[str]:
        """What was generated, as text: each row up to its end, without control tokens and outer white space."""
        ends = set(self.ends)
        texts = []
        for row in rows:
            ids = list(map(int, row))
            stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
            texts.append(str(self.tokenizer.decode(ids[:stop], skip_special_tokens=True)).strip())
        return texts

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, sorted(self._controls, key=len, reverse=True))) or "(?!)")

    def _messages(self, prompt: Prompt) -> tuple[tuple[str, str], ...]:
        turns = [("user", prompt)] if isinstance(prompt, str) else [(each["role"], each["content"]) for each in prompt]
        if not turns or turns[-1][0] != "user" or any(role not in ROLES for role, _ in turns):
            raise TemplateError(
                f"a conversation has turns of {', '.join(ROLES)} and ends with the user's, not {[role for role, _ in turns]}."
            )
        if self.options.system_prompt and turns[0][0] != "system":
            turns.insert(0, ("system", self.options.system_prompt))
        return tuple(turns)

    def _shortened(self, messages: tuple[tuple[str, str], ...], tokens: int) -> tuple[tuple[str, str], ...]:
        """A conversation without its oldest exchange, or without at least so many tokens at the beginning of its last turn."""
        system = messages[:1] if messages[0][0] == "system" else ()
        turns = messages[len(system) :]
        if len(turns) > 1:
            later = next(place for place in range(1, len(turns)) if turns[place][0] == "user")
            return system + turns[later:]
        text = turns[-1][1]
        whole = len(self.data(text))
        kept = max(0, len(text) * (whole - tokens) // max(1, whole))
        cut = text[len(text) - min(kept, len(text) - 1) :] if text and kept else ""
        while cut and len(self.data(cut)) > whole - tokens:
            over = len(self.data(cut)) - (whole - tokens)
            cut = cut[max(1, len(cut) * over // max(1, len(self.data(cut)))) :]
        return (*system, (turns[-1][0], cut)) if text else messages

    def _ids(self, messages: tuple[tuple[str, str], ...]) -> list[int]:
        if not self._template:
            text = "".join(f"{content}\n" for _, content in messages)
            ids = self._plain(text)
            return [*self._opening, *(ids if self._clean(ids, 0) else self.data(text))]
        shape, contents = self._shape(messages)
        texts = [content.strip() if place in shape.trims else content for place, content in enumerate(contents)]
        ids = self._plain("".join(part if isinstance(part, str) else texts[part] for part in shape.parts))
        if self._clean(ids, shape.controls):
            return ids
        return [
            token
            for part in shape.parts
            for token in (self._plain(part) if isinstance(part, str) else self.data(texts[part]))
        ]

    def _clean(self, ids: Sequence[int], controls: int) -> bool:
        known = self._control_ids
        return sum(token in known for token in ids) == controls

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        return frozenset(self._controls.values())

    def _shape(self, messages: tuple[tuple[str, str], ...]) -> "tuple[_Shape, list[str]]":
        """How the template writes a conversation with these roles, and the contents that go into it."""
        roles, contents = tuple(role for role, _ in messages), [content for _, content in messages]
        try:
            return self._rendered(roles), contents
        except TemplateError:
            if roles[0] != "system":
                raise
        # A template without system turns gets what the system says with the first user's turn.
        joined = [("user", f"{contents[0]}\n\n{contents[1]}"), *messages[2:]]
        return self._rendered(tuple(role for role, _ in joined)), [content for _, content in joined]

    def _rendered(self, roles: tuple[str, ...], generate: bool = True) -> "_Shape":
        key = (*roles, str(generate))
        if key in self._shapes:
            return self._shapes[key]
        text = self._render(
            [{"role": role, "content": f"\x0b\ue000{place}\ue001\x0b"} for place, role in enumerate(roles)], generate
        )
        marks = list(_MARK.finditer(text))
        if len(roles) - 1 not in {int(mark[2]) for mark in marks}:
            raise TemplateError(f"the chat template leaves out what the {roles[-1]} says: {WAY_OUT}.")
        parts: list[str | int] = []
        at = 0
        for mark in marks:
            parts += [text[at : mark.start()], int(mark[2])]
            at = mark.end()
        parts.append(text[at:])
        trims = frozenset(int(mark[2]) for mark in marks if not mark[1] and not mark[3])
        controls = sum(
            token in self._control_ids for part in parts if isinstance(part, str) for token in self._plain(part)
        )
        self._shapes[key] = shape = _Shape(tuple(part for part in parts if part != ""), trims, controls)
        return shape

    def _render(self, messages: list[dict[str, str]], generate: bool) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    chat_template=_on_a_day(self._template, self.options.today),
                    add_generation_prompt=generate,
                    **self._arguments,
                )
            )
        except Exception as problem:  # whatever a template raises: Jinja's errors, or one of its expressions
            reason = " ".join(str(problem).split())[:300].rstrip(".")
            roles = ", ".join(each["role"] for each in messages)
            raise TemplateError(
                f"the chat template cannot write turns of {roles} ({type(problem).__name__}: {reason}): {WAY_OUT}."
            ) from problem

    def _closing(self) -> tuple[int, ...]:
        """Token ids after a response, up to its end: what the template writes there, else the tokenizer's end."""
        end = self.tokenizer.eos_token_id
        plain = () if end is None else (int(end),)
        if not self._template:
            return plain
        try:
            whole = self._rendered(("user", "assistant"), generate=False)
        except TemplateError:  # a template that writes prompts alone
            return plain
        try:
            between = self._rendered(("user", "assistant", "user"), generate=True)
        except TemplateError:
            between = None
        last = self._up_to_a_control(whole)
        if last or plain:
            return last or plain
        return self._up_to_a_control(between) if between else ()

    def _up_to_a_control(self, shape: "_Shape") -> tuple[int, ...]:
        place = shape.parts.index(1) + 1 if 1 in shape.parts else len(shape.parts)
        after = shape.parts[place] if place < len(shape.parts) else ""
        ids = self._plain(after) if isinstance(after, str) else []
        stop = next((place for place, token in enumerate(ids) if token in self._control_ids), None)
        return () if stop is None else tuple(ids[: stop + 1])


@dataclass(frozen=True)
class _Shape:
    """What a template writes around the contents of turns with certain roles: ``parts`` are its own words, and numbers of contents
    between them; of those in ``trims`` it takes no outer white space; ``controls`` counts its own control tokens."""

    parts: tuple[str | int, ...]
    trims: frozenset[int]
    controls: int


def tokenise(tokenizer: "PreTrainedTokenizerBase", prompt: Prompt, response: str, longest: int) -> Tokens:
    """:meth:`TextFormat.row` where nothing but a tokenizer is at hand."""
    return TextFormat.of(tokenizer).row(prompt, response, longest)


def batch(rows: Sequence[Tokens], pad: int, device: Any) -> dict[str, "torch.Tensor"]:
    """Right-padded tensors (n, longest): ``input_ids``, ``attention_mask``, ``labels`` (prompt and padding ignored)."""
    import torch

    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    for index, row in enumerate(rows):
        length = len(row.ids)
        ids[index, :length] = torch.tensor(row.ids)
        mask[index, :length] = 1
        labels[index, row.prompt_length : length] = ids[index, row.prompt_length : length]
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}


def _flat(ends: Any) -> list[int]:
    return list(ends) if isinstance(ends, list | tuple | set) else [ends]


def _template_of(tokenizer: "PreTrainedTokenizerBase", options: TextOptions) -> tuple[str, dict[str, Any]]:
    """The Jinja text of the template in use (empty: none), and what it is told beside the messages."""
    try:
        arguments = json.loads(options.template_options or "{}")
    except ValueError as problem:
        raise TemplateError(f"the template's options {options.template_options!r} are no JSON: {problem}.") from None
    if not isinstance(arguments, dict):
        raise TemplateError(f"the template's options {options.template_options!r} must be a JSON object.")
    own = tokenizer.chat_template
    if isinstance(own, dict):
        if options.template in own:
            return own[options.template], arguments
        if not options.template:
            if "default" not in own and len(own) > 1:
                raise TemplateError(
                    f"the tokenizer has the chat templates {', '.join(sorted(own))} and none of these is the default: {WAY_OUT}."
                )
            return own.get("default") or next(iter(own.values())), arguments
    return options.template or own or "", arguments


def _on_a_day(template: str, today: str) -> str:
    """A template in which every reading of the clock is the date that it is asked on: transformers lets nobody set its clock.

    Raises:
        TemplateError: it reads the clock in a form that is made up as it goes.
    """
    day = datetime.combine(date.fromisoformat(today) if today else datetime.now().date(), time())
    fixed = _CLOCK_READ.sub(lambda found: json.dumps(day.strftime(found[2])), template)
    if re.search(CLOCK + r"\s*\(", fixed):
        raise TemplateError(
            f"the chat template prints a date in a form of its own making, so that its texts would differ from day to day: {WAY_OUT}."
        )
    return fixed


def _control_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """Tokens that structure a text: special ones, and added ones in brackets, such as ``<think>``."""
    found = {
        str(token): int(number)
        for number, token in tokenizer.added_tokens_decoder.items()
        if str(token).strip() and (token.special or _BRACKETED.fullmatch(str(token)))
    }
    special = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    found |= {str(text): int(number) for text, number in special if str(text).strip()}
    # What a tokenizer without bytes writes for a character that it does not know is data.
    unknown = tokenizer.unk_token_id
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return {text: number for text, number in found.items() if number != unknown or number in others}


def _opening_of(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """What the tokenizer puts before a text by itself; what it puts behind one would end a prompt."""
    bare = tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"]
    full = tokenizer("a", verbose=False)["input_ids"]
    for place in range(len(full) - len(bare) + 1):
        if full[place : place + len(bare)] == bare:
            return tuple(full[:place])
    return ()
