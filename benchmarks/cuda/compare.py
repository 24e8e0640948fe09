"""Compares attention_benchmark's output with PyTorch's attention and prints a short table last.

Usage: compare.py attention.tsv. Every backend of PyTorch's scaled_dot_product_attention that
accepts a shape is timed alone (`cudnn` is cuDNN's). Without torch or a GPU for it only cuBLAS is
compared. The short table holds the worst shape of each type beside what the headers aim at.
"""
import statistics
import sys

try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError:
    torch = None

HEADS = 4


def median_ms(work):
    """As attention_benchmark takes it: 20 runs after 3 more."""
    times = []
    for i in range(23):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def pytorch_ms(row):
    """Milliseconds of each backend that takes the shape and type of a row."""
    dtype = {"f16": torch.float16, "bf16": torch.bfloat16}.get(row["type"], torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = row["type"] == "tf32"
    q, k, v = (torch.rand(int(row["batch"]), HEADS, int(row[rows]), int(row["width"]),
                          device="cuda", dtype=dtype) for rows in ("queries", "tokens", "tokens"))
    times = {}
    for name in ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"):
        if not hasattr(SDPBackend, name):
            continue
        try:
            with torch.inference_mode(), sdpa_kernel(getattr(SDPBackend, name)):
                times[name.split("_")[0].lower()] = median_ms(
                    lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
        except RuntimeError:  # the backend does not take this shape or type
            pass
    return times


def read(path):
    """The benchmark's rows as dictionaries."""
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    return [dict(zip(lines[0], line)) for line in lines[1:]]


def least(rows, value):
    """The smallest value among the rows, as text."""
    values = [value(row) for row in rows]
    return f"{min(values):.2f}" if values else "-"


def main():
    rows = read(sys.argv[1])
    has_torch = torch is not None and torch.cuda.is_available()
    if has_torch:
        print(f"# torch {torch.__version__}, {torch.cuda.get_device_name()}")
    else:
        print("# no torch (2.3 or later) with a GPU here: only cuBLAS is compared")
    print("type\tbatch\tqueries\ttokens\twidth\tours ms\tbest peer ms\ttimes\tall peers")
    for row in rows:
        peers = {"cublas": float(row["cublas ms"])}
        if has_torch:
            peers.update(pytorch_ms(row))
        best = min(peers.values())
        row["times"] = best / float(row["ms"])
        every = " ".join(f"{name} {ms:.4f}" for name, ms in peers.items())
        print("\t".join(row[name] for name in ("type", "batch", "queries", "tokens", "width", "ms")),
              f"{best:.4f}", f"{row['times']:.2f}", every, sep="\t")

    print("# the worst shape; speed against the best peer (aims: above 1, 1.5, 1; error at most "
          "2 times; 60 % of the limit)")
    print("type\twidth > 256\tand batch >= 8\twidth 256\terror / cublas\t% of limit, batch 64")
    for kind in dict.fromkeys(row["type"] for row in rows):
        own = [row for row in rows if row["type"] == kind]
        wide = [row for row in own if int(row["width"]) > 256]
        error = max(float(row["error"]) / float(row["cublas error"]) for row in own)
        print(kind,
              least(wide, lambda row: row["times"]),
              least([row for row in wide if int(row["batch"]) >= 8], lambda row: row["times"]),
              least([row for row in own if row["width"] == "256"], lambda row: row["times"]),
              f"{error:.2f}",
              least([row for row in own if row["batch"] == "64"],
                    lambda row: float(row["%limit"])),
              sep="\t")


if __name__ == "__main__":
    main()
