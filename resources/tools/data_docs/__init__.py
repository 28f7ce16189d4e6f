"""How Great Expectations writes its Data Docs: pages that load nothing, run nothing and lie whole in their place.

Belongs here: what the site builder is told, the view and the templates that stand in for those of the library, which load
style sheets and scripts from other hosts and a logo that reports the context's id. Does not belong here: when pages are
built (see ``resources.tools.data_quality``). Great Expectations imports this module by its name; of ours, none does at its top.
"""

import html
from pathlib import Path
from typing import Any

from great_expectations.data_context.store import TupleFilesystemStoreBackend
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, PackageLoader, pass_context, select_autoescape
from upath import UPath

from resources.files.storage import write_bytes_atomically

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

REPORTS = "../" * 5 + "reports/"
"""Where the home's own pages lie, seen from the front page of the site."""

RESULTS_LISTED = 100
"""Results, five a round at most, that the front page lists, the newest ones: it reads each of them anew every round."""

_VIEW = {"module_name": __name__, "class_name": "SelfContainedView"}
SITE: dict[str, Any] = {
    "class_name": "SiteBuilder",
    "show_how_to_buttons": False,
    "store_backend": {
        "module_name": __name__,
        "class_name": "WholePages",
        "base_directory": "uncommitted/data_docs/local_site/",
    },
    "site_index_builder": {
        "class_name": "DefaultSiteIndexBuilder",
        "view": _VIEW,
        "validation_results_limit": RESULTS_LISTED,
    },
    "site_section_builders": {"expectations": {"view": _VIEW}, "validations": {"view": _VIEW}, "profiling": "None"},
}


def is_ours(front_page: Path) -> bool:
    """True where the site was written by this module to its end: the front page is the last that is written."""
    return front_page.exists() and POLICY in front_page.read_text(encoding="utf-8")


class SelfContainedView(DefaultJinjaPageView):
    """The library's content blocks on a page of ours: one style sheet within it, no script, no other host."""

    _template = "page.html.jinja"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        theirs = self.env.loader
        assert theirs is not None
        self.env.loader = ChoiceLoader([PackageLoader(__name__, "."), theirs])
        self.env.autoescape = select_autoescape(["html.jinja"])
        self.env.globals["policy"] = POLICY
        self.env.globals["reports"] = REPORTS

    @pass_context
    def render_content_block(self, jinja_context: Any, content_block: Any, *arguments: Any, **options: Any) -> Any:
        """As in the library, which trusts plain texts to be HTML: here they are not, as they may hold what was found."""
        if isinstance(content_block, list):
            content_block = [_harmless(each) for each in content_block]
        return super().render_content_block(jinja_context, _harmless(content_block), *arguments, **options)


def _harmless(content: Any) -> Any:
    return html.escape(content, quote=False) if isinstance(content, str) else content


class WholePages(TupleFilesystemStoreBackend):
    """Pages in a local folder, written whole or not at all; without the library's fonts and images, which none uses."""

    def _set(self, key: Any, value: str | bytes, **options: Any) -> None:
        if key[:1] != ("static",):
            path = UPath(self.full_base_directory, self._convert_key_to_filepath(key))
            write_bytes_atomically(path, value.encode() if isinstance(value, str) else value)
