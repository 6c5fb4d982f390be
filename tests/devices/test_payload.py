"""Payload mappings: reading profiles, decoding and encoding."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.decoded import Rejected
from devices.payload.decoding import BareDecoder, FlatDecoder, compile_payload
from devices.payload.document import read_json
from devices.payload.encoding import encode_messages, encode_payload
from devices.payload.paths import ABSENT, find, parse_path, place
from devices.payload.profile import load_mqtt_profile, mqtt_profiles
from metering.clock import SECOND_US, from_us, to_us
from metering.explain import ExplainedError
from metering.quantity import POSITION, QUANTITIES

NOW = to_us(datetime(2026, 1, 5, 6, 30, tzinfo=UTC))
PROFILES = {name: load_mqtt_profile(path) for name, path in mqtt_profiles().items()}


def decoders(name, *, position=True, **more):
    return compile_payload(PROFILES[name], "base", timezone="Asia/Shanghai", position=position, **more)


def own(tmp_path, text, name="mine"):
    path = tmp_path / f"{name}.toml"
    path.write_text(f'id = "{name}"\nprotocol = "mqtt"\nsource = "a test"\n{text}')
    return path


def decoder_of(tmp_path, text, *, topic="base", zone="Asia/Shanghai", **more):
    profile = load_mqtt_profile(own(tmp_path, text))
    return compile_payload(profile, "base", timezone=zone, position=True, **more)[topic]


POWER = '[[field]]\npath = "w"\nquantity = "active_power"\nunit = "W"\n'
TIMED = '[[topic]]\ntopic = "{base}"\ntime = { path = "t", format = "%s" }\n' + POWER


def timed(tmp_path, form, raw, *, received_at=NOW, zone="Asia/Shanghai"):
    payload = json.dumps({"w": 1, "t": raw}).encode()
    decoder = decoder_of(tmp_path, TIMED % form, zone=zone)
    first = decoder.decode(payload, received_at, False).values[0][1]
    assert decoder.decode(payload, received_at, False).values[0][1] == first, "the fast way gives another time"
    return from_us(first).isoformat()


# --- profiles


@pytest.mark.parametrize(
    ("wrong", "where", "what", "mend"),
    [
        (POWER.replace("active_power", "power"), "field[0].quantity", 'is "power"', "did you mean"),
        (POWER.replace('"W"', '"Wh"'), "field[0].unit", 'unit is "Wh" for active_power', "use one of"),
        (POWER.replace('"w"', '"a..b"'), "field[0].path", 'is "a..b"', 'write "a.b"'),
        (POWER + POWER, "field[1].quantity", "twice on {base}", "map it once"),
        (POWER + 'colour = "red"\n', "field[0].colour", "is not known here", "known:"),
        (POWER + 'topic = "{base}/#"\n', "field[0].topic", 'is "{base}/#"', "without + and #"),
        (POWER + 'type = "map"\n', "field[0].map", "is missing", "what each code means"),
        (POWER + "scale = 0\n", "field[0].scale", "is 0", "leave it out"),
        (POWER + "invalid = [true]\n", "field[0].invalid", "is [True]", "a list of numbers and texts"),
        (TIMED % "epoch", "topic[0].time.format", 'is "epoch"', "use one of rfc3339"),
        ("", "field", "is missing", "add [[field]]"),
        ('[[topic]]\ntopic = "{base}/x"\n' + POWER, "topic", '"{base}/x" has no field', "add a [[field]]"),
        (
            POWER + '[[field]]\npath = ""\nquantity = "voltage"\nunit = "V"\n',
            "field[1].path",
            "is bare and not",
            "JSON",
        ),
    ],
)
def test_a_wrong_profile_is_refused_with_place_value_and_mend(tmp_path, wrong, where, what, mend):
    with pytest.raises(ExplainedError) as refusal:
        load_mqtt_profile(own(tmp_path, wrong))
    assert str(tmp_path / "mine.toml") in refusal.value.where
    assert refusal.value.where.endswith(f" {where}")
    assert what in refusal.value.what
    assert mend in refusal.value.mend


def test_own_profiles_stand_beside_the_shipped_ones_and_may_not_hide_them(tmp_path):
    own(tmp_path, POWER)
    assert {"mine", "tasmota"} <= set(mqtt_profiles(tmp_path))
    own(tmp_path, POWER, "tasmota")
    with pytest.raises(ExplainedError, match="give your profile an id of its own"):
        mqtt_profiles(tmp_path)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_shipped_profile_says_where_its_facts_come_from(name):
    assert PROFILES[name].source
    assert PROFILES[name].manufacturer
    assert PROFILES[name].model


# --- topics, slots, position


def test_a_decoder_is_found_by_the_exact_topic_and_all_of_a_device_share_their_slots():
    found = decoders("ovms_v3")
    assert "base/metric/v/p/odometer" in found
    assert len({decoder.slots for decoder in found.values()}) == 1
    assert all(slot in found["base/metric/v/b/soc"].slots for slot in [("odometer", "total"), ("charging", "total")])


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_position_is_dropped_at_decoding_unless_it_is_wanted(name):
    for topic, decoder in decoders(name, position=False).items():
        assert not POSITION & {quantity for quantity, _ in decoder.slots}
        template = topic.replace("base", "{base}", 1)
        values = {(f.quantity, f.phase): 12.5 for f in PROFILES[name].fields if f.topic == template}
        if set(values) <= {(quantity, "total") for quantity in POSITION}:
            assert decoder.idle
            payload = encode_payload(PROFILES[name], template, values, NOW)
            assert decoder.decode(payload, NOW, False) == ([], 0, [])


# --- times


@pytest.mark.parametrize(
    ("form", "raw", "expected"),
    [
        ("rfc3339", "2026-01-05T07:15:00+01:00", "2026-01-05T06:15:00+00:00"),
        ("rfc3339", "2026-01-05T06:15:04.318402917Z", "2026-01-05T06:15:04.318402+00:00"),
        ("unix_s", 1767593703.62, "2026-01-05T06:15:03.620000+00:00"),
        ("unix_s", "1767593703", "2026-01-05T06:15:03+00:00"),
        ("unix_ms", 1767593703062, "2026-01-05T06:15:03.062000+00:00"),
        ("unix_us", 1767593703000062, "2026-01-05T06:15:03.000062+00:00"),
        ("local", "2026-01-05T14:15:03", "2026-01-05T06:15:03+00:00"),
        ("local", "2026-01-05T14:15:03+09:00", "2026-01-05T05:15:03+00:00"),
    ],
)
def test_each_form_of_time_is_read_exactly(tmp_path, form, raw, expected):
    assert timed(tmp_path, form, raw) == expected


@pytest.mark.parametrize(
    ("form", "raw", "words"),
    [
        ("unix_s", 1767593703000, "1000 times smaller"),
        ("unix_ms", 1767593703, "1000 times larger"),
        ("unix_us", 1767593703, "1000000 times larger"),
        ("unix_s", 1e300, "ahead"),
        ("unix_s", 0, "before 2000"),
        ("unix_s", True, "is not of the form"),
        ("unix_s", "12h", "is no time"),
        ("rfc3339", "2026-01-05T06:15:04", "has no offset"),
        ("rfc3339", "2026-02-30T06:15:04Z", "is no time"),
        ("rfc3339", "yesterday", "is no time"),
        ("rfc3339", "2026-01-05T06:45:04Z", "ahead of us"),
        ("local", 1767593703, "is not of the form"),
    ],
)
def test_an_impossible_time_is_rejected_and_never_guessed(tmp_path, form, raw, words):
    with pytest.raises(Rejected) as refusal:
        timed(tmp_path, form, raw)
    assert refusal.value.reason == "time"
    assert words in refusal.value.detail


@pytest.mark.parametrize(("received", "offset"), [("00:35", 2), ("01:35", 1)])
def test_in_the_hour_that_clocks_go_back_the_meaning_nearer_to_arrival_counts(tmp_path, received, offset):
    at = to_us(datetime.fromisoformat(f"2026-10-25T{received}:00+00:00"))
    expected = datetime(2026, 10, 25, 2, 30, tzinfo=timezone(timedelta(hours=offset))).astimezone(UTC).isoformat()
    assert timed(tmp_path, "local", "2026-10-25T02:30:00", received_at=at, zone="Europe/Berlin") == expected


@given(st.datetimes(datetime(2000, 1, 2), datetime(2105, 1, 1)), st.integers(-23 * 60, 23 * 60))
@settings(max_examples=100)
def test_a_written_instant_is_read_to_the_microsecond(naive, minutes):
    at = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    decoder = decoders("plain_json")["base"]
    payload = json.dumps({"ts": at.isoformat(), "w": 1}).encode()
    for _ in range(2):
        assert decoder.decode(payload, to_us(at), False).values[0][1] == to_us(at)


def test_a_message_without_time_takes_its_arrival_and_a_retained_one_is_refused():
    decoder = decoders("plain_json")["base"]
    for _ in range(2):
        assert decoder.decode(b'{"w":1}', NOW, False).values == [(2, NOW, 1.0, False)]
        with pytest.raises(Rejected, match="retained_without_time"):
            decoder.decode(b'{"w":1}', NOW, True)
        assert decoder.decode(b'{"w":1,"ts":1767593703}', NOW, True).values[0][1] == 1767593703 * SECOND_US


# --- values


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        ("null", "missing"),
        ("65535", "missing"),
        ("65535.0", "missing"),
        ('"nil"', "missing"),
        ("true", "not_numeric"),
        ("NaN", "not_finite"),
        ("-Infinity", "not_finite"),
        ("1e999", "not_finite"),
        ("9" * 400, "not_finite"),
        ("9" * 5000, "not_finite"),
        ("9" * 30, "range"),
        ("-2e9", "range"),
        ('"12"', "not_numeric"),
        ('"nan"', "not_numeric"),
        ("[1]", "not_numeric"),
        ("{}", "not_numeric"),
        ("-0.0", -0.0),
        ("12", 12.0),
        ("1.25e2", 125.0),
        ("123456789012345678", 123456789012345678 / 1),
    ],
)
def test_the_value_table_of_numbers(tmp_path, raw, outcome):
    decoder = decoder_of(tmp_path, POWER + 'invalid = [65535, "nil"]\n')
    for _ in range(2):
        decoded = decoder.decode(b'{"w":%b}' % raw.encode(), NOW, False)
        if outcome == "missing":
            assert decoded == ([], 1, [])
        elif isinstance(outcome, str):
            assert (decoded.values, decoded.missing, [reason for reason, _ in decoded.rejected]) == ([], 0, [outcome])
        elif abs(outcome) > 1e9:
            assert decoded.rejected[0][0] == "range"
        else:
            assert decoded == ([(0, NOW, outcome, False)], 0, [])
            assert math.copysign(1, decoded.values[0][2]) == math.copysign(1, outcome) or outcome == 0


@pytest.mark.parametrize(
    ("more", "raw", "outcome"),
    [
        ('type = "text"', '"230.5"', 230.5),
        ('type = "text"', "230.5", 230.5),
        ('type = "text"\nsuffix = "W"', '"230.5 W"', 230.5),
        ('type = "text"', '"230.5 W"', "not_numeric"),
        ('type = "text"', '"1_000"', "not_numeric"),
        ('type = "text"', '"0x10"', "not_numeric"),
        ('type = "text"', '"nan"', "not_finite"),
        ('type = "text"', '""', "missing"),
        ('type = "text"\ndecimal = ","', '"1\u00a0284,55"', 1284.55),
        ('type = "text"\ndecimal = ","', '"1.284,55"', 1284.55),
        ('type = "text"\ndecimal = ","', '"1.28"', "not_numeric"),
        ('type = "flag"', '"ON"', 1.0),
        ('type = "flag"', "false", 0.0),
        ('type = "flag"', "1", 1.0),
        ('type = "flag"', "2", "unknown_code"),
        ('type = "map"\nmap = { idle = 0, busy = 7 }', '"busy"', 7.0),
        ('type = "map"\nmap = { idle = 0 }', '"lost"', "unknown_code"),
        ('type = "map"\nmap = { idle = 0 }\notherwise = 3', '"lost"', 3.0),
        ('type = "map"\nmap = { "2" = 5 }', "2", 5.0),
        ("scale = 0.1\noffset = -40", "523", 12.3),
        ('split = ","\npart = 1', '"1,2.5"', 2.5),
        ('split = ","\npart = 2', '"1,2.5"', "not_numeric"),
    ],
)
def test_the_value_table_of_texts_flags_codes_and_scales(tmp_path, more, raw, outcome):
    decoded = decoder_of(tmp_path, POWER + more + "\n").decode(b'{"w":%b}' % raw.encode(), NOW, False)
    if outcome == "missing":
        assert decoded.missing == 1
    elif isinstance(outcome, str):
        assert [reason for reason, _ in decoded.rejected] == [outcome]
    else:
        assert decoded.values[0][2] == pytest.approx(outcome, rel=1e-15)


# --- limits


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"w":1', "malformed"),
        (b'{"w":1}x', "malformed"),
        (b"\x00\x01", "malformed"),
        (b'{"w":1,"x":"\xff"}', "encoding"),
        (b'{"w":1,"w":2}', "duplicate_key"),
        (b'{"w":1,"x":{"a":1,"a":2}}', "duplicate_key"),
        (b'{"w":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "depth"),
        (b'{"w":1,"x":' + b"[" * 32 + b"]" * 32 + b"}", "depth"),
        (b'{"w":1,' + b",".join(b'"k%d":1' % i for i in range(1000)) + b"}", "keys"),
        (b'{"w":1,"x":"' + b"x" * (256 << 10) + b'"}', "size"),
        (b'"\\' * 100_000, "malformed"),
        (b"[1,2]", "nothing_mapped"),
        (b"12", "nothing_mapped"),
        (b'{"W":1}', "nothing_mapped"),
    ],
)
def test_a_payload_beyond_the_limits_is_rejected_by_name_also_after_good_ones(tmp_path, payload, reason):
    decoder = decoder_of(tmp_path, POWER)
    for _ in range(2):
        decoder.decode(b'{"w":1}', NOW, False)
        with pytest.raises(Rejected) as refusal:
            decoder.decode(payload, NOW, False)
        assert refusal.value.reason == reason


def test_a_bracket_or_quote_inside_a_text_is_no_depth_and_no_key(tmp_path):
    payload = json.dumps({"w": 1, "note": "[[[[" * 30 + '"w":2,' * 5}).encode()
    for _ in range(2):
        assert decoder_of(tmp_path, POWER).decode(payload, NOW, False).values == [(0, NOW, 1.0, False)]


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_give_values_or_a_reason_and_nothing_else(payload):
    for name in ("plain_json", "tasmota", "owntracks", "ovms_v3", "shelly_gen2_em", "emqx_gbt32960"):
        for decoder in list(decoders(name).values())[:2]:
            try:
                decoded = decoder.decode(payload, NOW, False)
            except Rejected:
                continue
            assert all(math.isfinite(value) for _, _, value, _ in decoded.values)


documents = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**25), 10**25) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["w", "w2", "kwh", "v", "ts", "ENERGY", "é", 'a"b']), inner, max_size=5)
    ),
    max_leaves=8,
)


@given(st.lists(documents, min_size=1, max_size=4))
@settings(max_examples=200)
def test_the_fast_way_gives_what_the_careful_way_gives(several):
    several = [{**document, "w": 3} if isinstance(document, dict) else {"w": document} for document in several]
    for name in ("plain_json", "tasmota"):
        fast = next(iter(decoders(name).values()))
        for document in several + several:
            payload = json.dumps(document if name == "plain_json" else {"ENERGY": {"Power": 1}, **document}).encode()
            results = []
            for decoder in (fast, next(iter(decoders(name).values()))):
                try:
                    results.append(decoder.decode(payload, NOW, False))
                except Rejected as refusal:
                    results.append(refusal.reason)
            assert results[0] == results[1]


def test_keys_that_differ_in_digits_only_are_never_mistaken_for_each_other(tmp_path):
    text = POWER.replace('"w"', '"k1"') + POWER.replace('"w"', '"k22"').replace(
        '"active_power"', '"active_power"\nphase = "l1"'
    )
    decoder = decoder_of(tmp_path, text)
    for _ in range(3):
        assert decoder.decode(b'{"k1":1.0}', NOW, False).values == [(0, NOW, 1.0, False)]
        assert decoder.decode(b'{"k22":2}', NOW, False).values == [(1, NOW, 2.0, False)]
        with pytest.raises(Rejected, match="nothing_mapped"):
            decoder.decode(b'{"k333":2}', NOW, False)


# --- both ways


@pytest.mark.parametrize("name", sorted(PROFILES))
@given(data=st.data())
@settings(max_examples=15)
def test_what_is_encoded_is_decoded_again_to_one_count(name, data):
    profile = PROFILES[name]
    at = data.draw(st.integers(to_us(datetime(2025, 1, 1, tzinfo=UTC)) // SECOND_US, NOW // SECOND_US)) * SECOND_US
    values = {}
    for field in profile.fields:
        of = QUANTITIES[field.quantity]
        low, high = max(of.lowest, -1000.0), min(of.highest, 100_000.0)
        if field.type in ("flag", "map"):
            values[field.quantity, field.phase] = float(data.draw(st.sampled_from([0, 1])))
        else:
            values[field.quantity, field.phase] = data.draw(st.floats(low, high).map(lambda x: round(x, 3)))
    got = {}
    found = decoders(name)
    for topic, payload in encode_messages(profile, "base", values, at, timezone="Asia/Shanghai"):
        decoded = found[topic].decode(payload, at, False)
        assert decoded.rejected == []
        assert decoded.missing == 0
        for slot, observed_at, value, _ in decoded.values:
            assert observed_at == at
            got[found[topic].slots[slot]] = value
    assert got.keys() == values.keys()
    for field in profile.fields:
        count = abs(field.numerator / field.denominator) * 10.0 ** -(9 if field.decimals is None else field.decimals)
        wanted = values[field.quantity, field.phase]
        assert got[field.quantity, field.phase] == pytest.approx(wanted, abs=count * 0.51 + 1e-6, rel=1e-12)


def test_a_topic_that_carries_none_of_the_values_is_not_encoded():
    with pytest.raises(ExplainedError, match="carries none of the values"):
        encode_payload(PROFILES["plain_json"], "{base}", {("odometer", "total"): 1.0}, NOW)


# --- paths


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", {"a": {"b": [1, {"k": "x", "v": 2}], "c.d": 3}}),
        ("a.b[0]", 1),
        ("a.b[1].v", 2),
        ("a.b[k=x].v", 2),
        ("a.b[k=y].v", ABSENT),
        ("a.b[7]", ABSENT),
        ('a."c.d"', 3),
        ("a.b.c", ABSENT),
    ],
)
def test_a_path_leads_to_its_value(path, expected):
    document = {"a": {"b": [1, {"k": "x", "v": 2}], "c.d": 3}}
    assert find(document, parse_path(path)) == expected


@pytest.mark.parametrize("path", [".", "a.", "a..b", "a[", "a[x]", "[0", 'a."b'])
def test_a_path_that_cannot_be_read_is_refused(path):
    with pytest.raises(ValueError):
        parse_path(path)


@pytest.mark.parametrize("path", ["a", "a.b[2].c", "x[Type=Vehicle].Speed", "[1][1]"])
def test_what_is_placed_is_found(path):
    steps = parse_path(path)
    assert find(json.loads(json.dumps(place(ABSENT, steps, 7))), steps) == 7


def test_the_kind_of_decoder_follows_from_the_profile():
    assert isinstance(decoders("plain_json")["base"], FlatDecoder)
    assert isinstance(decoders("tasmota")["base/SENSOR"], FlatDecoder)
    assert isinstance(decoders("plain_scalar")["base/power"], BareDecoder)


def test_a_json_document_is_read_within_limits_whatever_the_decoder():
    assert read_json(b'{"a":[1,2.5,"x"]}') == {"a": [1, 2.5, "x"]}
