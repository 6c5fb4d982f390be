"""Modbus words to values and back: pure, and each undoes the other to one count."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from devices.blocks import Block, plan_blocks
from devices.decoded import Decoded, Glance, Rejected
from devices.registers import BIT_TABLES, DeviceProfile, RegisterSpec, TextSpec
from devices.units import conversion
from metering.quantity import QUANTITIES, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

Words = dict[tuple[str, int], int]  # (table, address) -> one register, or one bit of coil and discrete
_FORMAT = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_NUMPY = {"H": "u2", "h": "i2", "I": "u4", "i": "i4", "Q": "u8", "q": "i8", "f": "f4", "d": "f8"}
_FLOATS = frozenset({"f32", "f64"})
_NAN = {2: 0x7FC00000, 4: 0x7FF8000000000000}  # quiet NaN by width in words
_SF_NONE = -0x8000  # a SunSpec scale factor that is not implemented


def _schneider_power_factor(raw: float) -> float:
    """|raw| up to 1 is the value; beyond, the value is folded back [Schneider DOCA0005EN-04, page 109]."""
    return raw if -1.0 <= raw <= 1.0 else 2.0 - raw if raw > 1.0 else -2.0 - raw


_TRANSFORM: dict[str, Callable[[float], float]] = {"schneider_power_factor": _schneider_power_factor}


def byte_order(order: str, words: int) -> tuple[int, ...]:
    """Where each byte of the big-endian number stands on the wire, for a value of `words` registers."""
    size = 2 * words
    if order == "DCBA":
        return tuple(range(size - 1, -1, -1))
    if order == "BADC":
        return tuple(i ^ 1 for i in range(size))
    if order == "CDAB":
        return tuple(2 * (words - 1 - i // 2) + i % 2 for i in range(size))
    return tuple(range(size))


@lru_cache(maxsize=8192)
def _factor(spec: RegisterSpec) -> tuple[int, int, float]:
    """value [quantity's unit] = raw x numerator / denominator + offset, with whole numbers: 0.1 is 1/10 exactly."""
    numerator, denominator, offset = conversion(spec.quantity, spec.unit, spec.quantity)
    factor = Fraction(str(spec.scale)) * numerator / denominator
    return factor.numerator, factor.denominator, offset


def _code(spec: RegisterSpec) -> str:
    return _FORMAT.get(spec.type) or {1: "H", 2: "I", 4: "Q"}[spec.words]


def _sentinels(spec: RegisterSpec) -> frozenset[float]:
    """The invalid patterns as the numbers that unpacking gives."""
    code, size = _code(spec), 2 * spec.words
    return frozenset(struct.unpack(f">{code}", pattern.to_bytes(size, "big"))[0] for pattern in spec.invalid)


class BlockForm:
    """A block whose values are plain numbers of registers of their own; see `devices.decoded.Form`."""

    missing = 0

    def __init__(self, block: Block) -> None:
        specs = block.registers
        self.slots = np.arange(len(specs), dtype=np.int32)
        self._size = block.size
        picks = [2 * (s.address - block.address) + at for s in specs for at in byte_order(s.order, s.words)]
        self._picks = np.array(picks, np.int64)
        kinds = [f">{_NUMPY[_code(spec)]}" for spec in specs]
        self._layout = np.dtype([(f"f{i}", kind) for i, kind in enumerate(kinds)])
        alike = len(set(kinds)) == 1
        self._kind = kinds[0] if alike else None
        factors = [_factor(spec) for spec in specs]
        self._numerator = np.array([float(numerator) for numerator, _, _ in factors])
        self._denominator = np.array([float(denominator) for _, denominator, _ in factors])
        of = [QUANTITIES[spec.quantity] for spec in specs]
        self._lowest, self._highest = np.array([q.lowest for q in of]), np.array([q.highest for q in of])
        # whole numbers beyond this are not exact as doubles when multiplied: for `decode`
        self._most = np.array([np.inf if s.type in _FLOATS else 2.0**53 for s in specs]) / self._numerator
        self._invalid = [(i, list(_sentinels(spec))) for i, spec in enumerate(specs) if spec.invalid]
        self._constants = [(2 * (c.address - block.address), c.value) for c in block.constants]

    def read(self, raws: Sequence[bytes]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Of n replies of the block's size: the values, and which replies hold nothing but good ones."""
        octets = np.frombuffer(b"".join(raws), np.uint8).reshape(len(raws), self._size)
        picked = np.ascontiguousarray(octets[:, self._picks])
        if self._kind is not None:
            counts = picked.view(self._kind).astype(np.float64)
        else:
            columns = picked.view(self._layout)[:, 0]
            counts = np.stack([columns[name].astype(np.float64) for name in self._layout.names or ()], axis=1)
        with np.errstate(invalid="ignore", over="ignore"):
            values = counts * self._numerator / self._denominator
            good = ((values >= self._lowest) & (values <= self._highest) & (np.abs(counts) <= self._most)).all(axis=1)
        for i, sentinels in self._invalid:
            good &= ~np.isin(counts[:, i], sentinels)
        for at, wanted in self._constants:
            good &= octets[:, at].astype(np.uint16) << 8 | octets[:, at + 1] == wanted
        return values, good


@lru_cache(maxsize=4096)
def block_form(block: Block) -> BlockForm | None:
    """The form of a block, one for all devices of a model; None if a value of it is more than a scaled number."""
    plain = block.table not in BIT_TABLES and not any(
        s.plus or s.scale_from is not None or s.transform or s.type == "bits" or _factor(s)[2] for s in block.registers
    )
    return BlockForm(block) if plain and block.registers else None


class BlockDecoder:
    """Decodes the raw words of one block, as received, big endian. Made once, used for each poll.

    Attributes
    ----------
    slots : (quantity, phase) of each value
    profile : id and version
    """

    def __init__(self, profile: DeviceProfile, block: Block) -> None:
        self.profile = profile.name
        self.block = block
        self.slots = tuple(spec.slot for spec in block.registers)
        self._size = block.size
        self._bits = block.table in BIT_TABLES
        places = [(c.address, 1, "H", "ABCD") for c in block.constants]
        for spec in block.registers if not self._bits else ():
            places += [(address, spec.words, _code(spec), spec.order) for address in (spec.address, *spec.plus)]
            places += [] if spec.scale_from is None else [(spec.scale_from, 1, "h", "ABCD")]
        self._unpack, where = _unpacker(sorted(set(places)), block)
        self._constants = tuple((where[c.address, 1, "H", "ABCD"], c.value, c.address) for c in block.constants)
        self._scales = [_factor(spec) for spec in block.registers]
        self._invalid = [_sentinels(spec) for spec in block.registers]
        # floats in the quantity's own unit: (index of the raw value, slot, lowest, highest)
        self._bare: list[tuple[int, int, float, float]] = []
        # (index of the raw value, slot, numerator, denominator, lowest, highest, sentinels)
        self._scaled: list[tuple[int, int, int, int, float, float, frozenset[float]]] = []
        # (slot, register, indexes of the raw values to add, index of the scale factor or -1)
        self._special: list[tuple[int, RegisterSpec, tuple[int, ...], int]] = []
        for slot, spec in enumerate(block.registers if not self._bits else ()):
            code = _code(spec)
            indexes = tuple(where[address, spec.words, code, spec.order] for address in (spec.address, *spec.plus))
            numerator, denominator, offset = self._scales[slot]
            if spec.plus or spec.scale_from is not None or spec.transform or spec.type == "bits" or offset:
                scale = -1 if spec.scale_from is None else where[spec.scale_from, 1, "h", "ABCD"]
                self._special.append((slot, spec, indexes, scale))
                continue
            lowest, highest = QUANTITIES[spec.quantity].lowest, QUANTITIES[spec.quantity].highest
            if spec.type in _FLOATS and numerator == denominator and not spec.invalid:
                self._bare.append((indexes[0], slot, lowest, highest))
            else:
                self._scaled.append((indexes[0], slot, numerator, denominator, lowest, highest, self._invalid[slot]))
        self._usual = len(self._bare) + len(self._scaled)
        self._form = block_form(block)

    def glance(self, payload: bytes, received_at: int) -> Glance | None:
        """The fast way to read a block, if it has one; see `devices.decoded.Decoder.glance`."""
        return (self._form, payload, received_at) if self._form and len(payload) == self._size else None

    def decode(self, payload: bytes, received_at: int, retained: bool = False) -> Decoded:
        """Decode one block; Modbus has no clock, so values are observed when they were received.

        Raises
        ------
        Rejected
            "short" or "long": the payload has not the size that was asked for;
            "constant": a register that never changes does, so the reply is another device's.
        """
        if len(payload) != self._size:
            raise Rejected(
                "short" if len(payload) < self._size else "long",
                f"{self.block.table} {self.block.address} has {len(payload)} bytes, not {self._size}",
            )
        if self._bits:
            return self._decode_bits(payload, received_at)
        raw = self._unpack(payload)
        for index, wanted, address in self._constants:
            if raw[index] != wanted:
                raise Rejected("constant", f"{self.block.table} {address} is {raw[index]}, not {wanted}")
        values = [
            (slot, received_at, value, False)
            for index, slot, lowest, highest in self._bare
            if lowest <= (value := raw[index]) <= highest
        ]
        values += [
            (slot, received_at, value, False)
            for index, slot, numerator, denominator, lowest, highest, invalid in self._scaled
            if (count := raw[index]) not in invalid and lowest <= (value := count * numerator / denominator) <= highest
        ]
        missing = 0
        rejected: list[tuple[str, str]] = []
        if len(values) < self._usual:
            missing, rejected = self._explain(raw, {row[0] for row in values})
        for slot, spec, indexes, scale in self._special:
            counts = [raw[i] for i in indexes]
            exponent = raw[scale] if scale >= 0 else 0
            invalid = self._invalid[slot]
            if exponent == _SF_NONE or any(count in invalid or count - count != 0 for count in counts):
                missing += 1
            elif not -10 <= exponent <= 10:
                rejected.append(("scale", f"{spec.quantity}/{spec.phase}: its scale register says 10^{exponent}"))
            else:
                value = self._value(slot, spec, sum(counts), exponent)
                quantity = QUANTITIES[spec.quantity]
                if quantity.lowest <= value <= quantity.highest:
                    values.append((slot, received_at, value, False))
                else:
                    rejected.append(("range", self._range(slot, value)))
        return Decoded(values, missing, rejected)

    def _explain(self, raw: tuple[Any, ...], good: set[int]) -> tuple[int, list[tuple[str, str]]]:
        """What became of the values that are not good: how many are missing, and which are refused."""
        missing, rejected = 0, []
        rows = [(index, slot, 1, 1, frozenset[float]()) for index, slot, _, _ in self._bare]
        rows += [(index, slot, n, d, invalid) for index, slot, n, d, _, _, invalid in self._scaled]
        for index, slot, numerator, denominator, invalid in rows:
            count = raw[index]
            if slot in good:
                continue
            if count in invalid or count - count != 0:  # a sentinel; NaN or infinite
                missing += 1
            else:
                rejected.append(("range", self._range(slot, count * numerator / denominator)))
        return missing, rejected

    def _value(self, slot: int, spec: RegisterSpec, count: Any, exponent: int) -> float:
        numerator, denominator, offset = self._scales[slot]
        if spec.type == "bits":
            count = count >> spec.bit & ((1 << spec.bits) - 1)
        if spec.transform:
            count = _TRANSFORM[spec.transform](count)
        if exponent > 0:
            numerator *= 10**exponent
        elif exponent < 0:
            denominator *= 10**-exponent
        return float(count * numerator / denominator + offset)

    def _decode_bits(self, payload: bytes, received_at: int) -> Decoded:
        values, rejected = [], []
        for slot, spec in enumerate(self.block.registers):
            place = spec.address - self.block.address
            value = self._value(slot, spec, payload[place // 8] >> place % 8 & 1, 0)
            quantity = QUANTITIES[spec.quantity]
            if quantity.lowest <= value <= quantity.highest:
                values.append((slot, received_at, value, False))
            else:
                rejected.append(("range", self._range(slot, value)))
        return Decoded(values, 0, rejected)

    def _range(self, slot: int, value: float) -> str:
        name, phase = self.slots[slot]
        quantity = QUANTITIES[name]
        unit = "" if quantity.unit == "1" else f" {quantity.unit}"
        return (
            f"{name}/{phase} is {value:g}{unit}, outside {quantity.lowest:g} to {quantity.highest:g}; "
            f"check type and order of {self.block.table} {self.block.registers[slot].address} in {self.profile}"
        )


_Place = tuple[int, int, str, str]  # address, words, struct letter, order


def _unpacker(places: list[_Place], block: Block) -> tuple[Callable[[bytes], tuple[Any, ...]], dict[_Place, int]]:
    """One `struct` call for all raw fields of a block, and the place of each field in its result."""
    picks: list[int] = []
    padded, at = ">", 0
    for address, words, letter, order in places:
        start = 2 * (address - block.address)
        picks.extend(start + i for i in byte_order(order, words))
        padded += f"{start - at}x{letter}" if start >= at else letter
        at = start + 2 * words
    where = {place: i for i, place in enumerate(places)}
    if all(after > before for before, after in pairwise(picks)):
        return struct.Struct(f"{padded}{block.size - at}x").unpack, where
    # some orders are not big endian, or fields share bytes: pick each field's bytes in big-endian order first
    unpack, pick = struct.Struct(">" + "".join(place[2] for place in places)).unpack, itemgetter(*picks)
    return (lambda payload: unpack(bytes(pick(payload)))), where


def decoders(profile: DeviceProfile) -> dict[Block, BlockDecoder]:
    """A decoder for each block that is planned for the profile."""
    return {block: BlockDecoder(profile, block) for block in plan_blocks(profile)}


def payload_of(block: Block, words: Mapping[tuple[str, int], int]) -> bytes:
    """The reply that a device with these registers gives to a block's request; what is not there is 0."""
    cells = [words.get((block.table, address), 0) for address in range(block.address, block.end)]
    if block.table in BIT_TABLES:
        return sum(bit << i for i, bit in enumerate(cells)).to_bytes(block.size, "little")
    return struct.pack(f">{block.count}H", *cells)


def decode(
    profile: DeviceProfile, words: Mapping[tuple[str, int], int]
) -> tuple[dict[tuple[str, str], float], Decoded]:
    """All values whose registers are there whole.

    Returns
    -------
    values : (quantity, phase) -> value [the quantity's unit]
    everything : the same with what is missing and what was rejected; its slots are those of `profile`

    Raises
    ------
    Rejected
        If a constant register is not what the profile says.
    """
    there = [r for r in profile.registers if all((r.table, a) in words for a in _needed(r))]
    slot_of = {slot: i for i, slot in enumerate(profile.slots)}
    everything = Decoded([], 0, [])
    for block in plan_blocks(profile, there):
        decoder = BlockDecoder(profile, block)
        part = decoder.decode(payload_of(block, words), 0)
        rows = [(slot_of[decoder.slots[slot]], at, value, suspect) for slot, at, value, suspect in part.values]
        everything = Decoded(
            everything.values + rows, everything.missing + part.missing, everything.rejected + part.rejected
        )
    return {profile.slots[slot]: value for slot, _, value, _ in everything.values}, everything


def _needed(spec: RegisterSpec) -> Iterable[int]:
    for address in (spec.address, *spec.plus):
        yield from range(address, address + spec.words)
    if spec.scale_from is not None:
        yield spec.scale_from


def encode(profile: DeviceProfile, values: Mapping[tuple[str, str], float | None]) -> Words:
    """The registers of a device that has these values; the way back of `decode`. See `Encoder.encode`."""
    return Encoder(profile).encode(values)


class Encoder:
    """Writes a device's registers. Made once, used for each answer of a simulated device."""

    def __init__(self, profile: DeviceProfile) -> None:
        self._constants: Words = {(c.table, c.address): c.value for c in profile.constants}
        for spec in profile.registers:
            if spec.scale_from is not None:
                self._constants[spec.table, spec.scale_from] = spec.exponent & 0xFFFF
        self._registers = [_Writer(spec) for spec in profile.registers]

    def encode(self, values: Mapping[tuple[str, str], float | None]) -> Words:
        """The registers of a device that has these values.

        A value that is not given or None is written as the profile's sentinel, as NaN in a float, else as 0, like
        the devices do. Counters wrap at their declared width, else at the register's.

        Parameters
        ----------
        values : (quantity, phase) -> value [the quantity's unit]

        Raises
        ------
        ValueError
            If a gauge does not fit its register; names quantity, phase and value.
        """
        words = dict(self._constants)
        for register in self._registers:
            register.write(values.get(register.slot), words)
        return words


class _Writer:
    """Writes one value; everything that does not depend on the value is worked out beforehand."""

    def __init__(self, spec: RegisterSpec) -> None:
        self.slot = spec.slot
        self._spec = spec
        numerator, denominator, self._offset = _factor(spec)
        self._numerator: int = numerator * 10 ** max(0, spec.exponent)
        self._denominator: int = denominator * 10 ** max(0, -spec.exponent)
        self._float = struct.Struct(f">{_FORMAT[spec.type]}") if spec.type in _FLOATS else None
        width = spec.bits if spec.type in ("bits", "bit") else 16 * spec.words
        signed = spec.type.startswith("i")
        self._mask = (1 << width) - 1
        self._low, self._high = (-(1 << (width - 1)), self._mask >> 1) if signed else (0, self._mask)
        # a signed counter wraps before its sign bit; a negative scale turns it, so it counts downwards
        counts = QUANTITIES[spec.quantity].kind is Kind.COUNTER
        self._wrap = (1 << (width - 1 if signed and spec.scale > 0 else width)) if counts else 0
        self._absent = spec.invalid[0] if spec.invalid else _NAN[spec.words] if self._float else 0
        self._places = [self._places_at(address) for address in (spec.address, *spec.plus)]

    def _places_at(self, address: int) -> list[tuple[tuple[str, int], int]]:
        """Each register of the value, and how far its word is from the pattern's low end."""
        n = self._spec.words
        words = range(n) if self._spec.order in ("ABCD", "BADC") else range(n - 1, -1, -1)
        return [((self._spec.table, address + i), 16 * (n - 1 - word)) for i, word in enumerate(words)]

    def write(self, value: float | None, words: Words) -> None:
        """Put the value's words where they belong."""
        absent = value is None or not math.isfinite(value)
        pattern = self._absent if absent else self._pattern(value or 0.0)
        spec = self._spec
        if spec.type == "bits":
            pattern = pattern << spec.bit | self._others(words)
        swapped = spec.order in ("BADC", "DCBA")
        for n, places in enumerate(self._places):
            if n and not absent:
                pattern = 0  # the first of several added registers holds it all
            for place, shift in places:
                word = pattern >> shift & 0xFFFF
                words[place] = word >> 8 | (word & 0xFF) << 8 if swapped else word

    def _others(self, words: Words) -> int:
        """What other fields wrote into the same registers."""
        there = b"".join(words.get(place, 0).to_bytes(2, "big") for place, _ in self._places[0])
        order = byte_order(self._spec.order, self._spec.words)
        before = int.from_bytes(bytes(there[place] for place in order), "big")
        return before & ~(self._mask << self._spec.bit)

    def _pattern(self, value: float) -> int:
        """The raw pattern of a value, as an unsigned number in ABCD order."""
        if self._spec.rollover is not None:
            value %= self._spec.rollover
        count = (value - self._offset) * self._denominator / self._numerator
        if self._float is not None:
            try:
                return int.from_bytes(self._float.pack(count), "big")
            except OverflowError:
                raise self._unfit(value) from None
        whole = round(count)
        if self._wrap:
            whole %= self._wrap
        if not self._low <= whole <= self._high:
            raise self._unfit(value)
        return whole & self._mask

    def _unfit(self, value: float) -> ValueError:
        return ValueError(f"{self._spec.quantity}/{self._spec.phase} of {value:g} does not fit {self._spec.type}")


def decode_text(spec: TextSpec, words: Iterable[int]) -> str:
    """A text register: ASCII, padded with NUL or blanks; characters that cannot be shown are left out."""
    raw = b"".join(word.to_bytes(2, "big") for word in words)[: 2 * spec.words]
    return "".join(c for c in raw.split(b"\0")[0].decode("ascii", "replace") if c.isprintable() and c != "�").strip()


def encode_text(spec: TextSpec, text: str) -> Words:
    """The registers of a text; what is too long is cut."""
    raw = text.encode("ascii", "replace")[: 2 * spec.words].ljust(2 * spec.words, b"\0")
    return {(spec.table, spec.address + i): raw[2 * i] << 8 | raw[2 * i + 1] for i in range(spec.words)}
