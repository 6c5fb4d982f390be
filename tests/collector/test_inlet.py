"""What a broker delivers becomes records: each with a stamp of its own, redeliveries with their first one."""

from collector.mqtt.source import Message
from collector.service import MqttInlet
from storage.record import REPEATED
from storage.spool import Spool


class Door:
    """Takes records as the intake does."""

    def __init__(self):
        self.records = []

    def offer(self, records, acknowledge=None):
        self.records += records


def inlet(folder, clock):
    door, spool = Door(), Spool.open(folder)
    return MqttInlet("b", door, spool, lambda: clock[0], 1000), door


def message(topic, payload, packet_id=0, dup=False):
    return Message(topic, payload, packet_id, 1, dup, False, 1)


def test_messages_of_one_topic_in_one_buffer_are_stamped_one_after_another(tmp_path):
    clock = [1_000_000]
    it, door = inlet(tmp_path, clock)
    it.deliver([message("t/1", b"1"), message("t/2", b"1"), message("t/1", b"2"), message("t/1", b"3")])
    assert [(r.key, r.received_at - clock[0]) for r in door.records] == [("t/1", 0), ("t/2", 0), ("t/1", 1), ("t/1", 2)]


def test_the_next_buffer_is_stamped_later_even_if_it_comes_in_the_same_microsecond(tmp_path):
    clock = [1_000_000]
    it, door = inlet(tmp_path, clock)
    it.deliver([message("t/1", b"%d" % i) for i in range(5)])
    clock[0] += 2
    it.deliver([message("t/1", b"6")])
    stamps = [r.received_at for r in door.records]
    assert stamps == sorted(set(stamps))


def test_a_clock_that_was_set_back_is_followed(tmp_path):
    clock = [10_000_000_000]
    it, door = inlet(tmp_path, clock)
    it.deliver([message("t/1", b"1")])
    clock[0] -= 3_600_000_000
    it.deliver([message("t/1", b"2")])
    assert door.records[1].received_at == clock[0]


def test_a_redelivery_keeps_its_first_stamp(tmp_path):
    clock = [1_000_000]
    it, door = inlet(tmp_path, clock)
    it.source = type("Source", (), {"ack": lambda self, generation, ids: None})()
    it.deliver([message("t/1", b"1", 7), message("t/1", b"2", 8)])
    clock[0] += 500
    it.deliver([message("t/1", b"2", 8, dup=True), message("t/1", b"3", 9)])
    first, second, again, third = door.records
    assert (again.received_at, again.flags & REPEATED) == (second.received_at, REPEATED)
    assert first.received_at < second.received_at < third.received_at
