// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IMeteredSessions} from "../interfaces/IMeteredSessions.sol";
import {SessionTerms} from "../interfaces/Types.sol";
import {WordsHash} from "./WordsHash.sol";

/// @title What makes the terms of a session and its vouchers acceptable.
library SessionRules {
    bytes32 internal constant TERMS_TYPEHASH = keccak256(
        "SessionTerms(address payer,address provider,uint256 classId,address key,uint40 expiresAt,uint256 budgetId,uint256 salt)"
    );
    bytes32 internal constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 sessionId,uint256 units)");
    uint256 internal constant MAX_LIFETIME = 366 days;
    /// @dev Gas a key that is a contract gets to check a voucher: plenty for a wallet of several owners, and little
    /// enough that a batch can bear keys that burn it all.
    uint256 internal constant KEY_GAS = 100_000;
    uint256 private constant TERMS_WORDS = 7;

    /// @dev Life of a session as errors carry it.
    uint256 internal constant NONE = 0;
    uint256 internal constant OPEN = 1;
    uint256 internal constant CLOSED = 2;

    /* HASHES */

    /// @dev EIP-712 digest of terms: the session's id.
    function id(bytes32 domain, SessionTerms calldata terms) internal pure returns (bytes32) {
        uint256 offset;
        assembly {
            offset := terms
        }
        return MessageHashUtils.toTypedDataHash(domain, WordsHash.hash(TERMS_TYPEHASH, offset, TERMS_WORDS));
    }

    /// @dev In scratch memory: `abi.encode`, which keeps its memory, cost 134 gas more for each row of a batch of 100.
    function voucherDigest(bytes32 domain, bytes32 sessionId, uint256 units) internal pure returns (bytes32) {
        bytes32 typehash = VOUCHER_TYPEHASH;
        bytes32 structHash;
        assembly ("memory-safe") {
            // Beyond the free memory pointer; not kept.
            let start := mload(0x40)
            mstore(start, typehash)
            mstore(add(start, 32), sessionId)
            mstore(add(start, 64), units)
            structHash := keccak256(start, 96)
        }
        return MessageHashUtils.toTypedDataHash(domain, structHash);
    }

    /* CHECKS */

    function checkTerms(bytes32 sessionId, SessionTerms calldata terms, uint256 units) internal view {
        if (units == 0) revert IMeteredSessions.MeteredSessions_ZeroUnits(sessionId, 0, 1);
        if (terms.key == address(0)) revert IMeteredSessions.MeteredSessions_ZeroKey(sessionId, 0, 1);
        uint256 expiresAt = terms.expiresAt;
        if (expiresAt <= block.timestamp) {
            revert IMeteredSessions.MeteredSessions_DeadlinePassed(sessionId, block.timestamp, expiresAt);
        }
        uint256 latest = block.timestamp + MAX_LIFETIME;
        if (expiresAt > latest) revert IMeteredSessions.MeteredSessions_ExpiryTooFar(sessionId, expiresAt, latest);
    }

    /// @dev A session that was ever opened has a deposit: it is kept when the session is closed.
    function statusOf(IMeteredSessions.Session storage session) internal view returns (uint256) {
        return _status(session.deposit, session.closed);
    }

    function checkOpen(bytes32 sessionId, IMeteredSessions.Session storage session) internal view {
        uint256 status = statusOf(session);
        if (status != OPEN) revert IMeteredSessions.MeteredSessions_NotOpen(sessionId, status, OPEN);
    }

    /// @dev What is wrong with a claim, as the error to revert with or to report; zero if nothing is. One list for
    /// single and batched claims, so that they can't differ. The status comes before any field of the terms is read:
    /// terms that aren't properly encoded are no session's.
    /// @param provider Who the caller says is paid.
    function fault(
        bytes32 sessionId,
        IMeteredSessions.Session storage session,
        IMeteredSessions.Claim calldata row,
        address provider,
        bytes32 domain
    ) internal view returns (bytes4 reason, uint256 given, uint256 limit) {
        (uint256 deposit, uint256 claimed, bool closed) = (session.deposit, session.claimed, session.closed);
        uint256 status = _status(deposit, closed);
        if (status != OPEN) return (IMeteredSessions.MeteredSessions_NotOpen.selector, status, OPEN);
        if (row.terms.provider != provider) {
            return
                (IMeteredSessions.MeteredSessions_WrongProvider.selector, number(row.terms.provider), number(provider));
        }
        uint256 units = row.units;
        if (units <= claimed) return (IMeteredSessions.MeteredSessions_NothingNew.selector, units, claimed);
        if (units > deposit) return (IMeteredSessions.MeteredSessions_OverDeposit.selector, units, deposit);
        uint256 authorised = row.authorised;
        if (units > authorised) return (IMeteredSessions.MeteredSessions_OverVoucher.selector, units, authorised);
        (bool signed, address signer) = _isSigned(sessionId, row, voucherDigest(domain, sessionId, authorised));
        if (signed) return (0, 0, 0);
        return (IMeteredSessions.MeteredSessions_BadSignature.selector, number(signer), number(row.terms.key));
    }

    /// @dev Reverts with the fault as the custom error it names: all errors of sessions have this shape.
    function raise(bytes4 reason, bytes32 sessionId, uint256 given, uint256 limit) internal pure {
        bytes memory data = abi.encodeWithSelector(reason, sessionId, given, limit);
        assembly ("memory-safe") {
            revert(add(data, 32), mload(data))
        }
    }

    /// @dev An account as the errors of sessions carry it.
    function number(address account) internal pure returns (uint256) {
        return uint160(account);
    }

    /* INTERNAL */

    function _status(uint256 deposit, bool closed) private pure returns (uint256) {
        if (deposit == 0) return NONE;
        return closed ? CLOSED : OPEN;
    }

    /// @dev The key's own signature counts whatever code the key has or gets: an account that delegates to code
    /// (EIP-7702) can't take back what it signed.
    function _isSigned(bytes32 sessionId, IMeteredSessions.Claim calldata row, bytes32 digest)
        private
        view
        returns (bool signed, address signer)
    {
        (signer,,) = ECDSA.tryRecoverCalldata(digest, row.signature);
        address key = row.terms.key;
        // Never both zero: no session has the zero key.
        if (signer == key) return (true, signer);
        return (key.code.length != 0 && _agrees(sessionId, key, digest, row.signature), signer);
    }

    /// @dev ERC-1271, with neither more gas nor more memory than a hostile key can be allowed.
    function _agrees(bytes32 sessionId, address key, bytes32 digest, bytes calldata signature)
        private
        view
        returns (bool agreed)
    {
        bytes memory data = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        // A call gets at most 63/64 of the gas that is left. With less than it may use, an honest key would look like a
        // hostile one, and a gas estimate would settle on skipping its row.
        // Besides the 64th, this covers the look at code that a key delegates to (EIP-7702), which the caller pays.
        uint256 needed = KEY_GAS + KEY_GAS / 16;
        if (gasleft() < needed) revert IMeteredSessions.MeteredSessions_LittleGas(sessionId, gasleft(), needed);
        bytes32 answer;
        assembly ("memory-safe") {
            mstore(0, 0)
            agreed := staticcall(KEY_GAS, key, add(data, 32), mload(data), 0, 32)
            agreed := and(agreed, gt(returndatasize(), 31))
            answer := mload(0)
        }
        // The whole word, so that bytes after the selector aren't ignored.
        return agreed && answer == bytes32(IERC1271.isValidSignature.selector);
    }
}
