"""Numba kernels over Arrow buffers. They know no method and import nothing else of tilth."""
