// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title Nonces that can be used in any order: each signed call names a number its signer hasn't used.
interface IUnorderedNonces {
    event NonceUsed(address indexed account, uint256 nonce);

    error UnorderedNonces_Used(address account, uint256 given, uint256 limit);
    error UnorderedNonces_DeadlinePassed(address account, uint256 given, uint256 limit);
    error UnorderedNonces_BadSignature(address account, uint256 given, uint256 limit);

    /// @notice Spends a nonce of the caller, so that a signature it gave can no longer be used.
    function useNonce(uint256 nonce) external;

    function isNonceUsed(address account, uint256 nonce) external view returns (bool);
}
