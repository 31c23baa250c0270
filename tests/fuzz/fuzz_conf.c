/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: turbodiff.conf, and JSON of diffusers. Seeds: tests/fuzz/seeds/conf. */
#include <stdlib.h>
#include <string.h>
#include "base/wan.h"
#include "model/model_conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1);        /* a block of its own: a read past the end is seen */
    TDModelConf c;
    TDLog log = { 0 };
    double boundary, shift;

    if (!text)
        abort();
    if (size)
        memcpy(text, data, size);
    if (td_model_conf_parse(&c, "input", text, size, &log) < 0 && !log.last_error[0])
        abort();
    if ((c.width && (!td_valid_side(c.width) || !td_valid_side(c.height))) || (!c.width && c.height) ||
        (c.n_frames && !td_valid_frames(c.n_frames)) || (c.topk != 0 && !td_valid_topk(c.topk)) ||
        (unsigned)c.sla_block > TD_SLA_BLOCK_64X128 || (c.shift != 0 && !td_valid_shift(c.shift)))
        abort();
    log.last_error[0] = 0;
    if (td_model_index_parse(&boundary, "input", text, size, &log) < 0 && !log.last_error[0])
        abort();
    if (!(boundary >= 0 && boundary <= 1))
        abort();
    log.last_error[0] = 0;
    if (td_model_scheduler_parse(&shift, "input", text, size, &log) < 0 && !log.last_error[0])
        abort();
    if (shift != 0 && !td_valid_shift(shift))
        abort();
    free(text);
    return 0;
}
