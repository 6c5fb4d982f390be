"""Every Modbus profile against registers written down by hand: `tests/golden/devices/<profile>/<case>/`.

`words.txt` holds registers, `table address: hex words`; a line that begins with `block` is the whole reply to the
planned request at that address, as received, and may be too short. `expected.csv` holds the values, `expected.err`
what is missing or refused. `python -m tests.devices.test_modbus_golden` writes both anew: read the difference.
"""

from pathlib import Path

import pytest

from devices.blocks import plan_blocks
from devices.codec import BlockDecoder, decode
from devices.decoded import Rejected
from devices.registers import DeviceProfile, load_modbus_profile, modbus_profiles
from metering.quantity import QUANTITIES

GOLDEN = Path(__file__).parent.parent / "golden" / "devices"
PROFILES = {path.stem: path for path in modbus_profiles().values()}
CASES = sorted(path.parent for path in GOLDEN.glob("*/*/words.txt") if path.parent.parent.name in PROFILES)


def read_words(path: Path):
    """Registers (table, address) -> word, and whole replies (table, address) -> bytes."""
    words, replies = {}, {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        place, _, numbers = line.partition(":")
        *block, table, address = place.split()
        row = [int(number, 16) for number in numbers.split()]
        if block:
            replies[table, int(address, 0)] = b"".join(word.to_bytes(2, "big") for word in row)
        else:
            words.update({(table, int(address, 0) + i): word for i, word in enumerate(row)})
    return words, replies


def outcome(profile: DeviceProfile, case: Path) -> tuple[str, str]:
    """The texts of expected.csv and expected.err."""
    words, replies = read_words(case / "words.txt")
    values, everything = decode(profile, words)
    rows = [f"{quantity},{phase},{value!r},{QUANTITIES[quantity].unit}" for (quantity, phase), value in values.items()]
    errors = [f"missing {everything.missing}"] if everything.missing else []
    errors += [f"{reason}: {detail}" for reason, detail in everything.rejected]
    planned = {(block.table, block.address): block for block in plan_blocks(profile)}
    for place, payload in replies.items():
        try:
            decoded = BlockDecoder(profile, planned[place]).decode(payload, 0)
            errors.append(f"reply of {len(payload)} bytes gave {len(decoded.values)} values")
        except Rejected as refused:
            errors.append(f"{refused.reason}: {refused.detail}")
    head = ["quantity,phase,value,unit"] if rows else []
    return "".join(f"{row}\n" for row in head + rows), "".join(f"{error}\n" for error in errors)


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_registers_become_the_values_that_are_written_down(case):
    profile = load_modbus_profile(PROFILES[case.parent.name])
    values, errors = outcome(profile, case)
    assert values or errors, "a case shows something"
    assert values == text_of(case / "expected.csv")
    assert errors == text_of(case / "expected.err")


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_each_profile_has_a_normal_case_and_an_error_case(profile):
    cases = [case for case in CASES if case.parent.name == profile]
    assert any((case / "expected.csv").exists() and not (case / "expected.err").exists() for case in cases)
    assert any((case / "expected.err").exists() for case in cases)


def rewrite() -> None:
    for case in CASES:
        texts = outcome(load_modbus_profile(PROFILES[case.parent.name]), case)
        for name, text in zip(("expected.csv", "expected.err"), texts, strict=True):
            path = case / name
            if text_of(path) != text:
                print(path)
                path.write_text(text) if text else path.unlink(missing_ok=True)


if __name__ == "__main__":
    rewrite()
