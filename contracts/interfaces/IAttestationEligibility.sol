// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IEligibility} from "./IEligibility.sol";

/// @title Accounts that one attester vouches for on EAS may hold the credits of every class that names this contract.
interface IAttestationEligibility is IEligibility {
    event AttestationRegistered(address indexed account, bytes32 indexed uid);

    error AttestationEligibility_ZeroAttester(bytes32 uid, address given, address limit);
    error AttestationEligibility_WrongSchema(bytes32 uid, bytes32 given, bytes32 limit);
    error AttestationEligibility_WrongAttester(bytes32 uid, address given, address limit);
    error AttestationEligibility_WrongRecipient(bytes32 uid, address given, address limit);
    error AttestationEligibility_Revoked(bytes32 uid, uint256 given, uint256 limit);
    error AttestationEligibility_Expired(bytes32 uid, uint256 given, uint256 limit);
    /// @notice The account has an attestation that holds as long, or longer. A time of 2**256 - 1 stands for ever.
    error AttestationEligibility_NotLonger(bytes32 uid, uint256 given, uint256 limit);

    /// @notice Names the attestation that makes `account` eligible, in place of one that no longer holds or ends earlier.
    /// Anyone.
    function register(address account, bytes32 uid) external;

    /// @notice Attestation registered for an account, whether or not it still holds.
    function uidOf(address account) external view returns (bytes32);
}
