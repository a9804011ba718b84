"""Assurance 3: reports that GPUs sign themselves in confidential-computing mode, and their verification.

A report is an SPDM 1.1 MEASUREMENTS exchange (DMTF DSP0274). The GPU signs it with a key whose certificates
lead to NVIDIA's device root, which is pinned in this package. The request's nonce is ours, so a report can't
be older than the job, nor serve another job or another provider.

Trust: NVIDIA's certificate authority and the GPU's own security. Not checked here: the measurements against
NVIDIA's reference values (RIM), revocation (OCSP), and that this GPU did the work: see `docs/evidence.md`.

Only `certificates` needs a package beyond the base ones (`cryptography`, extra `attestation`), and imports
it when it is called.
"""

from scrip.attestation.check import check_gpu_reports, verify_report
from scrip.attestation.report import GpuReport, report_nonce

__all__ = ["GpuReport", "check_gpu_reports", "report_nonce", "verify_report"]
