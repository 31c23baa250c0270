/* SPDX-License-Identifier: BSD-2-Clause
 * The tokenizer's entry for a .model file that is in memory already. */
#ifndef TD_TOKENIZER_PRIV_H
#define TD_TOKENIZER_PRIV_H

#include "text/tokenizer.h"

/** As td_tokenizer_open(). path: for messages. file: malloc'd bytes of the .model file; the call takes them, also when
 *  it fails. whole: it is one that SentencePiece wrote, whose trainer_spec comes behind the pieces; without it the file
 *  was cut short, EBADMSG. */
int td_tokenizer_parse(TDTokenizer **tok, const char *path, uint8_t *file, size_t size, int whole, TDLog *log);

#endif /* TD_TOKENIZER_PRIV_H */
