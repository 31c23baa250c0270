/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: a prompt, cleaned and tokenised with tests/data/spiece.model (run it from the project's root).
 * Seeds: tests/fuzz/seeds/tokenizer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "text/tokenizer.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static TDTokenizer *tok;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    TDLog log = { 0 };

    (void)argc;
    (void)argv;
    if (td_tokenizer_open(&tok, "tests/data/spiece.model", &log) < 0) {
        fprintf(stderr, "%s\n", log.last_error);
        exit(1);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int32_t ids[TD_TEXT_LEN];
    char *text = malloc(size + 1);
    TDLog log = { 0 };
    int n;

    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = 0;
    n = td_tokenize(tok, text, ids, TD_TEXT_LEN, &log);
    if (n >= 0 && (n < 1 || n > TD_TEXT_LEN || ids[n - 1] != 1))
        abort();
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= td_tokenizer_n_ids(tok))
            abort();
    free(text);
    return 0;
}
