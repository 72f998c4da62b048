"""The language of the pages, docstrings, messages, the app and the report: short sentences, plain words, and a first paragraph that says who a page is for."""

import ast
import importlib
import inspect
import pkgutil
import re
import statistics
from pathlib import Path

import pytest

import neuronedit as ne

ROOT = Path(__file__).parents[1]

MAX_WORDS = 45
"""No sentence is longer."""
MAX_MEAN = 25
"""No page and no message has more words a sentence on average."""
MIN_WORDS_OF_MESSAGE = 4
"""Shorter texts of the code are names, units and options."""

WITHOUT_READERS = ["docs/404.md", "docs/changelog.md", "docs/references.md"]
"""Pages without text of their own, which need no first paragraph."""

NOT_WRITTEN_BY_HAND = {"built", "generated", "gallery", "_build", "_ext", "jupyter_execute", "screenshots", "tutorials"}
"""Folders of docs that a build writes, and the link to the tutorials, which are read where they are."""
PAGES = sorted(
    [ROOT / "README.md"]
    + [
        path
        for path in (ROOT / "docs").rglob("*.md")
        if not NOT_WRITTEN_BY_HAND & {*path.relative_to(ROOT / "docs").parts}
    ]
    + [*(ROOT / "tutorials").glob("*.md")]
)
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]

STRANGE = {
    r"lessons?": "fitted edit",
    r"learnt": "learned, fitted, measured",
    r"carr(?:y|ies|ied|ying)\b[^.]{0,30}\bover": "apply, generalize",
    r"way of (?:an? |the )?(?:edit|map|method|change)s?": "edit",
    r"(?:parts?|one) that (?:is|are) left out": "held-out fold",
    r"left-out": "held-out",
    r"(?:a|the) makers?": "generator",
    r"(?:a|the) judges?": "discriminator, score",
    r"what (?:\w+ ){1,3}sa(?:id|w)": "name the thing",
    r"that is said": "name who reports it",
    r"whoever": "if you",
    r"to the letter": "exactly as published",
    r"no say": "no weight",
    r"rules? (?:the|their) scale": "dominates the scale",
    r"(?:nothing|no label) (?:says|tells)": "it is not known, it is not recorded",
    r"takes the difference for": "mistakes for",
    r"go(?:es)? [\w%]+ of the way": "is moved by a share of the change",
    r"let all \w+ methods try": "compare all methods",
    r"takes? any of them for": "counts as",
    r"draw(?:s|n)? (?:half of the way )?(?:to|towards) (?:the|their|its)": "shrink towards",
    r"are thought of": "concepts",
    r"as far as there (?:is|are) any": "if any",
    r"fair rival": "baseline",
    r"err to different sides": "errors of opposite sign",
    r"beside (?:its|their) goal": "next to the final file",
    r"nothing left of (?:it|them)": "say what is lost",
    r"knows? no": "does not import, does not use",
    r"as ever": "as usual",
    r"donors say": "for example donors",
    r"(?:is|are) asked whether": "tested",
    r"cells enough": "enough cells",
    r"dealt out": "permuted, resampled",
    r"taken for (?:a change|independent)": "mistaken for, treated as",
}
"""Expressions that readers found strange, and what to write: from "Plain words" in the design. Ordinary English is not here."""

PROSE_DIRECTIVES = {
    "note",
    "tip",
    "warning",
    "important",
    "admonition",
    "tab-set",
    "tab-item",
    "grid",
    "grid-item",
    "dropdown",
}
"""Directives whose content is text; that of others is code, options or a list of files."""
ABBREVIATIONS = re.compile(r"(?:\b(?:e\.g|i\.e|et al|vs|cf|approx|Fig|Eq|No|Dr)|\.\.)\.$")


def mask(text):
    """Replace inline code, roles, maths and links by one word each, and drop images and emphasis. Lengths may change."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"(?:\{[\w:]+\}|:[\w:]+:)?(`+)(?:(?!\1).)+?\1_{0,2}", "CODE", text)
    text = re.sub(r"(?<![\w$])\$[^$]+\$", "MATHS", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<https?://[^>]*>|https?://\S+", "LINK", text)
    return re.sub(r"\*+|(?<!\w)_+|_+(?!\w)|<[^>]*>", "", text)


def split_block(lines):
    """Split a paragraph, a list of (number, line), into sentences: a list of (number of the line, sentence)."""
    masked = mask("\n".join(line.strip() for _, line in lines))
    sentences, start = [], 0
    ends = [
        end
        for end in re.finditer(r"[.!?][)\"'”’]*(?=\s|$)", masked)
        if not ABBREVIATIONS.search(masked[: end.start() + 1])
    ]
    for stop in [end.end() for end in ends] + [len(masked)]:
        sentence = masked[start:stop].strip()
        begin = masked.find(sentence, start)
        number = lines[min(masked.count("\n", 0, begin), len(lines) - 1)][0]
        if count_words(sentence):
            sentences.append((number, " ".join(sentence.split())))
        start = stop
    return sentences


def count_words(sentence):
    """Return the number of words: whatever has a letter or a digit between blanks."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def read_blocks(text):
    """Yield the paragraphs and list items of a MyST page as lists of (number, line), without code, tables, headings and maths."""
    lines = text.splitlines()
    first = lines.index("---", 1) + 1 if lines[:1] == ["---"] else 0
    block, fence, maths = [], None, False
    for number, line in enumerate(lines[first:], first + 1):
        bare = line.strip()
        mark = re.match(r"(`{3,}|:{3,}|~{3,})(?:\{([\w-]+)\})?", bare)
        apart = not bare or re.match(r"(\||#+ |:[\w-]+:(?=\s|$)|<!--|\(\w[\w-]*\)=$|\+\+\+|---+$)", bare)
        item = re.match(r"([-*]|\d+\.) ", bare)
        skip = True
        if fence:
            fence = None if bare == fence else fence
        elif maths:
            maths = "$$" not in bare
        elif mark:
            text_inside = mark[1][0] == ":" or mark[2] in PROSE_DIRECTIVES or len(mark[1]) > 4 and bare == mark[1]
            fence = None if text_inside else mark[1]
        elif bare.startswith("$$"):
            maths = bare.count("$$") == 1
        else:
            skip = bool(apart)
        if skip or item:
            if block:
                yield block
            block = []
        if not skip:
            block.append((number, line[line.index(item[0]) + len(item[0]) :] if item else line))
    if block:
        yield block


def read_docstring(doc):
    """Yield the paragraphs of a numpy docstring as lists of (number, line), without examples, names, types and directives."""
    lines, block, section, code = inspect.cleandoc(doc).splitlines(), [], "", None
    for number, line in enumerate(lines, 1):
        bare, indent = line.strip(), len(line) - len(line.lstrip())
        underlined = number < len(lines) and re.fullmatch(r"-{3,}", lines[number].strip()) and bare
        if underlined:
            section = bare
        code = None if code is not None and bare and indent <= code else code
        name = (
            section in {"Parameters", "Other Parameters", "Attributes", "Raises", "See Also", "Warns", "Yields"}
            and indent == 0
        )
        deeper = (
            number < len(lines) and len(lines[number]) - len(lines[number].lstrip()) > indent and lines[number].strip()
        )
        term = deeper and re.fullmatch(r"(?:``[^`]+``(?:, )?)+", bare)  # of what is returned
        skip = code is not None or not bare or underlined or section in {"Examples", "References"} or name or term
        if re.match(r"\.\. |>>> |:\w[\w ]*:(?!`)", bare) or re.fullmatch(r"-{3,}|[=\s]+", bare) or bare.startswith("|"):
            skip, code = True, indent if bare.startswith("..") else code
        if bare.endswith("::") and code is None:
            code = indent
        item = re.match(r"([-*]|\d+\.) ", bare)
        if skip or item:
            if block:
                yield block
            block = []
        if not skip:
            block.append((number, bare[len(item[0]) :] if item else bare))
    if block:
        yield block


def read_sentences(blocks):
    """Return the sentences of all blocks: (number of the line, sentence)."""
    return [sentence for block in blocks for sentence in split_block(block)]


def find_bad_sentences(name, sentences):
    """Return the sentences of a page that are too long or have strange words, one line a fault."""
    faults = []
    for number, sentence in sentences:
        length = count_words(sentence)
        if length > MAX_WORDS:
            faults.append(f"{name}:{number}: {length} words, at most {MAX_WORDS}: {sentence}")
        for pattern, better in STRANGE.items():
            if found := re.search(rf"\b(?:{pattern})\b", sentence, re.IGNORECASE):
                faults.append(f"{name}:{number}: {found[0]!r} (better: {better}), {length} words: {sentence}")
    return faults


def find_long_mean(name, sentences):
    """Return that the sentences of a page are too long on average, with the longest of them; nothing, if they are not."""
    lengths = [count_words(sentence) for _, sentence in sentences]
    if not lengths or statistics.mean(lengths) <= MAX_MEAN:
        return []
    longest = sorted(zip(lengths, sentences, strict=True), reverse=True)[:5]
    mean = f"{name}: {statistics.mean(lengths):.1f} words a sentence on average, at most {MAX_MEAN}. The longest:"
    return [mean] + [f"{name}:{number}: {length} words: {sentence}" for length, (number, sentence) in longest]


def find_faults(name, text):
    """Return all that is wrong with the sentences of a page."""
    sentences = read_sentences(read_blocks(text))
    return find_bad_sentences(name, sentences) + find_long_mean(name, sentences)


def find_first_paragraph(text):
    """Return the first paragraph of a page as one line."""
    block = next(read_blocks(text), [])
    return " ".join(line.strip() for _, line in block)


def names_its_readers(text):
    """Whether the first paragraph says who the page is for ("For ...") and what they can do after it ("you can ...")."""
    return bool(re.match(r"For .+\byou can\b", find_first_paragraph(text)))


def public_docstrings():
    """Return the docstrings of what users can reach: {subpackage: [(name, docstring)]}."""
    docs = {}
    for module in [
        ne,
        *(importlib.import_module(one.name) for one in pkgutil.iter_modules(ne.__path__, "neuronedit.")),
    ]:
        if module.__name__.split(".")[-1].startswith("_"):
            continue
        found = docs.setdefault(module.__name__, [(module.__name__, module.__doc__ or "")])
        for name in sorted(getattr(module, "__all__", [])):
            thing = getattr(module, name)
            if not (inspect.isfunction(thing) or inspect.isclass(thing)):
                continue
            members = vars(thing).items() if inspect.isclass(thing) else ()
            methods = [
                (f".{key}", getattr(value, "__func__", value)) for key, value in members if not key.startswith("_")
            ]
            for suffix, one in [("", thing), *methods]:
                if str(getattr(one, "__module__", "")).startswith("neuronedit") and isinstance(one.__doc__, str):
                    found.append((f"{module.__name__}.{name}{suffix}", one.__doc__))
    return docs


def read_messages(source):
    """Return the texts of a module that are not docstrings: (line, text), four words at least, any value in an f-string as a word."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        text = None
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        if text and id(node) not in docs and count_words(text) >= MIN_WORDS_OF_MESSAGE:
            found.append((node.lineno, text))
    return sorted(found)


def read_script(source):
    """Return the string literals of a script of a web page as `read_messages` does; comments are not visible."""
    tokens = r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`"""
    found = []
    for token in re.finditer(tokens, source, re.DOTALL):
        text = " ".join(re.sub(r"\$\{[^}]*\}", "VALUE", token[0][1:-1]).split())
        if token[0][0] != "/" and count_words(text) >= MIN_WORDS_OF_MESSAGE:
            found.append((1 + source.count("\n", 0, token.start()), text))
    return found


def read_template(source):
    """Return the visible texts of a web page, or of a template of one, as `read_messages` does, and those of its scripts."""
    found = []

    def take(pattern, text, kept="", read=None):
        """Replace what a pattern finds, but for its line breaks, and read texts in it."""
        for one in re.finditer(pattern, text, re.DOTALL) if read else ():
            found.extend((text.count("\n", 0, one.start()) + number, words) for number, words in read(one[0]))
        return re.sub(pattern, lambda one: kept + "\n" * one[0].count("\n"), text, flags=re.DOTALL)

    def read_attributes(tag):
        return [(1, words) for words in re.findall(r'\b(?:aria-label|alt|title|placeholder)="([^"]*)"', tag)]

    text = take(r"<style>.*?</style>|<!--.*?-->", source)
    text = take(r"<script\b.*?</script>", text, "\0", read_script)
    text = take(r"\{%-? else %\}", text, "\0")
    text = take(r"\{\{.*?\}\}", text, "VALUE", read_script)
    text = take(r"\{%.*?%\}", text, " ", read_script)
    text = take(r"<(?!/?(?:a|b|code|i|span|strong)\b)[^>]*>", text, "\0", read_attributes)
    text = take(r"<[^>]*>", text)
    for one in re.finditer(r"[^\0]+", text):
        words = one[0].lstrip()
        found.append((1 + text.count("\n", 0, one.end() - len(words)), " ".join(words.split())))
    return sorted((number, words) for number, words in found if count_words(words) >= MIN_WORDS_OF_MESSAGE)


READERS = {".py": read_messages, ".html": read_template, ".js": read_script}


def find_bad_messages(name, source):
    """Return what is wrong with the sentences of the messages of a module, or of what a web page shows."""
    faults = []
    for number, text in READERS[Path(name).suffix](source):
        sentences = read_sentences([[(number, line)] for line in text.splitlines()])
        faults += find_bad_sentences(name, sentences) + find_long_mean(name, sentences)
    return faults


DOCSTRINGS = public_docstrings()
SRC = ROOT / "src" / "neuronedit"
MODULES = [path.relative_to(SRC).as_posix() for path in sorted(SRC.rglob("*")) if path.suffix in READERS]


@pytest.mark.parametrize("name", NAMES)
def test_sentences_of_pages(name):
    faults = find_faults(name, (ROOT / name).read_text())
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in [*WITHOUT_READERS, "README.md"]])
def test_pages_name_their_readers(name):
    text = (ROOT / name).read_text()
    assert names_its_readers(text), f'{name} begins with "{find_first_paragraph(text)}"'


@pytest.mark.parametrize("module", DOCSTRINGS)
def test_sentences_of_docstrings(module):
    sentences = {name: read_sentences(read_docstring(doc)) for name, doc in DOCSTRINGS[module]}
    faults = [fault for name, found in sentences.items() for fault in find_bad_sentences(name, found)]
    faults += find_long_mean(module, [sentence for found in sentences.values() for sentence in found])
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", MODULES)
def test_sentences_of_messages(name):
    faults = find_bad_messages(name, (SRC / name).read_text())
    assert not faults, "\n".join(faults)


def test_all_is_read():
    assert {"docs/index.md", "docs/guide/concepts.md", "docs/scaling.md", "tutorials/images.md", "docs/404.md"} <= {
        *NAMES
    }
    for name in [name for name in NAMES if name not in WITHOUT_READERS]:
        assert len(read_sentences(read_blocks((ROOT / name).read_text()))) >= 4, name
    assert {"neuronedit.tl.edit", "neuronedit.edits.by_strata"} <= {
        name for docs in DOCSTRINGS.values() for name, _ in docs
    }
    messages = {name: [text for _, text in READERS[Path(name).suffix]((SRC / name).read_text())] for name in MODULES}
    everything = [text for texts in messages.values() for text in texts]
    assert len(everything) > 500 and any(text.startswith("Do not use either prediction.") for text in everything)
    for name, start in {
        "_app/page.html": "Correct batches by their controls.",
        "_app/page.js": "The run was stopped.",
        "_report/report.html": "Share of the samples’ cells beyond",
        "_report/report.js": "Biaxial plot, VALUE: VALUE on the x axis",
    }.items():
        assert any(text.startswith(start) for text in messages[name]), name
    edit = read_sentences(read_docstring(ne.tl.edit.__doc__))
    assert any("cross-validat" in sentence for _, sentence in edit) and len(edit) > 20


LONG = " ".join(["word"] * 46) + "."


def test_long_sentences_are_found():
    [fault] = find_faults("page.md", f"# Title\n\nA short one. {LONG}\n")
    assert fault.startswith("page.md:3: 46 words, at most 45: word word") and fault.endswith("word.")
    listed = f"Short.\n\n- item\n- {LONG}\n"
    assert len(find_faults("page.md", listed)) == 1
    directive = f"Short.\n\n:::{{note}}\n{LONG}\n:::\n\n```{{tip}}\n{LONG}\n```\n"
    assert len([fault for fault in find_faults("page.md", directive) if "46 words, at" in fault]) == 2


MODULE = """
'''A module. {long}'''
MAX, NAME = 3, "{long}"

def check(x):
    '''Do it. {long}'''
    if x > MAX:
        raise ValueError(f"{{x!r}} is what we learnt" + f" of {{len(x):,}} cells. {short}")
    warnings.warn(f"Fine {{x}} and {{'{long}'}} here.")
    logger.info("%s cells rule their scale.", "two words")
"""


def test_faults_in_messages_are_found():
    faults = find_bad_messages("a.py", MODULE.format(long=LONG, short=" ".join(["word"] * 20)))
    assert [fault.split(":")[1] for fault in faults] == [
        "3",
        " 46.0 words a sentence on average, at most 25. The longest",
        "3",
        "8",
        "10",
    ]
    assert "46 words, at most 45: word word" in faults[0]
    assert "'learnt' (better: learned" in faults[3] and "VALUE is what we learnt" in faults[3]
    assert "'rule their scale' (better: dominates" in faults[4]
    half = " ".join(["word"] * 26)
    assert len(find_bad_messages("a.py", f"text = f'{half}.'")) == 2
    assert find_bad_messages("a.py", f"text = f'{half}. Short.'") == []


TEMPLATE = """<!doctype html>
<title>A page</title>
<style>p > b {{ color: red }}  /* a lesson that is not shown */</style>
<!-- a lesson that is not shown -->
<p class="lead">A <b>lesson</b> of
{{{{ n }}}} cells.</p><p>Short.</p>
{{% if a %}}One lesson of many is here{{% else %}}Two are enough for it{{% endif %}}
<img alt="A picture of a lesson" src="x.png">
{{{{ table("The lesson in a table", [("n", true)]) }}}}
<li>{long}</li>
<script>
// a lesson that is not shown
const text = `The lesson of ${{run.name}} is over.`, url = "a//b", other = "A lesson, and a \\"lesson\\"";
</script>
"""


def test_faults_in_web_pages_are_found():
    faults = find_bad_messages("page.html", TEMPLATE.format(long=LONG))
    lines = [fault.split(":")[1] for fault in faults if "'lesson'" in fault]
    assert lines == ["5", "7", "8", "9", "13", "13"]
    assert "A lesson of VALUE cells." in faults[0]
    assert any(fault.startswith("page.html:10: 46 words, at most 45") for fault in faults)
    assert "The lesson of VALUE is over." in "".join(faults)
    script = TEMPLATE.format(long=LONG).partition("<script>")[2]
    assert len(find_bad_messages("page.js", script)) == 2


def test_a_long_mean_is_found():
    page = " ".join(["word"] * 26) + ".\n"
    faults = find_faults("page.md", page)
    assert "26.0 words a sentence on average" in faults[0] and faults[1].startswith("page.md:1: 26 words")
    assert find_faults("page.md", page + "\nShort.\n") == []


PLANTED = [
    "The lesson is kept.",
    "The change is learnt on one person.",
    "This carries the change over to others.",
    "It is the way of an edit.",
    "A part that is left out is predicted.",
    "The left-out stratum is predicted.",
    "The maker draws cells.",
    "The judge looks at them.",
    "It is what the controls said.",
    "Nothing is known, and that is said.",
    "Whoever joins them gets an error.",
    "It is the published method to the letter.",
    "They have no say in it.",
    "One feature rules the scale.",
    "Here nothing says how it was transformed.",
    "An edit takes the difference for a change.",
    "Cells go VALUE of the way.",
    "Then let all quick methods try.",
    "A script takes any of them for success.",
    "Small strata are drawn to the edit.",
    "It says how edits are thought of.",
    "They are compared, as far as there are any.",
    "It is a fair rival.",
    "They err to different sides.",
    "Files are made beside their goal.",
    "There is nothing left of it.",
    "A space knows no labels.",
    "It is written as ever.",
    "Groups, donors say, are named.",
    "Before that it is asked whether they agree.",
    "There are cells enough.",
    "Cells are dealt out again.",
    "It is taken for a change.",
]


@pytest.mark.parametrize("sentence", PLANTED)
def test_strange_words_are_found(sentence):
    [fault] = find_faults("page.md", f"Fine.\n\nFine,\ntoo. {sentence}\n")
    assert fault.startswith("page.md:4: ")


def test_every_strange_word_can_be_found():
    assert [
        one for one in STRANGE if not any(re.search(rf"\b(?:{one})\b", text, re.IGNORECASE) for text in PLANTED)
    ] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Half of the way is one way to do it.",
        "Cells are drawn with a seed and carried by the plate.",
        "The model learned it in the same way.",
        "Use what the error message says, and judge the result.",
    ],
)
def test_ordinary_words_are_not(sentence):
    assert find_faults("page.md", sentence) == []


def test_what_is_not_prose_is_not_read():
    page = f"""---
title: {LONG}
---

# {LONG}

| {LONG} |

```python
{LONG}
```

````{{code-cell}}
:tags: [x]

```
{LONG}
```
````

$$
{LONG}
$$

:::{{card}}
:link: {LONG}
One.
:::

![{LONG}](a.png)

Two `{LONG}` three {{doc}}`{LONG}` four $a b c$.
"""
    assert [sentence for _, sentence in read_sentences(read_blocks(page))] == [
        "One.",
        "Two CODE three CODE four MATHS.",
    ]


def test_sentences_end_where_they_end():
    text = "Rates, e.g. 0.5 or `a.b. c`, of a.b are fine (see Fig. 2). Is it? Yes: 8, 16, ... 64\nof [a link. Two](x.y). *It* ends."
    sentences = [sentence for _, sentence in read_sentences(read_blocks(text))]
    assert [sentence.split()[0] for sentence in sentences] == ["Rates,", "Is", "Yes:", "Two.", "It"]
    assert count_words(sentences[0]) == 12


def test_docstrings_are_read():
    doc = f"""Do it.

    Examples
    --------
    >>> {LONG}

    Parameters
    ----------
    x : {LONG}
        First. {LONG[:100]}
        :func:`x` {LONG[100:]}

        .. math:: {LONG}
    y
        Last.

    Returns
    -------
    What was {LONG}

    ``table``, ``other``
        A table.
    """
    sentences = read_sentences(read_docstring(doc))
    assert [number for number, sentence in sentences if count_words(sentence) >= 46] == [10, 19]
    assert [sentence for _, sentence in sentences if count_words(sentence) < 4] == [
        "Do it.",
        "First.",
        "Last.",
        "A table.",
    ]


def test_first_paragraphs():
    assert names_its_readers("# Title\n\nFor labs with controls. After reading\nthis page you can correct batches.\n")
    assert not names_its_readers("# Title\n\nThis is a page.\n\nFor labs: you can read on.\n")
    assert not names_its_readers("# Title\n\nFor labs with controls.\n")
