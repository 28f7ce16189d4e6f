"""What an installation is made of is stated: bounds, pins, hashes, licences, and a bill of materials."""

import json
import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.sbom import bill, direct, licence, parts
from tests import PROJECT

COPYLEFT = re.compile(r"GPL|MPL|Mozilla|EUPL|CC[ -]BY|Share", re.IGNORECASE)


def pins() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        str(canonicalize_name(name)): version for name, version in (line.split("==") for line in lines if "==" in line)
    }


def test_every_dependency_has_bounds_and_its_pin_lies_within() -> None:
    about = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*about["dependencies"], *(line for extra in about["optional-dependencies"].values() for line in extra)]
    pinned = pins()
    for wanted in map(Requirement, lines):
        operators = {each.operator for each in wanted.specifier}
        assert "~=" in operators or {">=", "<"} <= operators, f"{wanted}: write bounds like >=1.2,<2"
        assert wanted.specifier.contains(pinned[str(canonicalize_name(wanted.name))]), wanted


def test_every_part_has_its_pin_with_hashes() -> None:
    """What one kind of machine needs besides (CUDA for torch) has a hash, and no pin of its own."""
    text = (PROJECT / "requirements.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    hashed = dict(words[0].split("==") for words in lines)
    assert all(
        words[1:] and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in words[1:]) for words in lines
    )
    pinned = pins()
    assert {name: version for name, version in hashed.items() if pinned.get(name, version) != version} == {}
    assert sorted(parts().keys() - hashed.keys()) == []


def test_the_bill_of_materials_is_of_what_is_installed() -> None:
    kept = json.loads((PROJECT / "deploy" / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert kept == bill(), "write it anew: python -m deploy.sbom > deploy/sbom.cdx.json"
    refs = {each["bom-ref"] for each in kept["components"]} | {kept["metadata"]["component"]["bom-ref"]}
    assert {ref for each in kept["dependencies"] for ref in (each["ref"], *each["dependsOn"])} == refs
    assert [each["name"] for each in kept["components"] if "licenses" not in each] == []
    pinned = pins()
    assert {
        each["name"]: each["version"] for each in kept["components"] if pinned[each["name"]] != each["version"]
    } == {}


def test_notice_names_every_direct_part_and_every_part_whose_licence_asks_something() -> None:
    notice = (PROJECT / "NOTICE").read_text(encoding="utf-8")
    named = {str(canonicalize_name(word)) for word in re.findall(r"[A-Za-z0-9][\w.-]*\w", notice)}
    assert sorted({str(canonicalize_name(each.name)) for each in direct()} - named) == []
    asking = {name for name, (part, _) in parts().items() if COPYLEFT.search(licence(part))}
    assert sorted(asking - named) == []
    assert {"python-stdnum", "certifi"} <= asking
    assert "CC BY-SA 3.0" in notice
