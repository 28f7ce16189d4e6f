"""The bill of materials of what ``pip install crowd-rounds`` brings: CycloneDX 1.5, from the metadata of what is installed.

    python -m deploy.sbom > deploy/sbom.cdx.json

Belongs here: the parts of an installation without extras, their versions, licences and dependencies. Does not belong here:
vulnerabilities (``make vulnerabilities``).
"""

import json
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
CLASSIFIER = "License :: OSI Approved :: "


def direct() -> list[Requirement]:
    """The dependencies that pyproject.toml names, without extras."""
    about = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in about["dependencies"]]


def parts() -> dict[str, tuple[Distribution, list[str]]]:
    """Everything that is installed with the direct dependencies, by name, with what it needs itself.

    Raises:
        PackageNotFoundError: one of them is not installed here.
    """
    found: dict[str, tuple[Distribution, list[str]]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = direct()
    while waiting:
        wanted = waiting.pop()
        name = str(canonicalize_name(wanted.name))
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        part, needs = found.setdefault(name, (distribution(name), []))
        for line in part.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in (*wanted.extras, "")):
                waiting.append(needed)
                needs.append(str(canonicalize_name(needed.name)))
    return found


def licence(part: Distribution) -> str:
    """The licence as the part's metadata has it: an expression, its classifiers, or the first line of what it says."""
    about = part.metadata
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    named = [line.removeprefix(CLASSIFIER) for line in about.get_all("Classifier") or [] if line.startswith(CLASSIFIER)]
    if named:
        return " AND ".join(named)
    return str(about.get("License") or "").strip().split("\n")[0][:80]


def bill() -> dict[str, Any]:
    """The bill of materials as CycloneDX has it; the same for the same parts."""
    found = sorted(parts().items())

    def version(name: str) -> str:
        """As it is published: the mark of a build for one kind of machine is left out."""
        return found_by[name][0].version.split("+")[0]

    def purl(name: str) -> str:
        return f"pkg:pypi/{name}@{version(name)}"

    found_by = dict(found)
    about = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = f"pkg:pypi/{about['name']}@{about['version']}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": about["name"],
                "version": about["version"],
                "licenses": [{"license": {"id": about["license"]}}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": purl(name),
                "name": name,
                "version": version(name),
                "purl": purl(name),
                **({"licenses": [{"license": {"name": words}}]} if (words := licence(part)) else {}),
            }
            for name, (part, _) in found
        ],
        "dependencies": [
            {"ref": root, "dependsOn": sorted(purl(str(canonicalize_name(each.name))) for each in direct())},
            *({"ref": purl(name), "dependsOn": sorted({purl(each) for each in needs})} for name, (_, needs) in found),
        ],
    }


if __name__ == "__main__":
    json.dump(bill(), sys.stdout, indent=1)
    print()
