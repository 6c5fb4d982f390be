"""Mutated configurations: `check` never crashes, and names the line."""

import functools
import random
import re
from pathlib import Path

import pytest

from collector.decoders import profile_protocols
from devices.catalog import ConfigurationError, load_settings

ROOT = Path(__file__).parents[2]
BUREAU = ROOT / "simulators" / "bureau"
TEMPLATES = ROOT / "meterhall" / "templates"
NAMED_AT_LEAST = 0.95
MAIN = """
[data]
folder = "data"

[server]
host = "127.0.0.1"
port = 8420

[modbus]
timeout_s = 1.0

[limits]
payload_bytes = 262144

[retention]
raw_days = 0

[log]
level = "info"

[[broker]]
id = "plant"
url = "mqtt://127.0.0.1:1883"
client_id = "meterhall"

[[broker]]
id = "demo"
url = "mqtts://10.0.0.7:8883"
"""
WRONG_VALUES = (
    "-1", "1e400", "nan", "inf", '""', '"no such thing"', "true", "[]", "{}", "2026-02-30", "99999999999999999999",
    "'\\u0000'",
    '"${NOT_SET}"', "[1, 'a']", "1979-05-27", '"mqtt://[bad"', '"modbus-tcp://h:99999"', '"//"', '"\\u202E"',
)  # fmt: skip


def mutate(text, random):
    """One mistake of those that people make, or a broken file."""
    lines = text.splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r"^\s*[a-z_]+\s*=", line)]
    heads = [i for i, line in enumerate(lines) if line.startswith("[")]
    kind = random.randrange(10)
    i = random.choice(keys)
    key = lines[i].split("=")[0].strip()
    if kind == 0:
        lines[i] = f"{key} = {random.choice(WRONG_VALUES)}"
    elif kind == 1:  # a slip of the finger in a key
        at = random.randrange(len(key))
        lines[i] = lines[i].replace(key, key[:at] + random.choice("abcxyz_") + key[at + 1 :], 1)
    elif kind == 2:
        del lines[i]
    elif kind == 3:
        lines.insert(i, lines[i])
    elif kind == 4:  # cut off, as by a full disk
        lines = lines[: i + 1]
        lines[-1] = lines[-1][: random.randrange(len(lines[-1]))]
    elif kind == 5:
        i = random.choice(heads)
        lines[i] = random.choice(
            ("[nothing]", "[[nothing]]", lines[i][:-1], lines[i].replace("[", "", 1), "[site]", "[meter]")
        )
    elif kind == 6:
        lines[i] = lines[i].replace('"', random.choice(("", "'", '""')), 1)
    elif kind == 7:
        j = random.choice(keys)
        lines[i], lines[j] = f"{key} ={lines[j].partition('=')[2]}", lines[j]
    elif kind == 8:
        at = random.randrange(len(lines[i]) + 1)
        lines[i] = lines[i][:at] + random.choice("\x00\x1b\u202e\ud7ff=[]{},\"'\\\\#") + lines[i][at:]
    else:  # another table's entry twice: a duplicate id
        start = random.choice(heads)
        end = next((h for h in heads if h > start), len(lines))
        lines += lines[start:end]
    return "\n".join(lines) + "\n"


@functools.cache
def known_profiles(folder):
    """The profiles of a folder, looked up once: they are not what is mutated."""
    return profile_protocols(folder)


def outcome(folder):
    """What `check` says: nothing, or its mistakes; anything else is a crash."""
    try:
        load_settings(folder, profile_ids=known_profiles)
    except ConfigurationError as error:
        return error.problems
    return []


@pytest.fixture
def environment(monkeypatch):
    names = set(re.findall(r"\$\{(\w+)\}", "".join(path.read_text() for path in BUREAU.glob("*.toml"))))
    for number, name in enumerate(sorted(names)):
        monkeypatch.setenv(name, str(20_000 + number))


def write(folder, site):
    (folder / "meterhall.toml").write_text(MAIN)
    (folder / "site.toml").write_text(site)
    (folder / "factors.toml").write_text((BUREAU / "factors.toml").read_text())


def small_site():
    """The template's site, and some of the demo's meters and vehicles."""
    text = (BUREAU / "site.toml").read_text()
    tables = re.split(r"(?m)^(?=\[\[(?:site|building|meter|vehicle)\]\])", text)
    heads = [each for each in tables if each.startswith(("[[site]]", "[[building]]"))]
    meters = [each for each in tables if each.startswith("[[meter]]")][:8]
    vehicles = [each for each in tables if each.startswith("[[vehicle]]")][:3]
    return "".join((*heads, *meters, *vehicles))


@pytest.mark.slow
def test_five_hundred_mutated_configurations_never_crash_the_check_and_the_line_is_named(tmp_path, environment):
    draw = random.Random(20261124)
    originals = {
        "meterhall.toml": MAIN,
        "site.toml": small_site(),
        "factors.toml": (BUREAU / "factors.toml").read_text(),
    }
    write(tmp_path, originals["site.toml"])
    assert outcome(tmp_path) == []
    wrong, unnamed = 0, []
    for number in range(500):
        name = draw.choice(("meterhall.toml", "site.toml", "site.toml", "factors.toml"))
        mutated = mutate(originals[name], draw)
        (tmp_path / name).write_text(mutated, encoding="utf-8", errors="surrogatepass")
        problems = outcome(tmp_path)
        if problems:
            wrong += 1
            first = str(problems[0])
            if not all(re.search(r"\.toml:\d+|at line \d+", str(each)) for each in problems):
                unnamed.append((number, first))
            assert all(each.what and each.mend for each in problems)
        (tmp_path / name).write_text(originals[name])
    assert wrong > 300, "most mutations are mistakes"
    assert len(unnamed) <= wrong * (1 - NAMED_AT_LEAST), f"{len(unnamed)} of {wrong}: {unnamed[:20]}"


@pytest.mark.parametrize("name", ["meterhall.toml", "site.toml", "factors.toml"])
@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"\x00" * 100, b"=", b"[", b"[[", b"site = 5", b"meter = [1]", b"a" * 100_000]
)
def test_a_file_that_is_no_configuration_is_said(tmp_path, name, content, environment):
    write(tmp_path, small_site())
    (tmp_path / name).write_bytes(content)
    assert outcome(tmp_path)
