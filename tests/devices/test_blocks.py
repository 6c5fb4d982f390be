"""Planning requests."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.blocks import block_key, plan_blocks
from devices.registers import DeviceProfile, RegisterSpec, modbus_profile, modbus_profiles

PHASES = ["total", "l1", "l2", "l3", "n"]
NAMES = ["active_power", "voltage", "current", "frequency", "apparent_power", "reactive_power"]


def a_profile(registers, **more):
    return DeviceProfile("mine", 1, "M", "X", "a paper", "ours", tuple(registers), **more)


@pytest.mark.parametrize("name", sorted(modbus_profiles()))
def test_each_shipped_device_is_read_in_one_to_three_requests(name):
    profile = modbus_profile(name)
    blocks = plan_blocks(profile)
    assert 1 <= len(blocks) <= 3
    assert sorted(r.slot for block in blocks for r in block.registers) == sorted(profile.slots)
    assert all(block.count <= profile.max_words for block in blocks)


@st.composite
def profiles(draw):
    places = draw(st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True))
    illegal = []
    if draw(st.booleans()):
        first = draw(st.integers(0, 400))
        illegal.append(("holding", first, first + draw(st.integers(0, 30))))
    registers = []
    for i, place in enumerate(places):
        words = draw(st.sampled_from([1, 2, 4]))
        if any(place <= high and place + words > low for _, low, high in illegal):
            continue
        type_ = {1: "u16", 2: "f32", 4: "u64"}[words]
        registers.append(
            RegisterSpec(
                NAMES[i // 5], PHASES[i % 5], "holding", place, type_, unit="W", words=words,
                poll=draw(st.sampled_from(["fast", "slow"])),
            )
        )  # fmt: skip
    return a_profile(
        registers,
        max_words=draw(st.integers(4, 125)),
        max_gap=draw(st.integers(0, 125)),
        illegal=tuple(illegal),
        one_value_per_request=draw(st.booleans()),
    )


@settings(max_examples=150, deadline=None)
@given(profile=profiles())
def test_no_value_is_split_lost_or_doubled_and_no_limit_is_broken(profile):
    blocks = plan_blocks(profile)
    read = [r for block in blocks for r in block.registers]
    assert sorted(r.slot for r in read) == sorted(profile.slots)
    for block in blocks:
        assert block.count <= profile.max_words
        for register in block.registers:
            first, end = register.span
            assert block.address <= first and end <= block.end
        for _, low, high in profile.illegal:
            assert not (block.address <= high and block.end > low)
        spans = sorted(r.span for r in block.registers)
        assert block.address == spans[0][0] and block.end == max(end for _, end in spans)
        if profile.one_value_per_request and block.poll == "slow":
            assert len({r.span for r in block.registers}) == 1 or block.count > min(e - f for f, e in spans)
    if not profile.one_value_per_request and not profile.illegal and profile.max_gap == 125:
        spans = [r.span for r in profile.registers if r.poll == "fast"]
        if spans and max(end for _, end in spans) - min(first for first, _ in spans) <= profile.max_words:
            assert len([b for b in blocks if b.poll == "fast"]) == 1


def test_slow_registers_inside_a_fast_block_cost_no_request_of_their_own():
    fast = [RegisterSpec("active_power", "l1", "input", 0, "u16", unit="W")]
    fast.append(RegisterSpec("active_power", "l2", "input", 9, "u16", unit="W"))
    slow = [RegisterSpec("voltage", "l1", "input", 5, "u16", unit="V", poll="slow")]
    slow.append(RegisterSpec("voltage", "l2", "input", 90, "u16", unit="V", poll="slow"))
    blocks = plan_blocks(a_profile(fast + slow))
    assert [(b.address, b.count, b.poll, len(b.registers)) for b in blocks] == [(0, 10, "fast", 3), (90, 1, "slow", 1)]


def test_a_blocks_key_names_device_table_and_address():
    (block,) = plan_blocks(a_profile([RegisterSpec("active_power", "l1", "input", 52, "u16", unit="W")]))
    assert block_key("main-incomer", block) == "main-incomer/input/52"
