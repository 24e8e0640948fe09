#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Query2Label in PyTorch: the definition that trains the bundled model and checks the C++ one.

    query2label_torch.py check GOLDEN.json...     compares it, in float64, with golden answers

Written from the paper (Liu et al., "Query2Label", arXiv 2107.10834). Parameters carry the names of
the released checkpoints, so a state dict of one loads into the other. Configuration keys are the
released ones too; `backbone_arch` describes a backbone of free size, or changes parts of a named
one:

    {"type": "resnet", "block": "basic" | "bottleneck", "layers": [a, b, c, d], "width": W}
        W channels in the stem and the first stage (64 in the named ones)
    {"type": "tresnet", "layers": [a, b, c, d], "width_factor": F, "blocks": four of the above}
    {"type": "swin", "embed_dim", "depths", "num_heads", "window_size"}
    {"type": "cvt", "embed_dims", "num_heads", "depths"}

Dropout and stochastic depth are left out: they do nothing at inference.
Letters: N batch, H W grid, C channels, T tokens = H W, D width, A heads, K labels.
"""
import argparse
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

CONFIG_DEFAULTS = {
    "backbone": "resnet101", "img_size": 448, "hidden_dim": 2048, "dim_feedforward": 8192,
    "enc_layers": 1, "dec_layers": 2, "nheads": 4, "num_class": 80, "pre_norm": False,
    "position_embedding": "sine", "keep_other_self_attn_dec": False,
    "keep_first_self_attn_dec": False, "keep_input_proj": False,
}


# ---------------------------------------------------------------------------------------- ResNet

class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., arXiv 1512.03385)."""
    expansion = 1

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = resnet_shortcut(inputs, width, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; the stride sits on the 3x3 (v1.5)."""
    expansion = 4

    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = resnet_shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet_shortcut(inputs, outputs, stride):
    """None (identity), or a strided 1x1 convolution with its batch norm."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                         nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """Stride 32; `channels` is the last stage's width."""

    def __init__(self, block, layers, width=64):
        super().__init__()
        kind = {"basic": BasicBlock, "bottleneck": Bottleneck}[block]
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, depth in enumerate(layers):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(kind(inputs, width << stage, stride))
                inputs = (width << stage) * kind.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(layers)
        self.channels = inputs

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x


class Body(nn.Module):
    """Gives a backbone the key prefix `body.` that the released checkpoints have."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.channels = body.channels

    def forward(self, x):
        return self.body(x)


# --------------------------------------------------------------------------------------- TResNet

class InPlaceABN(nn.Module):
    """Batch norm that scales by |weight| + eps, then a leaky ReLU (slope 1: none)."""

    def __init__(self, channels, slope):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.slope = slope
        self.eps = 1e-5

    def forward(self, x):
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight.abs() + self.eps,
                         self.bias, self.training, 0.1, self.eps)
        return F.leaky_relu(x, self.slope)


class BlurPool(nn.Module):
    """Stride 2 behind the filter (1,2,1) x (1,2,1) / 16, with reflected edges."""

    def forward(self, x):
        line = torch.tensor([1.0, 2.0, 1.0]).to(x) / 4
        kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), kernel, stride=2, groups=x.shape[1])


class SqueezeExcite(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        return x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


def conv_abn(inputs, outputs, kernel, slope, stride=1):
    """Convolution and InPlaceABN; a stride of 2 is a blur pool behind them."""
    pair = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False),
                         InPlaceABN(outputs, slope))
    return pair if stride == 1 else nn.Sequential(pair, BlurPool())


def tresnet_shortcut(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return None
    pool = [nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)] if stride == 2 else []
    return nn.Sequential(*pool, conv_abn(inputs, outputs, 1, 1.0))


class TResNetBasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, width, stride, squeeze):
        super().__init__()
        self.conv1 = conv_abn(inputs, width, 3, 1e-3, stride)
        self.conv2 = conv_abn(width, width, 3, 1.0)
        self.se = SqueezeExcite(width, max(width // 4, 64)) if squeeze else None
        self.downsample = tresnet_shortcut(inputs, width, stride)

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        y = y if self.se is None else self.se(y)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class TResNetBottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, width, stride, squeeze):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = conv_abn(inputs, width, 1, 1e-3)
        self.conv2 = conv_abn(width, width, 3, 1e-3, stride)
        self.conv3 = conv_abn(width, outputs, 1, 1.0)
        self.se = SqueezeExcite(width, max(outputs // 8, 64)) if squeeze else None
        self.downsample = tresnet_shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        y = self.conv3(y if self.se is None else self.se(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class TResNet(nn.Module):
    """Ridnik et al., arXiv 2003.13630; squeeze-excite in all stages but the last."""

    def __init__(self, layers, width_factor, blocks):
        super().__init__()
        kinds = {"basic": TResNetBasicBlock, "bottleneck": TResNetBottleneck}
        width = int(64 * width_factor)
        parts = {"conv1": conv_abn(48, width, 3, 1e-2)}
        inputs = width
        for stage, (depth, block) in enumerate(zip(layers, blocks)):
            made = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                made.append(kinds[block](inputs, width << stage, stride, stage < 3))
                inputs = (width << stage) * kinds[block].expansion
            parts[f"layer{stage + 1}"] = nn.Sequential(*made)
        self.body = nn.ModuleDict(parts)
        self.channels = inputs

    def forward(self, x):
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 3, 5, 1, 2, 4)
        x = x.reshape(n, 16 * c, h // 4, w // 4)
        for part in self.body.values():
            x = part(x)
        return x


# ------------------------------------------------------------------------------------------ Swin

class FeedForward(nn.Module):
    def __init__(self, width, activation):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.activation = activation

    def forward(self, x):
        return self.fc2(self.activation(self.fc1(x)))


class WindowAttention(nn.Module):
    """Attention within windows of S x S tokens, with a learned bias per relative position."""

    def __init__(self, width, heads, window):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        y, x = y.flatten(), x.flatten()
        self.index = ((y[:, None] - y + window - 1) * (2 * window - 1)
                      + x[:, None] - x + window - 1)

    def forward(self, x, mask):
        """x [N, windows, S*S, D]; mask [windows, S*S, S*S], added to the scores, or None."""
        qkv = self.qkv(x).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        scores = qkv[0] @ qkv[1].transpose(3, 4) / math.sqrt(qkv.shape[5])
        scores = scores + self.relative_position_bias_table[self.index].permute(2, 0, 1)
        if mask is not None:
            scores = scores + mask[:, None]
        return self.proj((scores.softmax(4) @ qkv[2]).transpose(2, 3).flatten(3))


def to_windows(x, window):
    """[N, H, W, D] to [N, windows, S*S, D]."""
    n, h, w, d = x.shape
    x = x.view(n, h // window, window, w // window, window, d).transpose(2, 3)
    return x.reshape(n, -1, window * window, d)


def from_windows(x, window, height, width):
    x = x.view(len(x), height // window, width // window, window, window, -1).transpose(2, 3)
    return x.reshape(len(x), height, width, -1)


class SwinBlock(nn.Module):
    def __init__(self, width, heads, grid, window, shifted):
        super().__init__()
        self.window = min(window, grid)
        self.shift = self.window // 2 if shifted and grid > window else 0
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, self.window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, F.gelu)

    def region_mask(self, height, width, like):
        """Tokens brought together from different regions by the cyclic shift ignore each other."""
        def regions(n):
            i = torch.arange(n)
            return (i >= n - self.window).long() + (i >= n - self.shift)
        region = regions(height)[:, None] * 3 + regions(width)
        region = to_windows(region[None, :, :, None], self.window)[0, :, :, 0]
        return (region[:, :, None] != region[:, None, :]).to(like) * -100

    def forward(self, x):
        _, height, width, _ = x.shape
        y, mask = self.norm1(x), None
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
            mask = self.region_mask(height, width, y)
        y = from_windows(self.attn(to_windows(y, self.window), mask), self.window, height, width)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        x = torch.cat((x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]), 3)
        return self.reduction(self.norm(x))


class SwinStage(nn.Module):
    def __init__(self, width, heads, depth, grid, window, last):
        super().__init__()
        self.blocks = nn.Sequential(*(SwinBlock(width, heads, grid, window, i % 2 == 1)
                                      for i in range(depth)))
        self.downsample = None if last else PatchMerging(width)

    def forward(self, x):
        x = self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbedding(nn.Module):
    """A convolution and a layer norm; gives [N, H, W, D]."""

    def __init__(self, inputs, width, kernel, stride, padding):
        super().__init__()
        self.proj = nn.Conv2d(inputs, width, kernel, stride, padding)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Swin(nn.Module):
    """Liu et al., arXiv 2103.14030. `size`: the input side it is built for."""

    def __init__(self, size, embed_dim, depths, num_heads, window_size):
        super().__init__()
        self.patch_embed = PatchEmbedding(3, embed_dim, 4, 4, 0)
        self.layers = nn.Sequential(*(
            SwinStage(embed_dim << i, heads, depth, size >> (2 + i), window_size,
                      i == len(depths) - 1)
            for i, (depth, heads) in enumerate(zip(depths, num_heads))))
        self.channels = embed_dim << (len(depths) - 1)
        self.norm = nn.LayerNorm(self.channels)

    def forward(self, x):
        return self.norm(self.layers(self.patch_embed(x))).permute(0, 3, 1, 2)


# ------------------------------------------------------------------------------------------- CvT

def quick_gelu(x):
    return x * (1.702 * x).sigmoid()


class DepthwiseProjection(nn.Module):
    """Depthwise 3x3 convolution and batch norm; gives tokens."""

    def __init__(self, width, stride):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.bn(self.conv(x)).flatten(2).transpose(1, 2)


class CvtAttention(nn.Module):
    """Queries at full, keys and values at half resolution; scores scaled by D^-0.5, not D/A."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.conv_proj_q = DepthwiseProjection(width, 1)
        self.conv_proj_k = DepthwiseProjection(width, 2)
        self.conv_proj_v = DepthwiseProjection(width, 2)
        self.proj_q = nn.Linear(width, width)
        self.proj_k = nn.Linear(width, width)
        self.proj_v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x, height, width):
        """x [N, T or 1 + T, D]; a class token stands first and skips the convolutions."""
        extra = x.shape[1] - height * width
        grid = x[:, extra:].transpose(1, 2).unflatten(2, (height, width))

        def project(convolution, linear):
            tokens = torch.cat((x[:, :extra], convolution(grid)), 1)
            return linear(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)

        q = project(self.conv_proj_q, self.proj_q)
        k = project(self.conv_proj_k, self.proj_k)
        v = project(self.conv_proj_v, self.proj_v)
        weights = (q @ k.transpose(2, 3) / math.sqrt(x.shape[2])).softmax(3)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class CvtBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = CvtAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, quick_gelu)

    def forward(self, x, height, width):
        x = x + self.attn(self.norm1(x), height, width)
        return x + self.mlp(self.norm2(x))


class CvtStage(nn.Module):
    def __init__(self, inputs, width, heads, depth, kernel, stride, padding, class_token):
        super().__init__()
        self.patch_embed = PatchEmbedding(inputs, width, kernel, stride, padding)
        self.blocks = nn.ModuleList(CvtBlock(width, heads) for _ in range(depth))
        if class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x):
        x = self.patch_embed(x)
        _, height, width, _ = x.shape
        x = x.flatten(1, 2)
        if hasattr(self, "cls_token"):
            x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1)
        for block in self.blocks:
            x = block(x, height, width)
        x = x[:, x.shape[1] - height * width:]
        return x.transpose(1, 2).unflatten(2, (height, width))


class Cvt(nn.Module):
    """Wu et al., arXiv 2103.15808; stride 16; the last stage has a class token, dropped after."""

    def __init__(self, embed_dims, num_heads, depths):
        super().__init__()
        self.count = len(depths)
        inputs = 3
        for i, (width, heads, depth) in enumerate(zip(embed_dims, num_heads, depths)):
            shape = (7, 4, 2) if i == 0 else (3, 2, 1)
            stage = CvtStage(inputs, width, heads, depth, *shape, i == self.count - 1)
            self.add_module(f"stage{i}", stage)
            inputs = width
        self.channels = inputs
        self.norm = nn.LayerNorm(inputs)

    def forward(self, x):
        for i in range(self.count):
            x = getattr(self, f"stage{i}")(x)
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


# --------------------------------------------------------------------------- choosing a backbone

def swin(embed_dim, window_size):
    return {"type": "swin", "embed_dim": embed_dim, "depths": [2, 2, 18, 2],
            "num_heads": [embed_dim >> 5 << i for i in range(4)], "window_size": window_size}


MIXED_BLOCKS = ["basic", "basic", "bottleneck", "bottleneck"]
NAMED_BACKBONES = {
    "resnet18": {"type": "resnet", "block": "basic", "layers": [2, 2, 2, 2]},
    "resnet34": {"type": "resnet", "block": "basic", "layers": [3, 4, 6, 3]},
    "resnet50": {"type": "resnet", "block": "bottleneck", "layers": [3, 4, 6, 3]},
    "resnet101": {"type": "resnet", "block": "bottleneck", "layers": [3, 4, 23, 3]},
    "tresnetl": {"type": "tresnet", "layers": [4, 5, 18, 3], "width_factor": 1.2,
                 "blocks": MIXED_BLOCKS},
    "tresnetxl": {"type": "tresnet", "layers": [4, 5, 24, 3], "width_factor": 1.3,
                  "blocks": MIXED_BLOCKS},
    "tresnetl_v2": {"type": "tresnet", "layers": [3, 4, 23, 3], "width_factor": 1.0,
                    "blocks": ["bottleneck"] * 4},
    "swin_B_224_22k": swin(128, 7), "swin_B_384_22k": swin(128, 12),
    "swin_L_224_22k": swin(192, 7), "swin_L_384_22k": swin(192, 12),
    "CvT_w24": {"type": "cvt", "embed_dims": [192, 768, 1024], "num_heads": [3, 12, 16],
                "depths": [2, 2, 20]},
}


def build_backbone(config):
    """The backbone that `backbone` names, changed by `backbone_arch`."""
    arch = dict(NAMED_BACKBONES.get(config["backbone"], {}))
    arch.update(config.get("backbone_arch") or {})
    kind = arch.pop("type", None)
    if kind == "resnet":
        return Body(ResNet(**arch))
    if kind == "tresnet":
        return Body(TResNet(**arch))
    if kind == "swin":
        return Swin(config["img_size"], **arch)
    if kind == "cvt":
        return Cvt(**arch)
    raise ValueError(f"unknown backbone {config['backbone']!r}")


# ------------------------------------------------------------------------------------ Transformer

class SinePosition(nn.Module):
    """The position code [1, D, H, W] of a grid: D/2 features for y, then D/2 for x.

    Computed in float32 whatever the model's type, as the code of released checkpoints is."""

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, height, width, like):
        half = self.width // 2
        i = torch.arange(half, dtype=torch.float32)
        frequency = 10000 ** (2 * torch.div(i, 2, rounding_mode="floor") / half)

        def axis(n):
            position = torch.arange(1, n + 1, dtype=torch.float32) / (n + 1e-6) * (2 * math.pi)
            angle = position[:, None] / frequency
            return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2).flatten(1)

        y = axis(height)[:, None, :].expand(height, width, half)
        x = axis(width)[None, :, :].expand(height, width, half)
        return torch.cat((y, x), 2).permute(2, 0, 1)[None].to(like)


class MultiheadAttention(nn.Module):
    """softmax(q k^T / sqrt(D/A)) v per head; `in_proj_weight` stacks the q, k, v projections."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query, key, value):
        """query [N, Q, D], key and value [N, T, D]; returns [N, Q, D] and weights [N, A, Q, T]."""
        projected = []
        for x, w, b in zip((query, key, value), self.in_proj_weight.chunk(3),
                           self.in_proj_bias.chunk(3)):
            x = F.linear(x, w, b)
            projected.append(x.unflatten(2, (self.heads, -1)).transpose(1, 2))
        q, k, v = projected
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(3)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights


class EncoderLayer(nn.Module):
    def __init__(self, width, heads, feed_forward, pre_norm):
        super().__init__()
        self.self_attn = MultiheadAttention(width, heads)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.pre_norm = pre_norm

    def forward(self, x, position):
        if self.pre_norm:
            y = self.norm1(x)
            x = x + self.self_attn(y + position, y + position, y)[0]
            return x + self.linear2(F.relu(self.linear1(self.norm2(x))))
        x = self.norm1(x + self.self_attn(x + position, x + position, x)[0])
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class DecoderLayer(nn.Module):
    """Self-attention among the labels (optional), cross-attention to the tokens, feed-forward."""

    def __init__(self, width, heads, feed_forward, pre_norm, keep_self_attention):
        super().__init__()
        if keep_self_attention:
            self.self_attn = MultiheadAttention(width, heads)
            self.norm1 = nn.LayerNorm(width)
        self.keep_self_attention = keep_self_attention
        self.multihead_attn = MultiheadAttention(width, heads)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.pre_norm = pre_norm

    def forward(self, x, query, memory, position):
        key = memory + position
        if self.pre_norm:
            if self.keep_self_attention:
                y = self.norm1(x)
                x = x + self.self_attn(y + query, y + query, y)[0]
            y, weights = self.multihead_attn(self.norm2(x) + query, key, memory)
            x = x + y
            return x + self.linear2(F.relu(self.linear1(self.norm3(x)))), weights
        if self.keep_self_attention:
            x = self.norm1(x + self.self_attn(x + query, x + query, x)[0])
        y, weights = self.multihead_attn(x + query, key, memory)
        x = self.norm2(x + y)
        return self.norm3(x + self.linear2(F.relu(self.linear1(x)))), weights


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, pre_norm = config["hidden_dim"], config["pre_norm"]
        self.layers = nn.ModuleList(
            EncoderLayer(width, config["nheads"], config["dim_feedforward"], pre_norm)
            for _ in range(config["enc_layers"]))
        if pre_norm and config["enc_layers"]:
            self.norm = nn.LayerNorm(width)

    def forward(self, x, position):
        for layer in self.layers:
            x = layer(x, position)
        return self.norm(x) if hasattr(self, "norm") else x


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        keep = [config["keep_first_self_attn_dec"]]
        keep += [config["keep_other_self_attn_dec"]] * (config["dec_layers"] - 1)
        self.layers = nn.ModuleList(
            DecoderLayer(config["hidden_dim"], config["nheads"], config["dim_feedforward"],
                         config["pre_norm"], k) for k in keep)
        self.norm = nn.LayerNorm(config["hidden_dim"])

    def forward(self, query, memory, position):
        x = torch.zeros_like(query)
        attention = []
        for layer in self.layers:
            x, weights = layer(x, query, memory, position)
            attention.append(weights)
        return self.norm(x), attention


class Transformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


class GroupWiseLinear(nn.Module):
    """logit[n, k] = sum_d W[k, d] x[n, k, d] + b[k]."""

    def __init__(self, labels, width):
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.W = nn.Parameter(torch.empty(1, labels, width).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(1, labels).uniform_(-bound, bound))

    def forward(self, x):
        return (self.W * x).sum(2) + self.b


class Query2Label(nn.Module):
    """Normalised pixels [N, 3, S, S] to logits [N, K]."""

    def __init__(self, config):
        super().__init__()
        self.config = config = {**CONFIG_DEFAULTS, **config}
        width = config["hidden_dim"]
        if config["position_embedding"] != "sine":
            raise ValueError(f"position_embedding {config['position_embedding']} is not sine")
        self.backbone = nn.ModuleList([build_backbone(config)])
        channels = self.backbone[0].channels
        if config["keep_input_proj"]:
            self.input_proj = nn.Conv2d(channels, width, 1)
        elif channels != width:
            raise ValueError(f"hidden_dim {width} needs keep_input_proj for {channels} channels")
        self.position = SinePosition(width)
        self.transformer = Transformer(config)
        self.query_embed = nn.Embedding(config["num_class"], width)
        self.fc = GroupWiseLinear(config["num_class"], width)

    def parts(self, x):
        """All stages: features [N, C, H, W], memory [N, T, D], decoded [N, K, D], attention (a list
        of [N, A, K, T], one per decoder layer), logits [N, K]."""
        features = self.backbone[0](x)
        grid = self.input_proj(features) if self.config["keep_input_proj"] else features
        position = self.position(*grid.shape[2:], grid).flatten(2).transpose(1, 2)
        memory = self.transformer.encoder(grid.flatten(2).transpose(1, 2), position)
        query = self.query_embed.weight[None].repeat(len(x), 1, 1)
        decoded, attention = self.transformer.decoder(query, memory, position)
        return {"features": features, "memory": memory, "decoded": decoded,
                "attention": attention, "logits": self.fc(decoded)}

    def forward(self, x):
        return self.parts(x)["logits"]


# -------------------------------------------------------------------------- the golden answers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"))
import recipe  # noqa: E402  (the generator of the golden weights)


def load_golden(model, golden):
    """Fills the model's weights by the recipe; names and shapes must match exactly."""
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    listed = {name: tuple(shape) for name, shape, *_ in golden["tensors"]}
    ours = {name: tuple(value.shape) for name, value in state.items()}
    if listed != ours:
        raise ValueError(f"{golden['name']}: tensors differ: "
                         f"{sorted(set(listed.items()) ^ set(ours.items()))[:6]}")
    for name, values in recipe.tensors(golden):
        state[name].copy_(torch.from_numpy(values))


# Largest differences that are rounding: of float64, and for what lies behind the position code of
# float32 sines, of which libraries give either neighbour.
ROUNDING = {"features": 2e-9}
ROUNDING_BEHIND_SINES = 1e-6


def check_golden(path):
    """Largest float64 differences from the golden answers; True where all are rounding."""
    golden = recipe.load(path)
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        model = Query2Label(golden["config"]).eval()
        load_golden(model, golden)
        parts = model.parts(torch.from_numpy(recipe.model_input(golden)).double())
    expect = golden["expect"]
    flat = {"features": parts["features"], "memory": parts["memory"].transpose(0, 1),
            "decoded": parts["decoded"].transpose(0, 1)[None]}
    errors = {"logits": np.abs(parts["logits"].numpy() - expect["logits"]).max()}
    for name, value in flat.items():
        if name in expect:
            if list(value.shape) != expect[name]["shape"]:
                raise ValueError(f"{path}: {name} has shape {list(value.shape)}")
            index, wanted = zip(*expect[name]["samples"])
            value = value.reshape(-1).numpy()
            errors[name] = max(np.abs(value[list(index)] - wanted).max(),
                               abs(value.mean() - expect[name]["mean"]),
                               abs(value.std() - expect[name]["std"]))
    errors["attention"] = max(
        np.abs(parts["attention"][a["layer"]][a["image"]].mean(0)[a["label"]].numpy()
               - a["map"]).max() for a in expect["attention"])
    good = all(e < ROUNDING.get(name, ROUNDING_BEHIND_SINES) for name, e in errors.items())
    print("ok  " if good else "FAIL", golden["name"],
          "  ".join(f"{name} {e:.1e}" for name, e in errors.items()), flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["check"])
    parser.add_argument("golden", nargs="+")
    args = parser.parse_args()
    sys.exit(0 if all([check_golden(path) for path in args.golden]) else 1)


if __name__ == "__main__":
    main()
