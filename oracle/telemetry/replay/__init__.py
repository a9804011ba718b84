"""A stand-in for NVIDIA's libnvidia-ml.so.1 that plays back traces: for machines without a GPU, and for
tests.
"""
