// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Vm} from "forge-std/Vm.sol";
import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev Builds, opens and claims sessions. Digests are computed here from the type strings, not asked of the contract.
abstract contract MeteredSessionsBase is Base {
    uint256 internal constant DEPOSIT = 1_000_000;
    uint256 internal constant MAX_LIFETIME = 366 days;
    uint256 internal constant KEY_GAS = 100_000;
    /// @dev forge's chain id. Not read from the block, which the optimizer may do after a change.
    uint256 internal constant HERE = 31337;
    uint256 internal constant CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    /// @dev Statuses as errors give them.
    uint256 internal constant NONE = 0;
    uint256 internal constant OPEN = 1;
    uint256 internal constant CLOSED = 2;

    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 internal constant TERMS_TYPEHASH = keccak256(
        "SessionTerms(address payer,address provider,uint256 classId,address key,uint40 expiresAt,uint256 budgetId,uint256 salt)"
    );
    bytes32 internal constant OPEN_TYPEHASH =
        keccak256("OpenSession(bytes32 sessionId,uint256 units,uint256 deadline)");
    bytes32 internal constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 sessionId,uint256 units)");

    Account internal key = makeAccount("session key");

    uint256 private _salt;

    /* SESSIONS */

    /// @dev Terms of a new session of alice's for thirty days.
    function _sessionTerms(uint256 classId) internal returns (SessionTerms memory) {
        return SessionTerms({
            payer: alice.addr,
            provider: provider.addr,
            classId: classId,
            key: key.addr,
            expiresAt: uint40(_now() + 30 days),
            budgetId: 0,
            salt: ++_salt
        });
    }

    function _openSession(SessionTerms memory terms, uint256 units) internal returns (bytes32) {
        vm.prank(terms.payer);
        return sessions.openSession(terms, units);
    }

    /// @dev Buys what the session needs and opens it.
    function _start(SessionTerms memory terms, uint256 units) internal returns (bytes32) {
        _buy(terms.payer, terms.classId, units);
        return _openSession(terms, units);
    }

    function _startNew(uint256 classId, uint256 units) internal returns (SessionTerms memory terms, bytes32 id) {
        terms = _sessionTerms(classId);
        id = _start(terms, units);
    }

    /// @dev A session whose key is a contract.
    function _startWithKey(address contractKey) internal returns (SessionTerms memory terms, bytes32 id) {
        terms = _sessionTerms(plain);
        terms.key = contractKey;
        id = _start(terms, DEPOSIT);
    }

    /// @dev Asked for by the payer; returns when it can be closed.
    function _requestClose(SessionTerms memory terms) internal returns (uint256) {
        vm.prank(terms.payer);
        sessions.requestClose(terms);
        return _now() + CLOSE_DELAY;
    }

    function _closeByProvider(SessionTerms memory terms) internal {
        vm.prank(terms.provider);
        sessions.close(terms);
    }

    /* VOUCHERS */

    function _row(SessionTerms memory terms, uint256 units) internal view returns (IMeteredSessions.Claim memory) {
        return _row(terms, units, units);
    }

    /// @dev Takes `units` of a voucher that authorises more or less.
    function _row(SessionTerms memory terms, uint256 units, uint256 authorised)
        internal
        view
        returns (IMeteredSessions.Claim memory)
    {
        bytes memory signature = _voucher(key, _id(terms), authorised);
        // forge-lint: disable-next-line(unsafe-typecast)
        return IMeteredSessions.Claim(terms, uint128(units), uint128(authorised), signature);
    }

    function _row(SessionTerms memory terms, uint256 units, bytes memory signature)
        internal
        pure
        returns (IMeteredSessions.Claim memory)
    {
        // forge-lint: disable-next-line(unsafe-typecast)
        return IMeteredSessions.Claim(terms, uint128(units), uint128(units), signature);
    }

    function _voucher(Account memory signer, bytes32 id, uint256 units) internal view returns (bytes memory) {
        return _sign(signer, _voucherDigest(id, units));
    }

    function _claim(SessionTerms memory terms, uint256 units) internal returns (uint256) {
        return _claim(_row(terms, units));
    }

    /// @dev Sent by the provider.
    function _claim(IMeteredSessions.Claim memory row) internal returns (uint256) {
        vm.prank(row.terms.provider);
        return sessions.claim(row);
    }

    /* DIGESTS */

    function _id(SessionTerms memory terms) internal view returns (bytes32) {
        return _typed(address(sessions), HERE, keccak256(abi.encode(TERMS_TYPEHASH, terms)));
    }

    function _voucherDigest(bytes32 id, uint256 units) internal view returns (bytes32) {
        return _typed(address(sessions), HERE, keccak256(abi.encode(VOUCHER_TYPEHASH, id, units)));
    }

    function _openDigest(bytes32 id, uint256 units, uint256 deadline) internal view returns (bytes32) {
        return _typed(address(sessions), HERE, keccak256(abi.encode(OPEN_TYPEHASH, id, units, deadline)));
    }

    function _typed(address verifying, uint256 chainId, bytes32 structHash) internal pure returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("Scrip MeteredSessions"), keccak256("1"), chainId, verifying)
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    /* MONEY */

    function _earned() internal view returns (uint256) {
        return reserve.earningsOf(provider.addr, address(usd));
    }

    /// @dev What burning `units` now would pay.
    function _worth(uint256 classId, uint256 units) internal view returns (uint256) {
        return units * reserve.backingOf(classId) / credits.totalSupply(classId);
    }

    /* ASSERTIONS */

    function _assertSession(bytes32 id, uint256 deposit, uint256 claimed, uint256 closeAt, bool closed) internal view {
        IMeteredSessions.Session memory session = sessions.sessions(id);
        assertEq(session.deposit, deposit, "session's deposit");
        assertEq(session.claimed, claimed, "session's claims");
        assertEq(session.closeAt, closeAt, "session's closeAt");
        assertEq(session.closed, closed, "session closed");
    }

    function _assertOpen(bytes32 id, uint256 deposit, uint256 claimed) internal view {
        _assertSession(id, deposit, claimed, 0, false);
    }

    /// @dev What the sessions hold of a class.
    function _assertHeld(uint256 classId, uint256 expected) internal view {
        assertEq(credits.balanceOf(address(sessions), classId), expected, "held by the sessions");
    }

    /// @dev Events of one kind since `vm.recordLogs`.
    function _count(bytes32 topic) internal returns (uint256 count) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == topic) ++count;
        }
    }

    /* CALLDATA */

    /// @dev Sets at least one bit above the low `bits` of a word of calldata.
    function _soil(bytes memory data, uint256 word, uint256 bits, uint256 dirt) internal pure {
        dirt = bound(dirt, 1, type(uint256).max >> bits) << bits;
        assembly ("memory-safe") {
            let place := add(data, add(36, mul(word, 32)))
            mstore(place, or(mload(place), dirt))
        }
    }
}
