"""Formulas without a script or a network: fenced blocks of language ``math``, LaTeX as GitHub shows it, become MathML.

Belongs here: that hook of mkdocs. Does not belong here: what the site looks like (see ``mkdocs.yml`` and ``site.css``).
"""

from typing import Any

from latex2mathml.converter import convert


def on_config(config: Any) -> Any:
    """Let superfences write blocks of language ``math`` as MathML, which browsers show by themselves."""
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [
        {"name": "math", "class": "formula", "format": formula}
    ]
    return config


def formula(source: str, language: str, class_name: str, options: Any, md: Any, **_: Any) -> str:
    """A block as one formula, as GitHub shows it."""
    return f'<div class="{class_name}">{convert(source, display="block")}</div>'
