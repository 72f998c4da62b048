"""What is in contrib/: it names the dependencies, versions and options that there are, and its jobs do what they declare."""

import ast
import fnmatch
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import anndata
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import neuronedit as ne
from neuronedit._cli import cli

ROOT = Path(__file__).parents[1]
CONTRIB = ROOT / "contrib"
MODULE = CONTRIB / "nf-core" / "modules" / "local" / "neuronedit" / "correct"
WRAPPER = CONTRIB / "snakemake" / "neuronedit" / "correct"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RELEASE = Version(PROJECT["version"]).base_version
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}


def read_yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# versions and dependencies


def test_every_yaml_file_parses():
    files = [path for path in sorted(CONTRIB.rglob("*")) if path.suffix in (".yml", ".yaml")]
    assert len(files) == 8
    assert all(isinstance(read_yaml(path), dict) for path in files)


def test_recipe_is_the_project():
    recipe = read_yaml(CONTRIB / "conda" / "recipe.yaml")
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    expected = {f"{CONDA_NAMES.get(one.name, one.name)} {one.specifier}" for one in requirements}
    python, *dependencies = recipe["requirements"]["run"]
    assert set(dependencies) == expected and len(dependencies) == len(expected)
    assert python == "python >=${{ python_min }}"

    context = recipe["context"]
    assert f">={context['python_min']}" == PROJECT["requires-python"]
    assert (context["name"], context["version"]) == (PROJECT["name"], RELEASE)
    scripts = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts
    about = recipe["about"]
    assert (about["summary"], about["license"]) == (PROJECT["description"], PROJECT["license"])


@pytest.mark.parametrize(
    ("path", "pin"),
    [
        (MODULE / "environment.yml", f"conda-forge::neuronedit={RELEASE}"),
        (WRAPPER / "environment.yaml", f"neuronedit ={RELEASE}"),
    ],
    ids=["nf-core", "snakemake"],
)
def test_environments_pin_the_release(path, pin):
    environment = read_yaml(path)
    assert environment["dependencies"] == [pin]
    assert environment["channels"][0] == "conda-forge"


@pytest.mark.parametrize("path", [CONTRIB / "README.md", MODULE / "main.nf"], ids=["readme", "nf-core"])
def test_image_has_the_version_of_the_release(path):
    assert set(re.findall(r"neuronedit:(\d[\w.]*\w)", path.read_text())) == {RELEASE}


def test_dockerfile_is_the_project():
    text = (CONTRIB / "docker" / "Dockerfile").read_text()
    python = re.search(r"^ARG PYTHON_VERSION=(.+)$", text, flags=re.MULTILINE)[1]
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]

    entry = json.loads(re.search(r"^ENTRYPOINT (.+)$", text, flags=re.MULTILINE)[1])
    assert entry == list(PROJECT["scripts"])
    user = re.search(r"^USER (\d+):(\d+)$", text, flags=re.MULTILINE)
    assert "0" not in user.groups()

    pinned = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] not in "#"]
    (torch,) = (str(one.specifier).removeprefix("==") for one in pinned if one.name == "torch")
    (wanted,) = (one.specifier for one in map(Requirement, PROJECT["dependencies"]) if one.name == "torch")
    assert torch in wanted


def test_dockerfile_copies_what_exists_and_is_not_ignored():
    text = (CONTRIB / "docker" / "Dockerfile").read_text()
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, flags=re.MULTILINE)
    copied = {source for line in lines for source in line.split()[:-1]}
    ignored = (CONTRIB / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)
    needed = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "src"}
    assert needed <= copied


# options


def read_commands(path):
    """Return the verbs and arguments of all calls of neuronedit in a file; what is filled in at run time is the word 1."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        leaves = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        text = "\n".join(leaf for leaf in leaves if isinstance(leaf, str))
    text = re.sub(r"\s*\\+\n\s*", " ", text)  # a line that goes on
    verbs = "|".join(cli.commands)
    calls = re.findall(rf"""(?:neuronedit(?::[\d.]+)?|"\$image") ({verbs}) ([^\n|>`]*)""", text)
    return [(verb, shlex.split(re.sub(r"\$?\{[^}]*\}|\$\w+", "1", arguments))) for verb, arguments in calls]


def parse(verb, arguments):
    """Read arguments as the command line does; an option that does not exist, and one that lacks, are errors."""
    return cli.commands[verb].make_context(verb, list(arguments)).params


@pytest.mark.parametrize(
    ("path", "n_commands"),
    [
        (CONTRIB / "README.md", 1),
        (CONTRIB / "docker" / "test.sh", 2),
        (CONTRIB / "conda" / "recipe.yaml", 1),
        (MODULE / "main.nf", 1),
        (WRAPPER / "wrapper.py", 1),
    ],
    ids=["readme", "docker", "conda", "nf-core", "snakemake"],
)
def test_options_exist(path, n_commands):
    commands = [(verb, arguments) for verb, arguments in read_commands(path) if arguments != ["--help"]]
    helps = [verb for verb, arguments in read_commands(path) if arguments == ["--help"]]
    for verb, arguments in commands:
        assert parse(verb, arguments)
    assert len(commands) + len(helps) == n_commands


def read_extra_arguments():
    """Return the options that configurations add to the jobs."""
    extra = read_yaml(CONTRIB / "snakemake" / "config.yaml")["extra"]
    config = (MODULE / "tests" / "nextflow.config").read_text()
    return {"snakemake": extra, "nf-core": re.search(r"ext.args = '(.+)'", config)[1]}


@pytest.mark.parametrize("where", ["snakemake", "nf-core"])
def test_extra_options_exist(where):
    needed = ["fcs", "--batch-key", "batch", "--control-key", "role", "-o", "corrected"]
    params = parse("correct", [*needed, *shlex.split(read_extra_arguments()[where])])
    assert (params["reference"], params["cofactor"]) == ("B1", 5)


# what the files say of each other


def read_outputs():
    """Return the declared outputs of the module: the pattern of each name. Without the version, which is no file."""
    text = (MODULE / "main.nf").read_text()
    return {name: pattern for pattern, name in re.findall(r'path\("(.+)"\), emit: (\w+)', text)}


def test_meta_of_the_module_is_the_module():
    meta = read_yaml(MODULE / "meta.yml")
    described = {name: list(channel[0][1])[0] for name, channel in meta["output"].items()}
    del described["versions_neuronedit"]
    assert described == read_outputs()

    inputs = (MODULE / "main.nf").read_text().split("    input:\n")[1].split("    output:\n")[0]
    first, *others = meta["input"]
    names = [list(one)[0] for one in [*first, *others]]
    assert names == re.findall(r"(?:val|path)[ (](\w+)", inputs)


def test_meta_of_the_wrapper_is_the_wrapper():
    meta, code = read_yaml(WRAPPER / "meta.yaml"), (WRAPPER / "wrapper.py").read_text()
    uses = {"input": "inputs", "output": "output", "params": "params"}
    for section, variable in uses.items():
        used = re.findall(rf"{variable}\.(?:get\(\"(\w+)|(?!get)(\w+))", code)
        described = {name for one in meta[section] for name in one}
        assert described == {one or other for one, other in used}


def test_config_of_snakemake_has_the_keys_of_its_schema():
    config, schema = (read_yaml(CONTRIB / "snakemake" / name) for name in ("config.yaml", "config.schema.yaml"))
    used = re.findall(r"config\[[\"'](\w+)[\"']\]", (CONTRIB / "snakemake" / "Snakefile").read_text())
    assert set(config) == set(schema["properties"]) == set(used)
    assert set(schema["required"]) == set(config) - {"extra"}


# jobs


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder of six simulated FCS files and their tables, made by contrib/simulate.py."""
    spec = importlib.util.spec_from_file_location("simulate", CONTRIB / "simulate.py")
    simulate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulate)
    folder = tmp_path_factory.mktemp("simulated") / "study"
    simulate.write_study(folder, 60)
    return folder


@pytest.fixture
def environment(tmp_path):
    """Variables with which a shell finds the command line that is tested."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "neuronedit"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m neuronedit._cli "$@"\n')
    command.chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def list_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def render(text, values):
    """Return a text of Groovy with its values; a backslash takes the meaning of what follows."""
    return re.sub(r"\\(.|\n)|\$\{([\w.]+)\}", lambda match: match[1] or values[match[2]], text)


def run_block(name, folder, study, environment):
    """Run the script or the stub of the module as Nextflow would; return the files that it has made."""
    shutil.copytree(study, folder)
    block = (MODULE / "main.nf").read_text().split(f"    {name}:\n")[1].split('"""')[1]
    values = {"metadata": "samples.csv", "panel": "panel.csv", "batch_key": "batch", "control_key": "role"}
    values |= {"prefix": "study", "task.cpus": "1", "args": read_extra_arguments()["nf-core"]}
    before = set(list_files(folder))
    shell = ["bash", "-C", "-e", "-u", "-o", "pipefail", "-c", render(block, values)]
    subprocess.run(shell, cwd=folder, env=environment, check=True)
    return [path for path in list_files(folder) if path not in before]


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are for bash")


@needs_bash
def test_stub_makes_what_the_script_makes(study, environment, tmp_path):
    made = run_block("script", tmp_path / "script", study, environment)
    assert made == run_block("stub", tmp_path / "stub", study, environment)
    assert json.loads((tmp_path / "script" / "study.json").read_text())["exit_code"] in (0, 3, 4)

    patterns = {name: pattern.replace("${prefix}", "study") for name, pattern in read_outputs().items()}
    matched = {name: fnmatch.filter(made, pattern) for name, pattern in patterns.items()}
    assert sorted(path for paths in matched.values() for path in paths) == made
    inputs = [path for path in list_files(study) if path.startswith("fcs/")]
    assert [path.replace("study/", "fcs/") for path in matched["fcs"]] == inputs


@needs_bash
@pytest.mark.parametrize(("column", "code"), [("role", 0), ("roll", 2)], ids=["done", "bad input"])
def test_script_fails_where_the_command_fails(column, code, study, environment, tmp_path):
    text = (MODULE / "main.nf").read_text()
    guard = render(re.search(r"^ *(\|\| \{.+\})$", text, flags=re.MULTILINE)[1], {})
    inspect = f"neuronedit inspect fcs --metadata samples.csv --panel panel.csv --cofactor 5 --batch-key batch --control-key {column}"
    done = subprocess.run(["bash", "-e", "-c", f"{inspect} {guard}"], cwd=study, env=environment, capture_output=True)
    assert done.returncode == code, done.stderr


@needs_bash
def test_module_reads_the_version(environment):
    command = re.search(r'eval\("(.+)"\)', (MODULE / "main.nf").read_text())[1]
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version("neuronedit")


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="snakemake is not installed")
def test_snakemake_corrects_a_folder(study, environment, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    config = read_yaml(CONTRIB / "snakemake" / "config.yaml")
    config["extra"] = read_extra_arguments()["nf-core"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = ["snakemake", "--snakefile", str(CONTRIB / "snakemake" / "Snakefile"), "--cores", "1"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    inputs = [path.name for path in sorted((folder / "fcs").iterdir())]
    made = [name for name in list_files(folder / "corrected") if name != ".snakemake_timestamp"]
    assert made == sorted([*inputs, "neuronedit.yaml"])
    assert json.loads((folder / "corrected.json").read_text())["exit_code"] in (0, 3, 4)


# Open Problems


OPEN_PROBLEMS = CONTRIB / "openproblems" / "neuronedit"


def run_component(monkeypatch, folder, cells, goal, **given):
    """Run the script as Viash does: with its parameters between the two marks."""
    rng = np.random.default_rng(0)
    cells.obs["is_control"] = (cells.obs["role"] == "control").astype(int).to_numpy()
    cells.obs["sample"] = cells.obs["group"].astype(str)
    cells.var["to_correct"] = np.arange(cells.n_vars) < cells.n_vars - 2
    censored = anndata.AnnData(
        obs=cells.obs[["batch", "sample", "is_control"]],
        var=cells.var[["to_correct"]],
        layers={"preprocessed": cells.X.astype(float)},
        uns={"dataset_id": "simulated"} | given,
    )
    censored = censored[rng.permutation(censored.n_obs)].copy()
    censored.write_h5ad(folder / "in.h5ad")
    text = (OPEN_PROBLEMS / "script.py").read_text()
    head, _, rest = text.partition("## VIASH START")
    par = {
        "input": str(folder / "in.h5ad"),
        "output": str(folder / "out.h5ad"),
        "goal_batch": goal,
        "edit": "shift",
        "seed": 0,
    }
    body = rest.partition("## VIASH END")[2]
    train = ne.tl.train
    monkeypatch.setattr(ne.tl, "train", lambda adata, **how: train(adata, space="identity"))
    exec(
        compile(f"{head}par = {par!r}\nmeta = {{'name': 'neuronedit'}}\n{body}", "script.py", "exec"),
        {"__name__": "__main__"},
    )
    return censored, anndata.read_h5ad(folder / "out.h5ad")


@pytest.mark.parametrize(("goal", "given"), [(None, {}), ("batch_2", {}), (None, {"goal_batch": "batch_2"})])
def test_the_component_of_open_problems_returns_samples_in_its_format(monkeypatch, tmp_path, cells, goal, given):
    censored, out = run_component(monkeypatch, tmp_path, cells, goal, **given)
    samples = censored[censored.obs["is_control"] == 0]
    assert list(out.obs_names) == list(samples.obs_names) and list(out.var_names) == list(censored.var_names)
    assert {"dataset_id", "method_id"} <= set(out.uns) and out.uns["method_id"] == "neuronedit"
    before, after = samples.layers["preprocessed"], out.layers["integrated"]
    np.testing.assert_array_equal(after[:, -2:], before[:, -2:])  # not to be corrected
    moved = np.abs(after - before).max(axis=1) > 1e-3
    assert moved.all() if goal is None and not given else set(samples.obs["batch"][moved]) == {"batch_1"}


def test_the_component_names_what_its_script_takes():
    config = read_yaml(OPEN_PROBLEMS / "config.vsh.yaml")
    assert {"name", "label", "summary", "description", "references", "links", "resources", "engines", "runners"} <= set(
        config
    )
    assert config["name"] == OPEN_PROBLEMS.name and config["resources"] == [
        {"type": "python_script", "path": "script.py"}
    ]
    arguments = {one["name"].removeprefix("--") for group in config["argument_groups"] for one in group["arguments"]}
    script = (OPEN_PROBLEMS / "script.py").read_text()
    assert set(re.findall(r'par\["(\w+)"\]', script)) == arguments | {"input", "output"}
