// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";
import {ContractWallet} from "./support/Wallets.sol";

/// @dev openSessionBySig: a relayer opens a session that its payer signed. With a budget: MeteredSessionsBudget.t.sol.
contract MeteredSessionsOpenBySigTest is MeteredSessionsBase {
    SessionTerms private terms;
    bytes32 private id;
    uint256 private deadline = START + 1 hours;

    function setUp() public override {
        super.setUp();
        terms = _sessionTerms(plain);
        id = _id(terms);
        _buy(alice.addr, plain, DEPOSIT);
    }

    /* REVERTS */

    function testFuzz_RevertWhen_DeadlinePassed(uint40 late, uint40 deadline_) public {
        uint256 when = bound(late, START + 1, START + 20 days);
        deadline = bound(deadline_, 0, when - 1);
        bytes memory signature = _agree(alice, DEPOSIT);
        vm.warp(when);
        _expect(IMeteredSessions.MeteredSessions_DeadlinePassed.selector, id, when, deadline);
        _send(DEPOSIT, signature);
    }

    function testFuzz_RevertWhen_SignedByAnother(uint256 signerKey) public {
        signerKey = bound(signerKey, 1, CURVE_ORDER - 1);
        vm.assume(signerKey != alice.key);
        _expectBadSignature(DEPOSIT, _agree(Account(vm.addr(signerKey), signerKey), DEPOSIT));
    }

    /// @dev The session key signs vouchers and nothing else.
    function test_RevertWhen_SignedByTheSessionKey() public {
        _expectBadSignature(DEPOSIT, _agree(key, DEPOSIT));
    }

    function testFuzz_RevertWhen_SignatureIsMalformed(bytes memory signature) public {
        vm.assume(signature.length != 65);
        _expectBadSignature(DEPOSIT, signature);
    }

    function testFuzz_RevertWhen_RelayerChangesTheUnits(uint256 units) public {
        vm.assume(units != DEPOSIT);
        _expectBadSignature(units, _agree(alice, DEPOSIT));
    }

    function testFuzz_RevertWhen_RelayerChangesTheDeadline(uint256 other) public {
        other = bound(other, START, type(uint256).max);
        vm.assume(other != deadline);
        bytes memory signature = _agree(alice, DEPOSIT);
        deadline = other;
        _expectBadSignature(DEPOSIT, signature);
    }

    /// @dev What a relayer changes makes it another session, which nobody signed.
    function testFuzz_RevertWhen_RelayerChangesTheTerms(uint256 field, uint256 seed) public {
        bytes memory signature = _agree(alice, DEPOSIT);
        field = bound(field, 0, 4);
        // forge-lint: disable-start(unsafe-typecast)
        if (field == 0) terms.provider = address(uint160(seed));
        if (field == 1) terms.classId = seed;
        if (field == 2) terms.key = address(uint160(seed));
        if (field == 3) terms.expiresAt = uint40(seed);
        if (field == 4) terms.salt = seed;
        // forge-lint: disable-end(unsafe-typecast)
        vm.assume(_id(terms) != id);
        id = _id(terms);
        _expectBadSignature(DEPOSIT, signature);
    }

    function testFuzz_RevertWhen_PayerIsSomebodyElse(address payer) public {
        _assumeStranger(payer);
        bytes memory signature = _agree(alice, DEPOSIT);
        terms.payer = payer;
        id = _id(terms);
        _expectBadSignature(DEPOSIT, signature);
    }

    /// @dev No signature stands for nobody, and the sessions themselves can't be made to pay.
    function testFuzz_RevertWhen_PayerIsNobodyOrTheSessions(bytes32 r, bytes32 s, uint8 v) public {
        terms.payer = address(0);
        id = _id(terms);
        _expectBadSignature(DEPOSIT, abi.encodePacked(r, s, v));
        terms.payer = address(sessions);
        id = _id(terms);
        _expectBadSignature(DEPOSIT, abi.encodePacked(r, s, v));
    }

    function testFuzz_RevertWhen_SignedForAnotherChain(uint64 chainId) public {
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.assume(chainId != HERE);
        bytes memory signature = _agree(alice, DEPOSIT);
        vm.chainId(chainId);
        id = sessions.hashTerms(terms);
        _expectBadSignature(DEPOSIT, signature);
    }

    /// @dev A voucher is no consent to open, although both name the session and units.
    function test_RevertWhen_SignatureIsAVoucher() public {
        _expectBadSignature(DEPOSIT, _voucher(alice, id, DEPOSIT));
    }

    function test_RevertWhen_SentTwice() public {
        bytes memory signature = _agree(alice, DEPOSIT);
        _send(DEPOSIT, signature);
        _buy(alice.addr, plain, DEPOSIT);
        _expect(IMeteredSessions.MeteredSessions_AlreadyOpened.selector, id, OPEN, NONE);
        _send(DEPOSIT, signature);
        _closeByProvider(terms);
        _expect(IMeteredSessions.MeteredSessions_AlreadyOpened.selector, id, CLOSED, NONE);
        _send(DEPOSIT, signature);
    }

    function test_RevertWhen_WalletDidNotApprove() public {
        _payBy(new ContractWallet());
        _expectBadSignature(DEPOSIT, "any");
    }

    /// @dev A signature is no way round the rest of the rules.
    function test_RevertWhen_UnitsAreZero() public {
        bytes memory signature = _agree(alice, 0);
        _expect(IMeteredSessions.MeteredSessions_ZeroUnits.selector, id, 0, 1);
        _send(0, signature);
    }

    /* OPENED */

    function testFuzz_OpenSessionBySig(uint96 units, address relayer, uint256 deadline_) public {
        units = uint96(bound(units, 1, DEPOSIT));
        deadline = bound(deadline_, START, type(uint256).max);
        bytes memory signature = _agree(alice, units);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionOpened(
            id, alice.addr, provider.addr, plain, units, key.addr, terms.expiresAt, 0, terms.salt
        );
        vm.prank(relayer);
        assertEq(sessions.openSessionBySig(terms, units, deadline, signature), id, "session id");
        _assertOpen(id, units, 0);
        _assertHeld(plain, units);
        _assertCredits(alice.addr, plain, DEPOSIT - units, "left to the payer");
    }

    function testFuzz_OpenSessionBySig_ByAWallet(bytes memory signature) public {
        ContractWallet wallet = new ContractWallet();
        _payBy(wallet);
        wallet.approve(_openDigest(id, DEPOSIT, deadline));
        _send(DEPOSIT, signature);
        _assertOpen(id, DEPOSIT, 0);
        _assertCredits(address(wallet), plain, 0, "left to the wallet");
    }

    /* HELPERS */

    function _payBy(ContractWallet wallet) private {
        terms.payer = address(wallet);
        id = _id(terms);
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, address(wallet), plain, DEPOSIT, "");
    }

    function _agree(Account memory signer, uint256 units) private view returns (bytes memory) {
        return _sign(signer, _openDigest(id, units, deadline));
    }

    function _send(uint256 units, bytes memory signature) private {
        vm.prank(anyone);
        sessions.openSessionBySig(terms, units, deadline, signature);
    }

    function _expectBadSignature(uint256 units, bytes memory signature) private {
        _expect(IMeteredSessions.MeteredSessions_BadSignature.selector, id, signature.length, _number(terms.payer));
        _send(units, signature);
    }
}
