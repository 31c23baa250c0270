/* SPDX-License-Identifier: BSD-2-Clause
 * One query block against a list of key blocks with online softmax: the core dense, sla and sagesla attention share. */
#ifndef TD_CPU_FLASH_H
#define TD_CPU_FLASH_H

#include "cpu/cpu.h"

#define TD_FLASH_BQ 128                          /* queries per task, at most */
#define TD_FLASH_ROWS ((TD_FLASH_BQ + TD_MR - 1) / TD_MR * TD_MR)
#define TD_FLASH_BK 128                          /* keys per block, at most; dense uses this many */
#define TD_FLASH_MAX_D 1024                      /* head dim, multiple of TD_NR */
#define TD_SLA_MAX_D 256                         /* the same with a linear branch */
#define TD_MAP_ROWS (4 * TD_MR)                  /* of a block map, in a task, */
#define TD_MAP_COLS 512                          /* and columns at a time */
/* what is left for a task's 16-bit keys of blocks */
#define TD_MAP_MAX_BLOCKS(d)                                                                                           \
    ((TD_CPU_SCRATCH - TD_MAP_COLS * (d) - TD_MAP_ROWS * TD_MAP_COLS) * 2 / TD_MAP_ROWS)

/* of TDQkv.own: packed operands (f32), then bf16 values as f32 [H,blocks,d], [H,blocks,d], [H,d,d], [H,d] */
enum { OWN_K_PANEL, OWN_V_PANEL, OWN_Q_POOL, OWN_K_POOL, OWN_KV, OWN_K_SUM };

/** Scratch of one task, carved from the worker's block. */
typedef struct TDFlash {
    float *q, *s, *inner, *o;                    /* [rows][d], [rows][bk], [rows][d], [rows][d] */
    float *m, *l;                                /* running max (log2 units) and row sum */
    float *more;                                 /* what is left of the scratch, for the caller */
} TDFlash;

/** Floats that td_flash_carve() lays out for head dim d. */
#define TD_FLASH_FLOATS(d) (3 * TD_FLASH_ROWS * (d) + TD_FLASH_ROWS * TD_FLASH_BK + 2 * TD_FLASH_ROWS)
_Static_assert(TD_FLASH_FLOATS(TD_FLASH_MAX_D) <= TD_CPU_SCRATCH, "a task of dense attention");

/** Lay out scratch for head dim d. */
void td_flash_carve(TDFlash *f, float *scratch, int64_t d);

/** Attend query block qi of head h to the key blocks list[0..n) (NULL: all n, in order). Leaves rows of o normalised
 *  in f32; sagesla: v_scale applied. @return rows of the block */
int64_t td_flash_block(const TDCpu *cpu, TDFlash *f, const TDQkv *qkv, int64_t h, int64_t qi, const int32_t *list,
                       int64_t n);

/** Fill k_panel and v_panel (and for sagesla the codes and scales) of one head and key block. k_panel: [d] per 16 keys,
 *  v_panel: [keys] per 16 channels. */
void td_flash_pack_kv(const TDCpu *cpu, TDQkv *qkv, int64_t h, int64_t kj);

#endif /* TD_CPU_FLASH_H */
