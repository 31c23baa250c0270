/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: a GGUF file, and the vocabulary in it. Seeds: tests/fuzz/seeds/gguf. */
#include "fuzz_ckpt.h"
#include "model/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_vocabulary(const TDCheckpoint *c)
{
    TDLog log = { 0 };
    TDTokenizer *tok;

    if (!td_vocabulary_is_in(c))
        return;
    if (td_vocabulary_open(&tok, c, &log) < 0 && !log.last_error[0])
        abort();
    td_tokenizer_free(&tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_ckpt(data, size, open_vocabulary);
    return 0;
}
