# SPDX-License-Identifier: BSD-2-Clause
"""torch.randn(float32) of a CUDA device, computed on the host: Philox4x32-10 counters laid out as the kernel's grid
does and the Box-Muller transform of cuRAND. Equal to the device's numbers up to its fast sine and cosine (4e-6)."""
import numpy as np

H100_GRID = 132 * 8 * 256            # threads: multiprocessors x blocks each x block size


def philox(counter, seed):
    c0, c1, c2, c3 = counter
    k0, k1 = np.uint64(seed & 0xffffffff), np.uint64(seed >> 32 & 0xffffffff)
    low = np.uint64(0xffffffff)
    for i in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> np.uint64(32)) ^ c1 ^ k0, p1 & low, (p0 >> np.uint64(32)) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


def normals(seed, offset, n, max_grid=H100_GRID):
    """n numbers of the draw that starts at offset. @return (array, offset of the next draw)"""
    grid = min(max_grid, -(-n // 256) * 256)
    e = np.arange(n, dtype=np.uint64)
    idx, q = e % np.uint64(grid), e // np.uint64(grid)
    block = np.uint64(offset // 4) + q // np.uint64(4)
    low = np.uint64(0xffffffff)
    r = philox((block & low, block >> np.uint64(32), idx & low, idx >> np.uint64(32)), seed)
    second = q % np.uint64(4) >= 2
    a = np.where(second, r[2], r[0]).astype(np.float32)
    b = np.where(second, r[3], r[1]).astype(np.float32)
    c = np.float32(np.float32(6.2831855) * np.float32(2.0 ** -32))
    u = (a * np.float32(2.0 ** -32) + np.float32(2.0 ** -33)).astype(np.float64)
    v = b.astype(np.float64) * c + c / 2.0
    s = np.sqrt(-2 * np.log(u))
    out = np.where(q % np.uint64(2) == 0, s * np.sin(v), s * np.cos(v)).astype(np.float32)
    return out, offset + ((n - 1) // (4 * grid) + 1) * 4
