/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: a SentencePiece .model file, then a prompt tokenised with it.
 * Seeds: tests/fuzz/seeds/spiece. */
#include <stdlib.h>
#include <string.h>
#include "text/tokenizer_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int32_t ids[TD_TEXT_LEN];
    uint8_t *file = malloc(size + 1);
    TDTokenizer *tok;
    TDLog log = { 0 };

    if (!file)
        abort();
    memcpy(file, data, size);
    if (td_tokenizer_parse(&tok, "input", file, size, 0, &log) < 0)
        return 0;
    if (td_tokenize(tok, "a cat \xe7\x8c\xab <extra_id_7> &lt;in\n rain", ids, TD_TEXT_LEN, &log) < 2)
        abort();
    td_tokenizer_free(&tok);
    return 0;
}
