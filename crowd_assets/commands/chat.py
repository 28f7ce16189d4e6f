"""A model to talk to: base and winner of a round answer a prompt side by side.

Belongs here: which two models, asking both the same way, printing their answers. Does not belong here: generation (see
``resources.training.generation``).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from crowd_assets.exporters.model import settled_round
from crowd_assets.round.training import sampling_of
from crowd_assets.terminal.printing import console, harmless_lines
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.training import generation
from resources.warehouse.base import WarehouseResource

QUIT = {"/quit", "/exit"}


@dataclass(frozen=True)
class Speaker:
    """A loaded model and what it is called above its answers."""

    name: str
    model: Any


@dataclass(frozen=True)
class Chat:
    """The model that a round began with and the one it ended with; one of them where the base stayed.

    Attributes:
        sampling: How they write, as in a round.
        seed: Of what is drawn. Both models draw the same, as in a round, so that they differ by what they learnt alone.
    """

    speakers: list[Speaker]
    sampling: dict[str, Any]
    seed: int

    def answers(self, prompt: str, samples: int = 1) -> list[list[str]]:
        """``samples`` answers of each model to a prompt; the same ones for the same seed."""
        return [
            generation.generate(
                speaker.model,
                [prompt] * samples,
                **self.sampling,
                seed=self.seed,
            )[0]
            for speaker in self.speakers
        ]


def open_chat(
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    trainer: TrainerResource,
    *,
    round_name: str = "",
    temperature: float | None = None,
    seed: int = 0,
) -> Chat:
    """Load the models of a settled round.

    Args:
        round_name: ``r000003`` or ``3``; empty: the last settled round.
        temperature: None: CROWD_TEMPERATURE.

    Raises:
        NoSuchRoundError: there is no such round, or it is not settled.
        OtherRootError: the settings name another base model than the round was settled with.
    """
    round_ = settled_round(settings, warehouse, round_name)
    models = [("base", round_.base_model)]
    if round_.next_model != round_.base_model:
        models.append((_winner(round_, warehouse), round_.next_model))
    return Chat(
        [Speaker(f"{round_.round_id} {name}", trainer.load(model)) for name, model in models],
        sampling_of(settings) | ({} if temperature is None else {"temperature": temperature}),
        seed,
    )


def _winner(round_: Round, warehouse: WarehouseResource) -> str:
    """What the next base is: the winning group's candidate, where it was kept after alignment."""
    selected = warehouse.read_round("selections", round_.round_no).filter("selected").row(0, named=True)
    winner = "base" if selected["role"] == "base" else f"winner, group {selected['group_index']}"
    return winner if selected["model"] == round_.next_model else f"{winner}, aligned"


def talk(chat: Chat, prompts: Sequence[str], samples: int) -> None:
    """Answer ``prompts``, or where there is none what is typed or piped in, a prompt a line, until it ends or says /quit."""
    if len(chat.speakers) == 1:
        console.print(f"{chat.speakers[0].name}: the base stayed, so there is no other model to compare the base with")
    for prompt in prompts or _typed():
        _print_answers(chat, prompt, samples)


def _typed() -> Iterator[str]:
    typing = sys.stdin.isatty()
    if typing:
        console.print("[dim]A prompt a line; /quit or Ctrl-D ends.[/]")
    while True:
        try:
            line = input("> ") if typing else next(sys.stdin)
        except (EOFError, StopIteration, KeyboardInterrupt):
            return
        if line.strip() in QUIT:
            return
        if line.strip():
            yield line.strip()


def _print_answers(chat: Chat, prompt: str, samples: int) -> None:
    table = Table(title=Text(f"> {harmless_lines(prompt)}"), title_justify="left", title_style="bold", expand=True)
    for speaker in chat.speakers:
        table.add_column(speaker.name, ratio=1, overflow="fold")
    for row in zip(*chat.answers(prompt, samples), strict=True):
        table.add_row(*(Text(harmless_lines(answer)) for answer in row), end_section=True)
    console.print(table)
