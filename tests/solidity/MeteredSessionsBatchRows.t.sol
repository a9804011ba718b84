// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";
import {AnsweringKey, BurningKey, FloodingKey, RevertingKey} from "./support/SessionKeys.sol";

/// @dev claimBatch with a bad row between two good ones: the row is reported and skipped, its neighbours are paid.
contract MeteredSessionsBatchRowsTest is MeteredSessionsBase {
    IMeteredSessions.Claim[] private rows;

    /* STATUS */

    function testFuzz_Skips_ASessionNobodyOpened(uint256 classId, address payer, uint256 units) public {
        SessionTerms memory terms = _sessionTerms(classId);
        terms.payer = payer;
        _expectSkipped(_row(terms, bound(units, 0, DEPOSIT)), _notOpen(), NONE, OPEN);
    }

    function testFuzz_Skips_AClosedSession(uint256 units) public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        _closeByProvider(terms);
        _expectSkipped(_row(terms, bound(units, 0, type(uint128).max)), _notOpen(), CLOSED, OPEN);
    }

    /* PROVIDER */

    /// @dev A batch pays one provider; a row can't send its pay there, nor take it from there.
    function testFuzz_Skips_ARowOfAnotherProvider(uint256 units) public {
        _registerProvider(bob.addr, oracle.addr);
        SessionTerms memory terms = _sessionTerms(plain);
        terms.provider = bob.addr;
        _start(terms, DEPOSIT);
        _expectSkipped(
            _row(terms, bound(units, 1, DEPOSIT)),
            IMeteredSessions.MeteredSessions_WrongProvider.selector,
            _number(bob.addr),
            _number(provider.addr)
        );
        assertEq(reserve.earningsOf(bob.addr, address(usd)), 0, "earned by the other");
    }

    /// @dev All rows are skipped when the batch names another provider than they do.
    function testFuzz_Skips_EveryRowForAnotherProvider(address other) public {
        vm.assume(other != provider.addr);
        rows.push(_good());
        bytes32 id = _id(rows[0].terms);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.ClaimSkipped(
            id, IMeteredSessions.MeteredSessions_WrongProvider.selector, _number(provider.addr), _number(other)
        );
        vm.prank(other);
        assertEq(sessions.claimBatch(other, rows), 0, "taken");
        _assertOpen(id, DEPOSIT, 0);
    }

    /* UNITS */

    function test_Skips_ZeroUnits() public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        _expectSkipped(_row(terms, 0), IMeteredSessions.MeteredSessions_NothingNew.selector, 0, 0);
    }

    function testFuzz_Skips_AnOldVoucher(uint256 claimed, uint256 units) public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        claimed = bound(claimed, 1, DEPOSIT);
        units = bound(units, 0, claimed);
        _claim(terms, claimed);
        _expectSkipped(_row(terms, units), IMeteredSessions.MeteredSessions_NothingNew.selector, units, claimed);
    }

    function testFuzz_Skips_AVoucherBeyondTheDeposit(uint256 units) public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        units = bound(units, DEPOSIT + 1, type(uint128).max);
        _expectSkipped(_row(terms, units), IMeteredSessions.MeteredSessions_OverDeposit.selector, units, DEPOSIT);
    }

    function testFuzz_Skips_UnitsBeyondTheVoucher(uint256 units, uint256 authorised) public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        units = bound(units, 1, DEPOSIT);
        authorised = bound(authorised, 0, units - 1);
        bytes4 reason = IMeteredSessions.MeteredSessions_OverVoucher.selector;
        _expectSkipped(_row(terms, units, authorised), reason, units, authorised);
    }

    /* SIGNATURE */

    function testFuzz_Skips_AVoucherOfAnother(uint256 signerKey) public {
        signerKey = bound(signerKey, 1, CURVE_ORDER - 1);
        vm.assume(signerKey != key.key);
        Account memory other = Account(vm.addr(signerKey), signerKey);
        (SessionTerms memory terms, bytes32 id) = _startNew(plain, DEPOSIT);
        _expectBadSignature(_row(terms, DEPOSIT, _voucher(other, id, DEPOSIT)), other.addr);
    }

    function testFuzz_Skips_AMalformedSignature(bytes memory signature) public {
        vm.assume(signature.length != 65);
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        _expectBadSignature(_row(terms, DEPOSIT, signature), address(0));
    }

    function test_Skips_AHugeSignature() public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        _expectBadSignature(_row(terms, DEPOSIT, new bytes(20_000)), address(0));
    }

    /* HOSTILE KEYS */

    function test_Skips_AKeyThatReverts() public {
        _expectKeySkipped(address(new RevertingKey()));
    }

    function test_Skips_AKeyThatBurnsItsGas() public {
        _expectKeySkipped(address(new BurningKey()));
    }

    function testFuzz_Skips_AKeyThatAnswersGarbage(bytes32 answer, uint256 size) public {
        vm.assume(bytes4(answer) != 0x1626ba7e);
        _expectKeySkipped(address(new AnsweringKey(abi.encodePacked(answer))));
        _expectKeySkipped(address(new FloodingKey(answer, bound(size, 0, 1_000_000))));
    }

    /// @dev Hostile keys cost what they may use, and no more: fifty of them leave the two good rows paid within a
    /// transaction of EIP-7825.
    function test_Skips_ManyKeysThatBurnTheirGas() public {
        address burner = address(new BurningKey());
        rows.push(_good());
        for (uint256 i; i < 50; ++i) {
            (SessionTerms memory terms,) = _startWithKey(burner);
            rows.push(_row(terms, DEPOSIT, ""));
        }
        rows.push(_good());
        uint256 before = gasleft();
        vm.prank(provider.addr);
        assertEq(sessions.claimBatch{gas: 1 << 24}(provider.addr, rows), 2, "taken");
        assertLt(before - gasleft(), 50 * (KEY_GAS + 25_000) + 250_000, "gas");
        _assertOpen(_id(rows[51].terms), DEPOSIT, DEPOSIT);
    }

    /* DIRTY CALLDATA */

    /// @dev Words with bits their type doesn't have are the terms of no session.
    function testFuzz_Skips_DirtyTerms(uint256 field, uint256 dirt) public {
        uint8[4] memory fields = [0, 1, 3, 4];
        uint8[4] memory bits = [160, 160, 160, 40];
        field = bound(field, 0, 3);
        (SessionTerms memory terms, bytes32 id) = _startNew(plain, DEPOSIT);
        _fill(_row(terms, DEPOSIT));
        bytes memory data = abi.encodeCall(IMeteredSessions.claimBatch, (provider.addr, rows));
        // Provider, offset and length of the rows; three offsets; a row of 7 words of terms, 4 more, and 3 of signature.
        uint256 row = 3 + 3 + 14;
        _soil(data, row + fields[field], bits[field], dirt);
        vm.recordLogs();
        vm.prank(provider.addr);
        (bool ok, bytes memory answer) = address(sessions).call(data);
        assertTrue(ok, "the batch goes on");
        assertEq(abi.decode(answer, (uint256)), 2, "taken");
        assertEq(_count(IMeteredSessions.ClaimSkipped.selector), 1, "skipped");
        _assertOpen(id, DEPOSIT, 0);
        _assertNeighbours();
    }

    /* HELPERS */

    function _good() private returns (IMeteredSessions.Claim memory) {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        return _row(terms, DEPOSIT);
    }

    function _fill(IMeteredSessions.Claim memory bad) private {
        delete rows;
        rows.push(_good());
        rows.push(bad);
        rows.push(_good());
    }

    function _expectSkipped(IMeteredSessions.Claim memory bad, bytes4 reason, uint256 given, uint256 limit) private {
        _fill(bad);
        bytes32 id = _id(bad.terms);
        IMeteredSessions.Session memory before = sessions.sessions(id);
        uint256 earned = _earned();
        uint256 worth = _worth(plain, 2 * DEPOSIT);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.ClaimSkipped(id, reason, given, limit);
        vm.prank(provider.addr);
        assertEq(sessions.claimBatch(provider.addr, rows), 2, "taken");
        _assertSession(id, before.deposit, before.claimed, before.closeAt, before.closed);
        assertEq(_earned() - earned, worth, "earned by the two others");
        _assertNeighbours();
    }

    function _expectBadSignature(IMeteredSessions.Claim memory bad, address signer) private {
        _expectSkipped(
            bad, IMeteredSessions.MeteredSessions_BadSignature.selector, _number(signer), _number(bad.terms.key)
        );
    }

    function _expectKeySkipped(address contractKey) private {
        (SessionTerms memory terms,) = _startWithKey(contractKey);
        _expectBadSignature(_row(terms, DEPOSIT, ""), address(0));
    }

    function _notOpen() private pure returns (bytes4) {
        return IMeteredSessions.MeteredSessions_NotOpen.selector;
    }

    function _assertNeighbours() private view {
        _assertOpen(_id(rows[0].terms), DEPOSIT, DEPOSIT);
        _assertOpen(_id(rows[2].terms), DEPOSIT, DEPOSIT);
    }
}
