#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write tests/data/torch_*.pth, small state dicts saved by torch.save in each container it has.

usage: make_pth_samples.py DIR
"""
import collections
import os
import sys

import torch


def main():
    base = torch.arange(24, dtype=torch.float32)
    state = collections.OrderedDict()
    state["blocks.0.weight"] = torch.arange(6, dtype=torch.float32).reshape(2, 3).to(torch.bfloat16)
    state["blocks.0.view_t"] = base.reshape(4, 6).t()
    state["blocks.0.view_off"] = base[4:16].reshape(3, 4)[:, 1:3]
    state["blocks.0.int8_weight"] = torch.tensor([[-128, 127], [0, 5]], dtype=torch.int8)
    state["half"] = torch.tensor([0.5, -2.0], dtype=torch.float16)
    state["double"] = torch.tensor([0.25], dtype=torch.float64)
    state["scalar"] = torch.tensor(7.0)
    state["empty"] = torch.zeros(0, 3)
    state["long"] = torch.tensor([1, 2, 3])
    state["bool"] = torch.tensor([True, False])
    state["parameter"] = torch.nn.Parameter(torch.tensor([1.5, 2.5]))
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    wrapped = {"state_dict": collections.OrderedDict(("net." + k, v) for k, v in state.items()),
               "step": 3, "lr": 0.1, "schedule": [1, 2, (3,), 1 << 40, None]}
    torch.save(state, os.path.join(sys.argv[1], "torch_zip.pth"))
    torch.save(state, os.path.join(sys.argv[1], "torch_legacy.pth"), _use_new_zipfile_serialization=False)
    torch.save(state, os.path.join(sys.argv[1], "torch_proto4.pth"), pickle_protocol=4)
    torch.save(wrapped, os.path.join(sys.argv[1], "torch_wrapped.pth"))


if __name__ == "__main__":
    main()
