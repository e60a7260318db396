"""A file of tensors is what any reader of safetensors expects, and notices whatever happens to it."""

import io
import json

import numpy as np
import pytest
from safetensors import numpy as safetensors

from sadt_ray.numerics.tensor_file import Damaged, read_tensors, write_tensors

ARRAYS = {
    "bytes": np.arange(5, dtype=np.int8),
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
    "none": np.zeros((0, 7), np.float64),
    "strided": np.arange(20, dtype=np.int32)[::2],
    "flags": np.array([True, False, True]),
    "seeds": np.array([2**64 - 1, 0], np.uint64),
    "number": np.float64(0.5) * np.ones(()),
    "values": np.array([np.nan, -np.inf, 1.0]),
}


def written(arrays=None, metadata=None):
    sink = io.BytesIO()
    write_tensors(sink, ARRAYS if arrays is None else arrays, metadata or {"facts": '{"a": 1}'})
    return sink.getvalue()


def test_arrays_and_metadata_come_back_as_they_were():
    content = written()
    arrays, metadata = read_tensors(io.BytesIO(content), len(content))
    assert metadata == {"facts": '{"a": 1}'}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].flags.writeable
        np.testing.assert_array_equal(arrays[name], array)


def test_the_reader_of_the_safetensors_package_opens_the_file(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(written())
    arrays = safetensors.load_file(tmp_path / "a.safetensors")
    assert arrays.keys() == ARRAYS.keys() | {"blake2b"}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_arrays_larger_than_a_chunk_and_a_source_that_gives_little_at_a_time():
    class Slow(io.BytesIO):
        def readinto(self, buffer):
            return super().readinto(buffer[: 1 + len(buffer) // 3])

    large = {"a": np.random.default_rng(0).standard_normal((3, 400_000)), "b": np.arange(3)}
    content = written(large)
    arrays, _ = read_tensors(Slow(content), len(content))
    np.testing.assert_array_equal(arrays["a"], large["a"])
    np.testing.assert_array_equal(arrays["b"], large["b"])


def test_a_file_cut_short_anywhere_is_noticed():
    content = written()
    for size in range(len(content)):
        with pytest.raises(Damaged):
            read_tensors(io.BytesIO(content[:size]), size)


def test_any_one_changed_byte_is_noticed():
    content = bytearray(written())
    for place in range(len(content)):
        for change in (1, 0x80):
            content[place] ^= change
            with pytest.raises(Damaged):
                read_tensors(io.BytesIO(bytes(content)), len(content))
            content[place] ^= change


@pytest.mark.parametrize(
    "header",
    [
        {"__metadata__": {}, "a": {"dtype": "F64", "shape": [1 << 50], "data_offsets": [0, 1 << 53]}},
        {"__metadata__": {}, "a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, -8]}},
        {"__metadata__": {}, "a": {"dtype": "object", "shape": [1], "data_offsets": [0, 8]}},
        {"__metadata__": {}, "a": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}},
        {"__metadata__": {}},
        [1],
    ],
    ids=["larger than the file", "negative", "no such type", "no digest", "nothing", "no header"],
)
def test_a_header_that_promises_what_is_not_there_is_damage(header):
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(64)
    with pytest.raises(Damaged, match="header"):
        read_tensors(io.BytesIO(content), len(content))


def test_a_type_the_format_does_not_have_is_refused_by_name():
    with pytest.raises(ValueError, match="'names' is of type <U1"):
        written({"names": np.array(["a"])})
