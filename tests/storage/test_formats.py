"""The formats of a data folder: newer ones are refused before anything is touched."""

import json

import pytest

from metering.explain import ExplainedError
from storage.formats import FILE, KNOWN, encode, note_formats, refuse_newer


def test_a_folder_of_this_version_passes_and_a_new_one_too(tmp_path):
    refuse_newer(tmp_path)
    note_formats(tmp_path)
    refuse_newer(tmp_path)
    before = (tmp_path / FILE).stat().st_mtime_ns
    note_formats(tmp_path)
    assert (tmp_path / FILE).stat().st_mtime_ns == before, "what is right is not written again"


@pytest.mark.parametrize("part", [*KNOWN, "tariffs"])
def test_a_newer_part_is_refused_by_name_and_with_the_mend(tmp_path, part):
    (tmp_path / FILE).write_bytes(encode({**KNOWN, part: KNOWN.get(part, 0) + 1}))
    with pytest.raises(ExplainedError, match=f"its {part} has format.*run the newer Meterhall"):
        refuse_newer(tmp_path)


def test_a_damaged_file_says_nothing_whatever_byte_is_hurt(tmp_path):
    whole = encode(KNOWN)
    for i in range(len(whole)):
        for bit in range(8):
            (tmp_path / FILE).write_bytes(whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :])
            refuse_newer(tmp_path)
        (tmp_path / FILE).write_bytes(whole[:i])
        refuse_newer(tmp_path)
    note_formats(tmp_path)
    assert json.loads((tmp_path / FILE).read_bytes())["formats"] == dict(KNOWN)
