/* SPDX-License-Identifier: BSD-2-Clause
 * The vocabulary that a text encoder's file may bring with it: ComfyUI's tensor `spiece_model`, which is the
 * SentencePiece file, or the lists of texts and scores of a GGUF file. */
#ifndef TD_VOCABULARY_H
#define TD_VOCABULARY_H

#include "files/checkpoint.h"
#include "text/tokenizer.h"

int td_vocabulary_is_in(const TDCheckpoint *ckpt);
/** @return 0; EBADMSG, ENOTSUP, ENOMEM, logged */
int td_vocabulary_open(TDTokenizer **tok, const TDCheckpoint *ckpt, TDLog *log);

#endif /* TD_VOCABULARY_H */
