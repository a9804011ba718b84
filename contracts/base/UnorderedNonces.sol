// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IUnorderedNonces} from "../interfaces/IUnorderedNonces.sol";

/// @title UnorderedNonces
/// @dev A bitmap for each account, 256 nonces to a word: signed calls can be sent in any order, or side by side.
abstract contract UnorderedNonces is IUnorderedNonces {
    mapping(address account => mapping(uint256 word => uint256)) private _nonces;

    /// @inheritdoc IUnorderedNonces
    function useNonce(uint256 nonce) external {
        _spendNonce(msg.sender, nonce);
    }

    /// @inheritdoc IUnorderedNonces
    function isNonceUsed(address account, uint256 nonce) public view returns (bool) {
        return _nonces[account][nonce >> 8] >> (nonce & 0xff) & 1 == 1;
    }

    /// @dev Reverts unless `account` (ECDSA or ERC-1271) signed `digest` and neither deadline nor nonce is past. The nonce is
    /// spent before the account's code can run.
    function _useSignature(address account, uint256 nonce, uint256 deadline, bytes32 digest, bytes calldata signature)
        internal
    {
        if (block.timestamp > deadline) revert UnorderedNonces_DeadlinePassed(account, block.timestamp, deadline);
        _spendNonce(account, nonce);
        if (!SignatureChecker.isValidSignatureNowCalldata(account, digest, signature)) {
            revert UnorderedNonces_BadSignature(account, signature.length, 65);
        }
    }

    function _spendNonce(address account, uint256 nonce) private {
        if (isNonceUsed(account, nonce)) revert UnorderedNonces_Used(account, nonce, 1);
        _nonces[account][nonce >> 8] |= 1 << (nonce & 0xff);
        emit NonceUsed(account, nonce);
    }
}
