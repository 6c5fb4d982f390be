"""Words to values and back."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.blocks import plan_blocks
from devices.codec import (
    BlockDecoder,
    byte_order,
    decode,
    decode_text,
    encode,
    encode_text,
    payload_of,
)
from devices.decoded import Rejected
from devices.registers import ORDERS, WORDS, Constant, DeviceProfile, RegisterSpec, TextSpec, modbus_profile

CODE = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}


def a_profile(*registers, **more):
    return DeviceProfile("mine", 1, "M", "X", "a paper", "ours", tuple(registers), **more)


def a_register(type_, quantity="active_power", unit="W", **more):
    more = {"phase": "total", "table": "holding", "address": 7, **more}
    return RegisterSpec(quantity=quantity, type=type_, unit=unit, words=WORDS.get(type_, 1), **more)


@pytest.mark.parametrize(
    ("order", "wire"),
    [
        ("ABCD", "0102030405060708"),
        ("CDAB", "0708050603040102"),
        ("BADC", "0201040306050807"),
        ("DCBA", "0807060504030201"),
    ],
)
def test_the_four_orders_of_a_64_bit_number_are_those_of_the_field(order, wire):
    profile = a_profile(a_register("u64", "active_energy_import", "Wh", order=order))
    words = encode(profile, {("active_energy_import", "total"): 0x0102030405060708 / 1000})
    payload = payload_of(plan_blocks(profile)[0], words)
    assert bytes(payload[i] for i in byte_order(order, 4))[:6].hex() == "010203040506"
    assert payload.hex()[:2] == wire[:2] or order in ("CDAB", "DCBA")  # the lowest digits are beyond a float's


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("type_", sorted(WORDS))
@settings(max_examples=40, deadline=None)
@given(data=st.data(), scale=st.sampled_from([1.0, 0.1, 0.01, 0.001, 10.0, -1.0]))
def test_decoding_undoes_encoding_to_one_count(type_, order, data, scale):
    bits = 16 * WORDS[type_]
    if type_.startswith("f"):
        raw = data.draw(st.floats(-1e6, 1e6, width=32 if type_ == "f32" else 64))
    elif type_.startswith("u"):
        raw = data.draw(st.integers(0, min((1 << bits) - 1, 10**8)))
    else:
        raw = data.draw(st.integers(max(-(1 << bits - 1), -(10**8)), min((1 << bits - 1) - 1, 10**8)))
    profile = a_profile(a_register(type_, order=order, scale=scale))
    big = struct.pack(f">{CODE[type_]}", raw)
    wire = bytearray(len(big))
    for i, place in enumerate(byte_order(order, WORDS[type_])):
        wire[place] = big[i]
    words = {("holding", 7 + i): wire[2 * i] << 8 | wire[2 * i + 1] for i in range(WORDS[type_])}
    values, everything = decode(profile, words)
    assert not everything.missing and not everything.rejected
    assert math.isclose(values["active_power", "total"], raw * scale, rel_tol=1e-12, abs_tol=1e-12)
    again, _ = decode(profile, encode(profile, values))
    assert math.isclose(
        again["active_power", "total"], raw * scale, rel_tol=1e-6 if type_ == "f32" else 1e-12, abs_tol=1e-12
    )
    if not type_.startswith("f"):
        assert encode(profile, values) == words


@settings(max_examples=60, deadline=None)
@given(value=st.floats(-1e308, 1e308) | st.just(math.nan) | st.just(math.inf), type_=st.sampled_from(["f32", "f64"]))
def test_no_decoded_value_is_ever_infinite_or_not_a_number(value, type_):
    try:
        raw = struct.pack(f">{CODE[type_]}", value)
    except OverflowError:
        raw = struct.pack(">f", math.inf)
    profile = a_profile(a_register(type_), a_register(type_, phase="l1", address=20, scale=1e300))
    block = plan_blocks(a_profile(*profile.registers, max_words=WORDS[type_]))
    for part in block:
        decoded = BlockDecoder(profile, part).decode(raw, 0)
        assert len(decoded.values) + decoded.missing + len(decoded.rejected) == 1
        assert all(math.isfinite(row[2]) and abs(row[2]) <= 1e9 for row in decoded.values)


@pytest.mark.parametrize(
    ("type_", "pattern"), [("u16", 0xFFFF), ("i16", 0x8000), ("u32", 0xFFFFFFFF), ("f32", 0x7F7FFFFF)]
)
def test_a_sentinel_is_missing_and_never_a_number(type_, pattern):
    profile = a_profile(a_register(type_, invalid=(pattern,)))
    words = encode(profile, {})
    assert int.from_bytes(payload_of(plan_blocks(profile)[0], words), "big") == pattern
    values, everything = decode(profile, words)
    assert values == {} and everything.missing == 1 and everything.rejected == []


@settings(max_examples=60, deadline=None)
@given(payload=st.binary(max_size=130))
def test_only_a_reply_of_the_exact_length_is_decoded_and_nothing_else_is_raised(payload):
    profile = modbus_profile("eastron_sdm630")
    block = plan_blocks(profile)[0]
    decoder = BlockDecoder(profile, block)
    if len(payload) == block.size:
        decoded = decoder.decode(payload, 5)
        assert len(decoded.values) + decoded.missing + len(decoded.rejected) == len(decoder.slots)
    else:
        with pytest.raises(Rejected) as refused:
            decoder.decode(payload, 5)
        assert refused.value.reason == ("short" if len(payload) < block.size else "long")


def test_values_carry_the_time_they_were_received_and_the_profile_its_version():
    profile = a_profile(a_register("u16"))
    decoder = BlockDecoder(profile, plan_blocks(profile)[0])
    assert decoder.decode(b"\x00\x05", 1_700_000_000_000_000).values == [(0, 1_700_000_000_000_000, 5.0, False)]
    assert (decoder.profile, decoder.slots) == ("mine@1", (("active_power", "total"),))


def test_a_reply_whose_constant_register_is_wrong_is_another_devices():
    profile = a_profile(a_register("u16"), constants=(Constant("holding", 6, 203),))
    (block,) = plan_blocks(profile)
    decoder = BlockDecoder(profile, block)
    assert decoder.decode(b"\x00\xcb\x00\x05", 0).values[0][2] == 5.0
    with pytest.raises(Rejected, match="holding 6 is 1, not 203"):
        decoder.decode(b"\x00\x01\x00\x05", 0)


def test_bit_fields_share_a_register_and_keep_to_their_bits():
    profile = a_profile(
        a_register("bits", "charging", "1", bit=3, bits=1), a_register("bits", "relative_humidity", "%", bit=8, bits=7)
    )
    values = {("charging", "total"): 1.0, ("relative_humidity", "total"): 55.0}
    words = encode(profile, values)
    assert words == {("holding", 7): 55 << 8 | 1 << 3}
    assert decode(profile, words)[0] == values


def test_coils_and_discrete_inputs_are_single_bits():
    registers = [a_register("bit", "charging", "1", table="discrete", address=11)]
    registers.append(a_register("bit", "engine_on", "1", table="discrete", address=20))
    profile = a_profile(*registers)
    (block,) = plan_blocks(profile)
    assert (block.address, block.count, block.size) == (11, 10, 2)
    words = encode(profile, {("charging", "total"): 0.0, ("engine_on", "total"): 1.0})
    assert payload_of(block, words) == b"\x00\x02"
    assert decode(profile, words)[0] == {("charging", "total"): 0.0, ("engine_on", "total"): 1.0}


def test_a_scale_register_that_changes_changes_the_next_value():
    profile = modbus_profile("sunspec_meter_203")
    words = encode(profile, {("active_power", "total"): -4320.0})
    words["holding", 18], words["holding", 22] = 0xEF1F, 0xFFFF
    assert decode(profile, words)[0]["active_power", "total"] == -432.1
    words["holding", 22] = 2
    assert decode(profile, words)[0]["active_power", "total"] == -432100.0


def test_counters_wrap_at_their_declared_width_and_at_their_registers():
    declared = a_register("u32", "water_volume", "l", rollover=1000.0)
    assert encode(a_profile(declared), {("water_volume", "total"): 1000.5})["holding", 8] == 500
    bare = a_register("u16", "water_volume", "l")
    assert encode(a_profile(bare), {("water_volume", "total"): 65.537})["holding", 7] == 1


def test_a_gauge_that_does_not_fit_its_register_is_refused_by_name():
    with pytest.raises(ValueError, match="active_power/total of 40000 does not fit i16"):
        encode(a_profile(a_register("i16")), {("active_power", "total"): 40_000.0})


def test_a_text_is_read_without_its_padding():
    spec = TextSpec("serial_number", "holding", 50, 4)
    words = encode_text(spec, "A1-7")
    assert decode_text(spec, [words["holding", 50 + i] for i in range(4)]) == "A1-7"
    assert decode_text(spec, [0xFF41, 0x2020, 0, 0x4242]) == "A"


@pytest.mark.parametrize(
    "name", ["schneider_iem3155", "siemens_pac3200", "abb_b24", "sunspec_meter_203", "gavazzi_em24"]
)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_simulated_device_says_what_it_was_given_to_one_count(name, seed):
    import random

    draw = random.Random(seed)
    profile = modbus_profile(name)
    given_values = {
        slot: draw.uniform(-0.99, 0.99) if slot[0] == "power_factor" else draw.uniform(0, 300) for slot in profile.slots
    }
    got, everything = decode(profile, encode(profile, given_values))
    assert not everything.rejected and not everything.missing
    for slot, spec in zip(profile.slots, profile.registers, strict=True):
        count = {"kW": 1000, "Wh": 0.001, "percent": 0.01}.get(spec.unit, 1) * abs(spec.scale) * 10**spec.exponent
        tick = 1e-6 * abs(given_values[slot]) if spec.type.startswith("f") else 0.501 * count
        assert abs(got[slot] - given_values[slot]) <= tick + 1e-9, slot
