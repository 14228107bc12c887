"""Optional C kernels for operators that torch computes slowly on a CPU."""
