"""Credits as access: a cluster runs a workload only for a funded, accepted job (docs/admission.md)."""
