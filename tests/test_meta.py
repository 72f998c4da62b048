"""What the files around the package say of it: its address, its versions of Python, and what registries ask for."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
SOURCE = PROJECT["urls"]["Source"]
DOCUMENTATION = PROJECT["urls"]["Documentation"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
IGNORED = {"_build", "generated", "jupyter_execute", "built", "gallery", "node_modules", "demo"}
TEXTS = {".md", ".cff", ".yaml", ".yml", ".toml", ".json", ".py", ".nf", ""}


def texts():
    """Yield every text file of the checkout."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        is_hidden = parts[0].startswith(".") and parts[0] not in (".github", ".ci")
        is_ours = not IGNORED & {*parts} and not is_hidden and ".egg-info" not in str(path)
        if path.is_file() and is_ours and path.suffix in TEXTS and path.stat().st_size < 300_000:
            yield path


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text())


def find_addresses(text):
    """Return what a text takes for the project's repository and for its site."""
    repositories = set(re.findall(r"https://(?:raw\.githubusercontent|github)\.com/[\w-]+/neuronedit\b", text))
    sites = set(re.findall(r"https://neuronedit\.[\w.-]*\w(?:/en/\w+)?", text))
    return {address.replace("raw.githubusercontent", "github") for address in repositories} | sites


def test_there_is_one_address():
    own = Path(__file__)
    found = {path: find_addresses(path.read_text(errors="ignore")) for path in texts() if path != own}
    others = {str(path.relative_to(ROOT)): found[path] - {SOURCE, DOCUMENTATION} for path in found}
    assert not {path: addresses for path, addresses in others.items() if addresses}
    assert sum(bool(addresses) for addresses in found.values()) > 5


@pytest.mark.parametrize(
    "text",
    ["https://github.com/scverse/neuronedit", "https://raw.githubusercontent.com/other/neuronedit/main/a.png",
     "https://neuronedit.readthedocs.io/en/latest/", "https://neuronedit.org"],
)  # fmt: skip
def test_another_address_is_found(text):
    assert find_addresses(text) - {SOURCE, DOCUMENTATION}


def test_the_entry_of_the_registry():
    """Fields and rules of scripts/src/ecosystem_scripts/schema.json in scverse/ecosystem-packages, read in November 2026."""
    meta = read_yaml("meta.yaml")
    needed = {
        "name",
        "description",
        "project_home",
        "documentation_home",
        "install",
        "license",
        "tags",
        "category",
        "contact",
        "language",
        "primary_category",
    }
    optional = {"tutorials_home", "test_command", "publications", "logo"}
    assert needed <= set(meta) <= needed | optional
    assert meta["name"] == PROJECT["name"] == meta["install"]["pypi"] and meta["license"] == PROJECT["license"]
    assert meta["project_home"] == SOURCE and meta["documentation_home"] == DOCUMENTATION
    assert meta["tutorials_home"].startswith(DOCUMENTATION + "/tutorials")
    assert meta["category"] == "ecosystem" and meta["test_command"] == "make test"
    assert (meta["primary_category"], meta["language"]) == ("Proteomics", "Python")
    assert set(meta["tags"]) <= {
        "flow cytometry",
        "scRNA-seq",
        "data integration",
        "perturbation",
        "deep learning",
    }  # of its vocabulary
    assert 0 < len(meta["tags"]) == len(set(meta["tags"])) <= 10
    sentences = meta["description"].strip().count(". ") + 1
    assert sentences <= 2
    [contact] = meta["contact"]
    assert contact in SOURCE.split("/")  # the owner of the repository, or the placeholder that stands for both


def test_the_citation():
    cited = read_yaml("CITATION.cff")
    assert cited["cff-version"] == "1.2.0" and cited["title"] == PROJECT["name"]
    assert cited["version"] == PROJECT["version"] and cited["license"] == PROJECT["license"]
    assert cited["repository-code"] == SOURCE
    assert all({"family-names", "given-names"} <= set(author) for author in cited["authors"])  # people
    is_released = ".dev" not in PROJECT["version"]
    assert ("date-released" in cited) == is_released  # and so the year
    if is_released:
        assert "FAMILY-NAMES" not in str(cited) and "OWNER" not in SOURCE
    [paper] = cited["references"]
    assert paper["year"] == 2018 and paper["authors"][0]["family-names"] == "Amodio"


def test_actions_are_pinned():
    used = [line.strip() for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    assert len(used) > 5
    assert [line for line in used if not re.fullmatch(r"- uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    assert len({line.split("@")[1] for line in used}) == len({line.split("@")[0] for line in used})  # one version each


def test_the_versions_of_python():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yaml").read_text())["jobs"]
    versions = jobs["ci"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13", "3.14"] and PROJECT["requires-python"] == f">={versions[0]}"
    claimed = [one.split(":: ")[-1] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert set(claimed) <= set(versions)
    for path in (ROOT / "README.md", ROOT / "docs" / "installation.md"):
        assert f"Python {versions[0]} or later" in path.read_text()


def test_only_systems_that_are_tested_are_named():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yaml").read_text())["jobs"]
    assert {job["runs-on"] for job in jobs.values()} == {"ubuntu-latest"}
    assert "tested on Linux" in (ROOT / "docs" / "installation.md").read_text()


def test_a_pull_request_builds_the_package_and_measures_coverage():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yaml").read_text())["jobs"]
    commands = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    assert "python -m build" in commands["package"] and "python -m twine check --strict dist/*" in commands["package"]
    assert any("--cov=neuronedit" in command for command in commands["coverage"])
    ecosystems = {update["package-ecosystem"] for update in read_yaml(".github/dependabot.yml")["updates"]}
    assert ecosystems == {"pip", "github-actions"}


def test_tutorials_open_in_colab_once_there_is_an_address():
    module = runpy.run_path(str(ROOT / "docs" / "_ext" / "notebooks.py"))
    pages = {path.stem: path.read_text() for path in (ROOT / "tutorials").glob("*.md") if path.stem != "index"}
    for name, text in pages.items():
        assert module["link_to_colab"](text, name, "https://github.com/OWNER/neuronedit") == text
        linked = module["link_to_colab"](text, name, "https://github.com/someone/neuronedit")
        address = f"https://colab.research.google.com/github/someone/neuronedit/blob/notebooks/{name}.ipynb"
        assert linked.count(f"[open it in Colab]({address})") == 1
    assert len(pages) > 5
    first_cell = re.search(r"neuronedit\[([\w,]+)\]", module["INSTALL"])[1].split(",")
    built_with = next(one for one in PYPROJECT["dependency-groups"]["docs"] if one.startswith("neuronedit["))
    assert f"neuronedit[{','.join(first_cell)}]" == built_with


def test_extras_are_for_users_and_groups_for_developers():
    groups, extras = PYPROJECT["dependency-groups"], PROJECT["optional-dependencies"]
    assert set(groups) == {"test", "lint", "docs", "docs-test", "dev"} and not set(groups) & set(extras)
    makefile = (ROOT / "Makefile").read_text()
    stamps = set(re.findall(r"\$\(VENV\)/([\w-]+)\.stamp", makefile)) - {"core"}
    assert stamps <= set(groups)
    table = (ROOT / "docs" / "installation.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(extras)


def test_nothing_says_that_it_is_on_pypi_before_it_is():
    if ".dev" not in PROJECT["version"]:
        pytest.skip("a release")
    for path in (ROOT / "README.md", ROOT / "docs" / "installation.md"):
        assert "not on PyPI yet" in " ".join(path.read_text().split())
