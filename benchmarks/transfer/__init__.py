"""Parts of `benchmarks/transfer_kernels.py`."""
