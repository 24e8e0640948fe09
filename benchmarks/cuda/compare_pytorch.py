"""Times PyTorch on the shapes of attention.tsv (attention_benchmark's output) and prints both.

Every backend of scaled_dot_product_attention that accepts a shape is timed alone; `unfused` is
cuBLAS products and a softmax. Skipped (exit code 77) where torch or its GPU is missing.
"""
import statistics
import sys

try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError:
    print("no torch (2.3 or later) here: PyTorch is not compared")
    sys.exit(77)

HEADS = 4
DTYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def median_ms(work):
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


def unfused(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1) @ v


def backends():
    yield "unfused", unfused
    for name in ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"):
        backend = getattr(SDPBackend, name, None)
        if backend is None:
            continue

        def attend(q, k, v, backend=backend):
            with sdpa_kernel(backend):
                return torch.nn.functional.scaled_dot_product_attention(q, k, v)

        yield name.split("_")[0].lower(), attend


def main():
    if not torch.cuda.is_available():
        print("no GPU for torch here: PyTorch is not compared")
        sys.exit(77)
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    columns = {name: i for i, name in enumerate(lines[0])}
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
    print("type\tbatch\tqueries\ttokens\twidth\tours ms\tbest ms\tratio\tall")
    for line in lines[1:]:
        kind = line[0]
        batch, queries, tokens, width = (
            int(line[columns[name]]) for name in ("batch", "queries", "tokens", "width"))
        ours = float(line[columns["ms"]])
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        q, k, v = (torch.rand(batch, HEADS, rows, width, device="cuda", dtype=DTYPES[kind])
                   for rows in (queries, tokens, tokens))
        times = {}
        with torch.inference_mode():
            for name, attend in backends():
                try:
                    times[name] = median_ms(lambda: attend(q, k, v))
                except RuntimeError:  # the backend does not take this shape or type
                    continue
        best = min(times.values())
        every = " ".join(f"{name} {ms:.4f}" for name, ms in times.items())
        print(f"{kind}\t{batch}\t{queries}\t{tokens}\t{width}\t{ours:.4f}\t{best:.4f}"
              f"\t{best / ours:.2f}\t{every}")


if __name__ == "__main__":
    main()
