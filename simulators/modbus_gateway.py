"""A gateway that misbehaves on purpose, for tests and the fault harness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from simulators.modbus_server import RegisterServer, _Connection

MODES = (
    "pass",
    "dead",  # no answer
    "slow",  # answers after `delay_s`
    "late",  # the same, meant to be later than the client waits
    "wrong_tid",  # another transaction number; over RTU, which has none, another unit's
    "wrong_unit",  # another unit's number, the right transaction
    "wrong_function",
    "short",  # one register too few, in a well-formed frame
    "long",  # one register too many
    "cut",  # the frame ends early
    "bad_crc",  # a flipped bit: over RTU in the CRC, over TCP in the protocol number
    "noise",  # bytes that are no frame before a good reply
    "twice",  # the reply comes twice
    "close",  # the connection is closed instead of an answer
    "freeze",  # nothing is answered to anybody, while connections are taken
    "exception N",
)


class FaultyGateway(RegisterServer):
    """A register server whose replies go wrong, unit by unit or as a script says.

    Attributes
    ----------
    script : called as script(unit, n) with the unit's n-th request; gives a mode; overrides `set_mode`
    close_at_once : connections are closed as soon as they are made
    asked : requests by unit; functions : requests by function code; connects : connections made
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, framer: str = "tcp", *, delay_s: float = 0.3) -> None:
        super().__init__(host, port, framer)  # type: ignore[arg-type]
        self.delay_s = delay_s
        self.script: Callable[[int, int], str] | None = None
        self.close_at_once = False
        self.asked: Counter[int] = Counter()
        self.functions: Counter[int] = Counter()
        self.connects = 0
        self._modes: dict[int | None, str] = {}

    def set_mode(self, mode: str, unit: int | None = None) -> None:
        """How a unit (or everybody) is answered from now on.

        Raises
        ------
        ValueError
            If there is no such mode.
        """
        if mode not in MODES and not mode.startswith("exception "):
            raise ValueError(f'mode is "{mode}"; use one of {", ".join(MODES)}')
        self._modes[unit] = mode

    def accepted(self, connection: _Connection) -> None:
        """Take the connection, or close it."""
        super().accepted(connection)
        self.connects += 1
        if self.close_at_once:
            connection.close()

    def answer(self, connection: _Connection, transaction: int, unit: int, pdu: bytes) -> None:
        """Answer as the mode says."""
        self.requests += 1
        self.asked[unit] += 1
        self.functions[pdu[0]] += 1
        mode = self._modes.get(unit, self._modes.get(None, "pass"))
        if self.script is not None:
            mode = self.script(unit, self.asked[unit])
        if self._modes.get(None) == "freeze" or mode in ("dead", "freeze"):
            return
        if mode == "close":
            connection.close()
            return
        reply = self.reply(unit, pdu)
        delay_s = self.delay_s if mode in ("slow", "late") else 0.0
        for frame in self._frames(mode, transaction, unit, reply):
            connection.send(frame, delay_s)

    def _frames(self, mode: str, transaction: int, unit: int, reply: bytes) -> list[bytes]:
        good = self.frame(transaction, unit, reply)
        if mode == "wrong_tid" and self.framer == "tcp":
            return [self.frame(transaction + 1 & 0xFFFF, unit, reply)]
        if mode in ("wrong_unit", "wrong_tid"):
            return [self.frame(transaction, unit + 1 & 0xFF, reply)]
        if mode == "wrong_function":
            return [self.frame(transaction, unit, bytes([reply[0] ^ 7]) + reply[1:])]
        if mode == "short":
            return [self.frame(transaction, unit, bytes([reply[0], reply[1] - 2]) + reply[2:-2])]
        if mode == "long":
            return [self.frame(transaction, unit, bytes([reply[0], reply[1] + 2]) + reply[2:] + b"\0\1")]
        if mode == "cut":
            return [good[:-3]]
        if mode == "bad_crc":
            at = 2 if self.framer == "tcp" else -1
            broken = bytearray(good)
            broken[at] ^= 0x40
            return [bytes(broken)]
        if mode == "noise":
            return [b"\xff\x00\x13", good]
        if mode == "twice":
            return [good, good]
        if mode.startswith("exception "):
            return [self.frame(transaction, unit, bytes([reply[0] | 0x80, int(mode.split()[1])]))]
        return [good]
