"""Power to counters: what a meter's registers can hold, and the course inside a quarter hour.

Counters are floored to the register's count and wrap at its limit; gauges are rounded. Float registers
lose resolution as they grow, exactly as the real ones do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from devices.payload.profile import Field, load_mqtt_profile, mqtt_profiles
from devices.registers import RegisterSpec, modbus_profile
from devices.units import conversion
from metering.quantity import QUANTITIES, Kind
from simulators.grid import Array

_INTEGER = {"u16": 2**16, "i16": 2**15, "u32": 2**32, "i32": 2**31, "u64": 2**64, "i64": 2**63}
# Decimals of what is told by MQTT, where no register sets them.
DECIMALS = {
    "active_energy_import": 3, "active_energy_export": 3, "active_power": 1, "water_volume": 3, "gas_volume": 3,
    "gas_energy": 3, "heat_energy": 0, "heat_power": 0, "outdoor_temperature": 1, "relative_humidity": 0,
    "global_irradiance": 0, "flow_temperature": 1, "return_temperature": 1, "odometer": 1, "state_of_charge": 0,
    "fuel_level": 1, "charge_energy": 2, "fuel_used": 1, "traction_energy_used": 2, "traction_energy_recovered": 2,
    "latitude": 5, "longitude": 5, "battery_level": 0, "charging": 0, "engine_on": 0, "battery_power": 0, "speed": 1,
    "voltage": 1, "current": 3, "apparent_power": 1, "heat_volume": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Register:
    """What one register can hold.

    Attributes
    ----------
    step : the value of one count [the quantity's unit]
    limit : where it wraps to zero [the quantity's unit]; inf where it never does
    single : it is an f32: 24 bits of value
    counter : floored, never rounded up
    """

    step: float
    limit: float = math.inf
    single: bool = False
    counter: bool = False

    def hold(self, value: Array) -> Array:
        """The values as the register holds them."""
        if self.single:
            return np.asarray(np.float32(np.asarray(value) / self.step).astype(np.float64) * self.step + 0.0)
        counts = np.floor(value / self.step + 1e-6) if self.counter else np.rint(value / self.step)
        if self.counter and math.isfinite(self.limit):
            counts = counts % round(self.limit / self.step)
        per = round(1 / self.step) if self.step < 1 else 0
        held = counts / per if per and abs(per * self.step - 1) < 1e-9 else counts * self.step
        return np.asarray(held + 0.0)  # no -0.0


def _register(spec: RegisterSpec) -> Register:
    numerator, denominator, _ = conversion(spec.quantity, spec.unit, "")
    scale = abs(spec.scale) * 10.0**spec.exponent * numerator / denominator
    counter = QUANTITIES[spec.quantity].kind is Kind.COUNTER
    if spec.type == "f32":
        return Register(scale, single=True, counter=counter)
    if spec.type == "f64":
        return Register(scale * 1e-3, counter=counter)
    width = _INTEGER.get(spec.type, 2**spec.bits)
    return Register(scale, spec.rollover or width * scale, counter=counter)


def _told(field: Field) -> Register:
    """What a payload's field holds: its own decimals, else the usual ones of its quantity."""
    counter = QUANTITIES[field.quantity].kind is Kind.COUNTER
    if field.decimals is None:
        return Register(10.0 ** -DECIMALS.get(field.quantity, 2), counter=counter)
    return Register(10.0**-field.decimals * abs(field.numerator / field.denominator), counter=counter)


@lru_cache(maxsize=512)
def registers(profile_id: str) -> Mapping[tuple[str, str], Register]:
    """What a profile's device can say, and how finely, by (quantity, phase).

    Raises
    ------
    ExplainedError
        If there is no such profile.
    """
    paths = mqtt_profiles()
    if profile_id in paths:
        return {(field.quantity, field.phase): _told(field) for field in load_mqtt_profile(paths[profile_id]).fields}
    return {spec.slot: _register(spec) for spec in modbus_profile(profile_id).registers}


GOLDEN_ANGLE = 2.399963  # [rad]: no two steps begin alike
BEND = 0.35  # most that an edge may differ from its step's mean: a real load jumps rather than overshoots


def corners(before: Array, here: Array, after: Array) -> tuple[Array, Array, Array]:
    """The flow at a step's start, middle and end, such that the line through them has the step's mean.

    An edge leans towards the mean with its neighbour, by at most BEND; so nothing falls below zero.

    Parameters
    ----------
    before, here, after : float64 (m,), mean flow of three successive steps, not negative
    """
    most = BEND * here
    start = here + np.clip((before - here) / 2, -most, most)
    end = here + np.clip((after - here) / 2, -most, most)
    return start, 2 * here - (start + end) / 2, end


def within(before: Array, here: Array, after: Array, share: float, wave: Array, step: int) -> tuple[Array, Array]:
    """The course inside one step, so that its mean is exactly the step's own.

    The line of `corners`; on it rides a ripple of whole waves, which adds nothing over the step.

    Parameters
    ----------
    before, here, after : float64 (m,), mean flow of three successive steps, not negative
    share : how much of the step has passed [1]
    wave : float64 (m,), phase of the ripple [rad]
    step : the step's number: the ripple is another one in each

    Returns
    -------
    now, passed : float64 (m,) each: the flow at that instant, and its mean over the passed part times `share`
    """
    start, middle, end = corners(before, here, after)
    if share < 0.5:
        now = start + (middle - start) * 2 * share
        passed = start * share + (middle - start) * share**2
    else:
        rest = share - 0.5
        now = middle + (end - middle) * 2 * rest
        passed = (start + middle) / 4 + middle * rest + (end - middle) * rest**2
    least = np.minimum(np.minimum(start, middle), end)
    begin = wave + GOLDEN_ANGLE * step
    for part, waves in ((0.022, 2 + step % 3), (0.026, 7 + step * 5 % 11), (0.018, 29 + step * 7 % 19)):
        height, turn = part * least, 2 * np.pi * waves
        now = now + height * np.sin(turn * share + waves * begin)
        passed = passed - height / turn * (np.cos(turn * share + waves * begin) - np.cos(waves * begin))
    return now, passed


PHASES = ("l1", "l2", "l3")


def electrical(power_w: float, seconds: float, wave: float, single_phase: bool) -> dict[tuple[str, str], float]:
    """Voltages, currents and their kin that go with a power, by (quantity, phase).

    Parameters
    ----------
    power_w : total active power, positive into the load [W]
    seconds : any running clock, for the slow sway of the grid [s]
    wave : a phase of its own for each meter [rad]
    """
    volts = 229.5 + 3.2 * math.sin(seconds / 5400 + wave) + 0.7 * math.sin(seconds / 91 + 2 * wave)
    factor = 0.95 + 0.035 * math.sin(seconds / 3100 + wave)
    lead = math.tan(math.acos(factor))
    out = {
        ("frequency", "total"): 50.0 + 0.018 * math.sin(seconds / 37) + 0.01 * math.sin(seconds / 11),
        ("power_factor", "total"): math.copysign(factor, power_w) if power_w else 1.0,
        ("active_power", "total"): power_w,
        ("reactive_power", "total"): power_w * lead,
        ("apparent_power", "total"): abs(power_w) / factor,
    }
    parts = (1.0,) if single_phase else (0.345, 0.331, 0.324)
    current = 0.0
    for phase, part, shift in zip(PHASES, parts, (0.0, 0.6, -0.5), strict=False):
        amperes = abs(power_w) * part / factor / (volts + shift)
        current += amperes
        out |= {
            ("voltage", phase): volts + shift,
            ("line_voltage", phase): (volts + shift) * math.sqrt(3),
            ("current", phase): amperes,
            ("active_power", phase): power_w * part,
            ("reactive_power", phase): power_w * part * lead,
            ("apparent_power", phase): abs(power_w) * part / factor,
            ("power_factor", phase): math.copysign(factor, power_w) if power_w else 1.0,
        }
    out |= {
        ("voltage", "total"): volts,
        ("line_voltage", "total"): volts * math.sqrt(3),
        ("current", "total"): current,
        ("current", "n"): 0.04 * current,
    }
    return out
