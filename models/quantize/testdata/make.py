#!/usr/bin/env python3
"""Write rows of float32 and what ggml makes of them: rows.f32, and rows.TYPE for each type.

    python3 make.py FOLDER     # with libggml-base.so of llama.cpp 0.5.0; needs numpy
"""
import ctypes
import pathlib
import sys

import numpy as np

COLS = 256
TYPES = {"F16": (1, 1, 2), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34),
         "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210)}

here = pathlib.Path(__file__).parent
ggml = ctypes.CDLL(str(pathlib.Path(sys.argv[1]) / "libggml-base.so"))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]

rng = np.random.default_rng(20)
normal = lambda size=1.0: (rng.standard_normal(COLS) * size).astype(np.float32)
ramp = np.arange(COLS, dtype=np.float32)
rows = [
    np.zeros(COLS), -np.zeros(COLS), np.full(COLS, 0.25), np.full(COLS, -3.0),
    normal(), normal(0.02), normal(0.02), normal(1e-3), normal(100), normal(0.05) + 0.2, normal(0.05) - 0.2,
    np.abs(normal(0.1)), -np.abs(normal(0.1)),
    np.where(ramp == 77, 40, normal(0.01)), np.where(ramp == 200, -40, normal(0.01)),         # one outlier
    np.where(ramp % 16 == 3, normal(), 0), np.where(ramp < 128, 0, normal()),                 # mostly zeros
    ramp / 255 - 0.5, np.sign(ramp - 128) * ramp * ramp, np.where(ramp % 2 == 0, 0.5, -0.5),
    np.where(ramp % 2 == 0, 0.0, -0.0), np.where(ramp % 2 == 0, -0.0, 1.0),
    normal(1e-7), normal(1e-14), normal(1e-16), normal(1e-39), np.full(COLS, 1e-45), np.where(ramp == 9, 1e-44, 0), # down to denormals
    normal(1) * np.exp2(rng.integers(-30, 4, COLS)), normal(8000),
    np.round(normal() * 8) / 8, (ramp - 128) / 127 * 12.7,                                   # ties
    rng.laplace(0, 0.03, COLS), rng.standard_t(2, COLS) * 0.02,
]
x = np.ascontiguousarray(np.array(rows, dtype=np.float32))
(here / "rows.f32").write_bytes(x.astype("<f4").tobytes())
for name, (number, block, size) in TYPES.items():
    out = np.zeros(x.size // block * size, dtype=np.uint8)
    n = ggml.ggml_quantize_chunk(number, x.ctypes.data, out.ctypes.data, 0, len(rows), COLS, None)
    assert n == out.size, (name, n)
    (here / ("rows." + name)).write_bytes(out.tobytes())
