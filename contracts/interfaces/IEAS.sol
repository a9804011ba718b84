// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title The part of the Ethereum Attestation Service (EAS v1) that is read here, laid out as it is there.
interface IEAS {
    /// @param uid Zero for an attestation that doesn't exist.
    /// @param expirationTime Unix seconds from which it no longer holds; 0 never.
    /// @param revocationTime Unix seconds; 0 unless revoked.
    struct Attestation {
        bytes32 uid;
        bytes32 schema;
        uint64 time;
        uint64 expirationTime;
        uint64 revocationTime;
        bytes32 refUID;
        address recipient;
        address attester;
        bool revocable;
        bytes data;
    }

    function getAttestation(bytes32 uid) external view returns (Attestation memory);
}
