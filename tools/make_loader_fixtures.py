#!/usr/bin/env python3
"""Writes the checkpoints in tests/weights/data/ that the loaders' tests read (PyTorch 1.13).

usage: make_loader_fixtures.py FOLDER

Element i of a tensor made by `numbers` is ((37 i + 11) mod 64 - 32) / 8, which every element type but the
integers holds exactly; integers hold the numerator. The tests know that formula.
"""
import argparse
import collections
import pathlib
import sys

import numpy
import torch


def numbers(*shape, dtype=torch.float32):
    count = int(numpy.prod(shape))
    numerators = (37 * torch.arange(count) + 11) % 64 - 32
    if dtype == torch.uint8:
        numerators = numerators + 32
    if dtype == torch.bool:
        numerators = numerators > 0
    values = numerators / 8 if dtype.is_floating_point else numerators
    return values.to(dtype).reshape(shape)


def every_dtype():
    return {
        "half": numbers(2, 5, dtype=torch.float16),
        "bfloat16": numbers(2, 5, dtype=torch.bfloat16),
        "float": numbers(2, 5),
        "double": numbers(2, 5, dtype=torch.float64),
        "long": numbers(2, 5, dtype=torch.int64),
        "int": numbers(2, 5, dtype=torch.int32),
        "short": numbers(2, 5, dtype=torch.int16),
        "char": numbers(2, 5, dtype=torch.int8),
        "byte": numbers(2, 5, dtype=torch.uint8),
        "bool": numbers(2, 5, dtype=torch.bool),
    }


def every_layout():
    base = numbers(6, 4)
    return collections.OrderedDict(
        base=base,
        transposed=base.t(),
        sliced=base[1:6:2, 1:3],
        shared=base.reshape(-1)[5:],
        expanded=base[2:3].expand(3, 4),
        permuted=numbers(2, 3, 4).permute(2, 0, 1),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(numbers(3)),
    )


def training_checkpoint():
    """Shaped like the official ones: prefixed state dict, optimizer, a numpy score, arguments."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(numbers(*parameter.shape))
    optimizer = torch.optim.AdamW(model.parameters())
    model(numbers(4, 3)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(numbers(*parameter.shape))
    state = collections.OrderedDict(("module." + k, v) for k, v in model.state_dict().items())
    return {
        "epoch": 7,
        "arch": "Q2L-R101-448",
        "state_dict": state,
        "best_mAP": numpy.float64(84.9),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=1e-4, output=pathlib.PurePosixPath("out"), sizes={1, 2}),
    }


def main(folder):
    def save(name, value, **options):
        torch.save(value, folder / name, **options)

    old = {"_use_new_zipfile_serialization": False}
    weights = {"a.weight": numbers(2, 3), "a.bias": numbers(2)}
    save("dtypes.pth", every_dtype())
    save("dtypes_legacy.pth", every_dtype(), **old)
    save("layouts.pth", every_layout())
    save("layouts_legacy.pth", every_layout(), **old)
    torch.manual_seed(0)
    save("training.pth", training_checkpoint())
    torch.manual_seed(0)
    save("training_legacy.pth", training_checkpoint(), **old)
    save("protocol4.pth", {"state_dict": weights, "score": numpy.float64(1)}, pickle_protocol=4)
    save("protocol5_legacy.pth", weights, pickle_protocol=5, **old)
    save("with_average.pth", {
        "model": {"module." + k: v for k, v in weights.items()},
        "model_ema": {k: v / 2 for k, v in weights.items()},
    })
    save("ambiguous.pth", {"model": weights, "net": {"b": numbers(1)}})
    save("sparse.pth", {"plain": numbers(2), "sparse": torch.eye(2).to_sparse()})
    save("quantized.pth", {"q": torch.quantize_per_tensor(numbers(2), 0.5, 0, torch.qint8)})
    save("numpy.pth", {"plain": numbers(2), "array": numpy.ones(2)})
    save("complex.pth", {"c": torch.ones(2, dtype=torch.complex64)})
    save("whole_module.pth", torch.nn.Linear(1, 1))
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(folder / "torchscript.pt"))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
