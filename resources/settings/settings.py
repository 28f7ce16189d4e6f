"""Settings: every knob of the platform, its unit, default and effect, read from the environment as ``CROWD_<NAME>``.

Belongs here: the sections together, and how they are read. Does not belong here: a setting (see the section that it is in), and
what a setting does to a round.
"""

import os
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ValidationError

from resources.settings.compute import Compute
from resources.settings.crowd import Crowd
from resources.settings.desk import Desk
from resources.settings.fields import ENVIRONMENT_PREFIX, NOT_SETTINGS, PASSWORD, SettingError, marks_of, variable
from resources.settings.intake import Intake
from resources.settings.judging import Judging
from resources.settings.market import Market
from resources.settings.models import Models
from resources.settings.pay import Pay
from resources.settings.places import Places
from resources.settings.quality import Quality
from resources.settings.retention import Retention
from resources.settings.selection import Selection
from resources.settings.training import EMBEDDED_RATE, Training

SECTIONS: tuple[type[BaseModel], ...] = (
    Places,
    Models,
    Intake,
    Quality,
    Crowd,
    Training,
    Selection,
    Pay,
    Market,
    Judging,
    Retention,
    Compute,
    Desk,
)
"""Sections in the order in which they are shown; each is a class with a title (its name) and a sentence (its docstring)."""


class Settings(
    Desk, Compute, Retention, Judging, Market, Pay, Selection, Training, Crowd, Quality, Intake, Models, Places
):
    """All settings of the platform. Each field ``name`` is read from the environment variable ``CROWD_NAME``."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: object) -> Self:
        """Settings from ``CROWD_*`` variables, with ``overrides`` (field names) on top.

        Raises:
            SettingError: a value is not one the setting can have, or a ``CROWD_`` variable names no setting.
        """
        environment = os.environ if environment is None else environment
        known = {variable(name): name for name in cls.model_fields}
        unknown = sorted(
            variable
            for variable in environment
            if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known and variable not in NOT_SETTINGS
        )
        if unknown:
            raise SettingError(f"{', '.join(unknown)}: no such setting. docs/configuration.md lists every setting.")
        values: dict[str, object] = {
            field: environment[variable] for variable, field in known.items() if environment.get(variable)
        }
        values.update(overrides)
        try:
            return cls(**values)  # type: ignore[arg-type]  # pydantic converts and validates the text
        except ValidationError as error:
            problems = "; ".join(
                f"{variable(str(problem['loc'][0]))}={PASSWORD.sub('…', repr(problem['input']))}: {problem['msg']}"
                for problem in error.errors()
            )
            raise SettingError(f"{problems}. See docs/configuration.md for what each setting takes.") from None

    def changed(self, **changes: object) -> Self:
        """These settings with some changed; ``model_copy`` would not reach what Dagster makes resources from."""
        return type(self)(**{**self.model_dump(), **changes})

    def of_record(self, recorded: Mapping[str, Any]) -> Self:
        """The settings of a settled round as far as its record has them, in the places where the home lies now. A setting that
        came later has the value that was so before there was the setting."""
        fields = type(self).model_fields
        values = {
            name: marks.earlier for name, field in fields.items() if (marks := marks_of(field)).earlier is not None
        }
        values |= {name: value for name, value in recorded.items() if name in fields}
        values |= {name: getattr(self, name) for name, field in fields.items() if marks_of(field).place}
        return type(self)(**values)

    @property
    def root_source(self) -> str:
        """Hub id or folder of the base model of round 1."""
        return self.base_model or str(self.seed_language_model_path)

    @property
    def threads(self) -> int:
        """Threads of torch on the CPU."""
        return self.torch_threads or ((os.cpu_count() or 1) if self.base_model else 1)

    @property
    def values(self) -> dict[str, int]:
        """How in-run values are found: as set, and with a base of one's own one seed, first order and fewer texts where the settings
        stand at what is right for the embedded model, as values would take two thirds of a large model's training and pay nobody."""
        usual = {"seeds": (self.value_seeds, 1), "order": (self.value_order, 1), "rows": (self.value_rows, 16)}
        found = {name: self._scaled(f"value_{name}", *both) for name, both in usual.items()}
        return found | {"every": self.value_every}

    @property
    def samples(self) -> dict[str, int]:
        """Texts that each model writes to be measured, for selection and for the report: with a base of one's own half as many
        where the settings stand at what is right for the embedded model."""
        return {
            "selection": self._scaled("selection_samples", self.selection_samples, self.selection_samples // 2),
            "report": self._scaled("report_samples", self.report_samples, self.report_samples // 4),
        }

    def _scaled(self, name: str, value: int, smaller: int) -> int:
        stands = value == type(self).model_fields[name].default
        return smaller if self.base_model and self.scale_down and stands else value

    @property
    def known_learning_rate(self) -> float | None:
        """The peak rate of candidates as far as it is known before a round; None: the first round finds it."""
        return self.learning_rate or (None if self.base_model else EMBEDDED_RATE)

    def alignment_rate(self, of_candidates: float) -> float | None:
        """The peak rate of QA-DPO as far as it is known before a round, from that of the candidates; None: trials find it."""
        without_trials = None if self.alignment_trials else of_candidates / 20
        return self.alignment_learning_rate or (without_trials if self.base_model else EMBEDDED_RATE)

    @property
    def lots_source(self) -> Literal["forum", "file", "worst", "listed", "any"]:
        """What ``lots_from`` comes to."""
        if self.lots_from != "auto":
            return self.lots_from
        if self.lots or self.lot_prompts:
            return "listed" if self.lots else "file"
        return "worst" if self.base_model else "forum"
