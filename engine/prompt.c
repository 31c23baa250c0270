/* SPDX-License-Identifier: BSD-2-Clause
 * A prompt as the model sees it, for people and for metadata: one line that no terminal acts upon. */
#include <stdlib.h>
#include <string.h>
#include "log.h"
#include "tokenizer.h"

/* the bytes at s that are a control character in UTF-8: C0, DEL or C1; 0 if none */
static size_t control(const char *s)
{
    unsigned char c = (unsigned char)s[0], next = c ? (unsigned char)s[1] : 0;

    return c == 0xc2 && next >= 0x80 && next <= 0x9f ? 2 : c < 0x20 || c == 0x7f;
}

int td_clean_prompt(char *dst, size_t size, const char *prompt, const TDLogger *logger)
{
    TDLog log = { .out = { NULL, NULL, TD_LOG_ERROR } };
    size_t n = 0;
    char *text;
    int ret;

    if (logger)
        log.out = *logger;
    if (!prompt || (size && !dst))
        return td_error(&log, EINVAL, "prompt: none to clean, or no memory for it");
    if ((ret = td_text_clean(&text, prompt, &log)) < 0)
        return ret;
    for (const char *s = text; *s;) {
        size_t skip = control(s);

        if (!skip) {
            if (n + 1 < size)
                dst[n] = *s;
            n++;
        }
        s += skip ? skip : 1;
    }
    if (size)
        dst[n < size ? n : size - 1] = 0;
    free(text);
    return (int)n;
}
