"""Who may hold a class: attestations and lists on chain, and the credentials that they rest on.

`eas` speaks to the Ethereum Attestation Service, `eligibility` to the contracts that classes name. `dids`,
`credentials` and `status_lists` check W3C verifiable credentials, `acceptance` turns one into eligibility and
ends it when the credential ends. docs/identity.md says how they go together.
"""
