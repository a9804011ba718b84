// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAttestationEligibility} from "../interfaces/IAttestationEligibility.sol";
import {IEAS} from "../interfaces/IEAS.sol";
import {IEligibility} from "../interfaces/IEligibility.sol";

/// @title AttestationEligibility
/// @dev Trust model.
/// - The attester decides: what it revokes, or lets expire, ends eligibility at once. An account that lost it keeps what it
///   holds, and can use, sell and reclaim it.
/// - EAS is trusted to keep attestations as they were made: only revocation and expiry are read again.
/// - Anyone may register an attestation, but can't put one that ends earlier in the place of one that holds.
/// - No owner, no role.
contract AttestationEligibility is IAttestationEligibility {
    IEAS public immutable EAS;
    bytes32 public immutable SCHEMA;
    address public immutable ATTESTER;

    mapping(address account => bytes32) public uidOf;

    constructor(IEAS eas, bytes32 schema, address attester) {
        // An attestation that doesn't exist names address zero.
        if (attester == address(0)) revert AttestationEligibility_ZeroAttester(0, attester, attester);
        (EAS, SCHEMA, ATTESTER) = (eas, schema, attester);
    }

    /// @inheritdoc IAttestationEligibility
    function register(address account, bytes32 uid) external {
        IEAS.Attestation memory a = EAS.getAttestation(uid);
        if (a.schema != SCHEMA) revert AttestationEligibility_WrongSchema(uid, a.schema, SCHEMA);
        if (a.attester != ATTESTER) revert AttestationEligibility_WrongAttester(uid, a.attester, ATTESTER);
        if (a.recipient != account) revert AttestationEligibility_WrongRecipient(uid, a.recipient, account);
        if (a.revocationTime != 0) revert AttestationEligibility_Revoked(uid, a.revocationTime, 0);
        uint256 end = _end(a);
        if (block.timestamp >= end) revert AttestationEligibility_Expired(uid, block.timestamp, end);
        uint256 current = _holdsUntil(uidOf[account]);
        if (end <= current) revert AttestationEligibility_NotLonger(uid, end, current);
        uidOf[account] = uid;
        emit AttestationRegistered(account, uid);
    }

    /// @inheritdoc IEligibility
    function isEligible(address account, uint256) external view returns (bool) {
        return _holdsUntil(uidOf[account]) != 0;
    }

    /// @dev When an attestation that was checked before ends; 0 if it holds no longer.
    function _holdsUntil(bytes32 uid) private view returns (uint256) {
        if (uid == 0) return 0;
        IEAS.Attestation memory a = EAS.getAttestation(uid);
        uint256 end = _end(a);
        return a.revocationTime != 0 || block.timestamp >= end ? 0 : end;
    }

    function _end(IEAS.Attestation memory a) private pure returns (uint256) {
        return a.expirationTime == 0 ? type(uint256).max : a.expirationTime;
    }
}
