#!/usr/bin/env python3
"""Writes types.gguf, a tensor of every type that the package dequantises, and types.f32, the values that
gguf-py reads from them, little endian, in file order; with them metadata of every type and ggml's table of
block sizes. The tests demand the same bits. Made with gguf==0.19.0 and numpy; deterministic.

    pip install gguf==0.19.0 && models/gguf/testdata/make.py
"""
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T, GGUFValueType as V, GGUFWriter, dequantize, quantize
from gguf.constants import GGML_QUANT_SIZES

HERE = pathlib.Path(__file__).parent
ROWS, COLS = 2, 1024
# Half-precision scales worth a look: signs, subnormals, the largest, both zeros.
SCALES = np.array([1, -0.5, 2**-24, -(2**-20), 65504, -65504, 0, -0.0, 6.1e-5, 0.0123], np.float16)
# Where the scales lie in a block.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
QUANTISED_BY_GGUF_PY = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0)

rng = np.random.default_rng(20240817)


def blocks(t):
    """Random blocks, the scales set from SCALES; the first row quantised from values where gguf-py can."""
    values, size = GGML_QUANT_SIZES[t]
    b = rng.integers(0, 256, (ROWS * COLS // values, size), np.uint8)
    for k, at in enumerate(HALVES[t]):
        b[:, at : at + 2] = SCALES[(np.arange(len(b)) * (1 + 2 * k) + k) % len(SCALES)].view(np.uint8).reshape(-1, 2)
    b = b.reshape(ROWS, -1)
    if t in QUANTISED_BY_GGUF_PY:
        x = rng.normal(0, 0.1, (1, COLS)).astype(np.float32)
        x[0, :32] *= 1e4
        b[0] = quantize(x, t)[0]
    return b


def floats(t):
    """Plain values: special ones, then random bits without signalling NaNs, whose fate depends on the machine."""
    if t == T.F32:
        bits = rng.integers(0, 2**32, (ROWS, COLS), np.uint32)
        bits[0, :6] = [0x80000000, 1, 0x7F800000, 0xFF800000, 0x7FC00001, 0x007FFFFF]
        return bits.view(np.float32)
    bits = rng.integers(0, 2**16, (ROWS, COLS), np.uint16)
    quiet = np.uint16(0x200 if t == T.F16 else 0x40)
    exponent = np.uint16(0x7C00 if t == T.F16 else 0x7F80)
    bits[0, :6] = [0x8000, 1, exponent, exponent | 0x8000, exponent | quiet, 0x8001]
    bits[(bits & exponent) == exponent] |= quiet * ((bits[(bits & exponent) == exponent] & ~(exponent | 0x8000)) != 0)
    return bits.view(np.float16) if t == T.F16 else bits.view(np.uint8)


w = GGUFWriter(str(HERE / "types.gguf"), "llama")
w.add_key_value("test.u8", 200, V.UINT8)
w.add_key_value("test.i8", -100, V.INT8)
w.add_key_value("test.u16", 60000, V.UINT16)
w.add_key_value("test.i16", -30000, V.INT16)
w.add_key_value("test.u32", 4000000000, V.UINT32)
w.add_key_value("test.i32", -2000000000, V.INT32)
w.add_key_value("test.u64", 2**64 - 1, V.UINT64)
w.add_key_value("test.i64", -(2**63), V.INT64)
w.add_key_value("test.f32", 0.1, V.FLOAT32)
w.add_key_value("test.f64", 0.1, V.FLOAT64)
w.add_key_value("test.bool", True, V.BOOL)
w.add_key_value("test.string", "Grüße", V.STRING)
w.add_array("test.floats", [0.5, -0.25])
w.add_array("type.names", [t.name for t in GGML_QUANT_SIZES])
w.add_array("type.numbers", [int(t) for t in GGML_QUANT_SIZES])
w.add_array("type.values", [v for v, _ in GGML_QUANT_SIZES.values()])
w.add_array("type.bytes", [b for _, b in GGML_QUANT_SIZES.values()])
with open(HERE / "types.f32", "wb") as f:
    for t in (T.F32, T.F16, T.BF16, *HALVES):
        data = blocks(t) if t in HALVES else floats(t)
        w.add_tensor(t.name, data, raw_dtype=t)
        dequantize(data, t).astype("<f4").tofile(f)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
