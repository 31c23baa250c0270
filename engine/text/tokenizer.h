/* SPDX-License-Identifier: BSD-2-Clause
 * Prompt -> umT5 token ids, equal to the official pipeline's cleaning (ftfy, html unescape, whitespace) and its fast
 * Unigram tokenizer. Vocabulary from a SentencePiece .model file. */
#ifndef TD_TOKENIZER_H
#define TD_TOKENIZER_H

#include "base/log.h"
#include "base/wan.h"

typedef struct TDTokenizer TDTokenizer;

/** @return 0; ENOENT, EACCES, EBADMSG, ENOTSUP, ENOMEM, logged */
int td_tokenizer_open(TDTokenizer **tok, const char *path, TDLog *log);
void td_tokenizer_free(TDTokenizer **tok);
int td_tokenizer_n_ids(const TDTokenizer *tok);  ///< pieces + the 300 extra ids

/** Clean and tokenize. ids gets max (<= TD_TEXT_LEN) entries: at most max-1 body ids, eos, then pad (0).
 *  @return number of ids up to and including eos (>= 1); EINVAL if text is not UTF-8 or over 65,536 bytes; ENOMEM.
 *  Truncation is logged. */
int td_tokenize(const TDTokenizer *tok, const char *utf8, int32_t *ids, int max, TDLog *log);

/** Whether a word of len bytes, as it follows a space, is one piece. */
int td_tokenizer_has_word(const TDTokenizer *tok, const char *word, size_t len);

/** For a vocabulary of whole words: one warning that names the words of a prompt that are none of them. path: of the
 *  vocabulary, for the line. @return 0, or what td_text_clean() returns */
int td_prompt_check_words(const TDTokenizer *tok, const char *prompt, const char *path, TDLog *log);

/** The cleaning step alone (tests, tools). *out is malloc'd, NUL-terminated UTF-8, owned by the caller. */
int td_text_clean(char **out, const char *utf8, TDLog *log);

#endif /* TD_TOKENIZER_H */
