"""Golden messages of every MQTT profile: topic and payload in, values or a reason out.

A case is a folder `tests/golden/devices/<profile>/<case>/` with `topic.txt` (the topic, and "retained" on a
second line), `payload.json` or `payload.txt`, and `expected.csv` or `expected.err`. After a change that is
meant, `GOLDEN=write pytest tests/devices/test_payload_golden.py` writes what comes out; review the diff.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devices.decoded import Rejected
from devices.payload.decoding import compile_payload
from devices.payload.profile import load_mqtt_profile, mqtt_profiles
from metering.clock import from_us, to_us

GOLDEN = Path(__file__).parent.parent / "golden" / "devices"
RECEIVED_AT = to_us(datetime(2026, 1, 5, 6, 30, tzinfo=UTC))
PROFILES = mqtt_profiles()
CASES = sorted(path.parent for name in PROFILES for path in GOLDEN.glob(f"{name}/*/topic.txt"))


def outcome(case):
    profile = load_mqtt_profile(PROFILES[case.parent.name])
    topic, *flags = (case / "topic.txt").read_text().split()
    payload = next(case.glob("payload.*")).read_bytes().rstrip(b"\n")
    decoder = compile_payload(profile, "{base}", timezone="Asia/Shanghai", position=True)[topic]
    try:
        decoded = decoder.decode(payload, RECEIVED_AT, "retained" in flags)
    except Rejected as refusal:
        return "expected.err", f"{refusal.reason}: {refusal.detail}\n"
    lines = ["quantity,phase,observed_at,value"]
    for slot, at, value, _ in decoded.values:
        lines.append(f"{','.join(decoder.slots[slot])},{from_us(at).isoformat()},{value!r}")
    lines += [f"# missing {decoded.missing}"] if decoded.missing else []
    lines += [f"# rejected {reason}: {detail}" for reason, detail in decoded.rejected]
    return "expected.csv", "\n".join(lines) + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_a_golden_message_gives_what_is_written_down(case):
    name, text = outcome(case)
    if os.environ.get("GOLDEN") == "write":
        for old in case.glob("expected.*"):
            old.unlink()
        (case / name).write_text(text)
    assert [path.name for path in case.glob("expected.*")] == [name]
    assert (case / name).read_text() == text


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_profile_has_golden_messages_and_one_of_them_is_an_error(profile):
    good = list(GOLDEN.glob(f"{profile}/*/expected.csv"))
    bad = list(GOLDEN.glob(f"{profile}/*/expected.err"))
    assert good, f"add a message of {profile} to {GOLDEN / profile}"
    assert bad, f"add a message of {profile} that is refused to {GOLDEN / profile}"
