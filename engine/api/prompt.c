/* SPDX-License-Identifier: BSD-2-Clause
 * A prompt as the model sees it, for people and for metadata: one line that no terminal acts upon. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "text/tokenizer.h"

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

/* a word that the vocabulary has not, once, with its lower case where that is known. What does not fit is left out */
static void name_word(char *list, size_t size, const TDTokenizer *tok, const char *word, int len)
{
    char lower[64], item[160];
    int n = len < (int)sizeof(lower) ? len : (int)sizeof(lower) - 1;

    for (int i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)word[i]);
    lower[n] = 0;
    snprintf(item, sizeof(item), "'%.*s'", n, word);
    if (strstr(list, item))
        return;
    if (n == len && td_tokenizer_has_word(tok, lower, (size_t)len))
        snprintf(item, sizeof(item), "'%.*s' (write %s)", n, word, lower);
    if (strlen(list) + strlen(item) + 3 < size)
        snprintf(list + strlen(list), size - strlen(list), "%s%s", *list ? ", " : "", item);
    else if (strlen(list) + 5 < size && !strstr(list, ", ..."))
        strcpy(list + strlen(list), ", ...");
}

int td_prompt_check_words(const TDTokenizer *tok, const char *prompt, const char *path, TDLog *log)
{
    static const char marks[] = " .,;:!?\"'()";
    char list[400] = "", *text;
    int ret;

    if ((ret = td_text_clean(&text, prompt, log)) < 0)
        return ret;
    for (const char *s = text; *s;) {
        int len;

        s += strspn(s, marks);
        len = (int)strcspn(s, " ");
        while (len && strchr(marks, s[len - 1]))
            len--;
        if (len && !td_tokenizer_has_word(tok, s, (size_t)len))
            name_word(list, sizeof(list), tok, s, len);
        s += len;
    }
    if (*list)
        td_log(log, TD_LOG_WARNING, "prompt: the model does not know %s; its words are those in %s", list, path);
    free(text);
    return 0;
}
