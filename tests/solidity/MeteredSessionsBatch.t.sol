// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Vm} from "forge-std/Vm.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";

/// @dev claimBatch when its rows are good: what it pays and how it groups them. Bad rows: MeteredSessionsBatchRows.t.sol.
contract MeteredSessionsBatchTest is MeteredSessionsBase {
    IMeteredSessions.Claim[] private rows;

    function testFuzz_RevertWhen_BatchIsEmpty(address anyProvider) public {
        _expect(IMeteredSessions.MeteredSessions_BadBatch.selector, bytes32(0), 0, 1);
        sessions.claimBatch(anyProvider, new IMeteredSessions.Claim[](0));
    }

    /// @dev The call is refused as a whole: each row takes what the caller says was used.
    function testFuzz_RevertWhen_CallerIsNotTheProvider(address caller) public {
        vm.assume(caller != provider.addr && caller != oracle.addr);
        bytes32 id = _add(plain, DEPOSIT);
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, bytes32(0), _number(caller), _number(provider.addr));
        vm.prank(caller);
        sessions.claimBatch(provider.addr, rows);
        _assertOpen(id, DEPOSIT, 0);
    }

    /// @dev One session, one row: as `claim`, sent by the provider or its oracle key.
    function testFuzz_ClaimBatch_OfOne(uint256 units, bool byOracle) public {
        units = bound(units, 1, DEPOSIT);
        bytes32 id = _add(plain, units);
        uint256 worth = _worth(plain, units);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionClaimed(id, provider.addr, units);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.PaidOut(plain, provider.addr, units, worth);
        vm.prank(byOracle ? oracle.addr : provider.addr);
        assertEq(sessions.claimBatch(provider.addr, rows), 1, "taken");
        _assertOpen(id, DEPOSIT, units);
        assertEq(_earned(), worth, "earned");
    }

    /// @dev Many sessions of one class: every row is booked alone, and all are burned and paid in one go.
    function testFuzz_ClaimBatch_OfOneClass(uint256 count, uint256 seed) public {
        count = bound(count, 2, 12);
        uint256 sum;
        for (uint256 i; i < count; ++i) {
            uint256 units = _random(seed, i);
            sum += units;
            _add(plain, units);
        }
        uint256 worth = _worth(plain, sum);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.PaidOut(plain, provider.addr, sum, worth);
        vm.recordLogs();
        assertEq(_send(), count, "taken");
        assertEq(_count(ICreditReserve.PaidOut.selector), 1, "pay-outs");
        _assertAll();
        _assertHeld(plain, count * DEPOSIT - sum);
        assertEq(credits.totalSupply(plain), count * DEPOSIT - sum, "supply");
        assertEq(_earned(), worth, "earned");
    }

    /// @dev Each run of rows of one class is one burn and one pay-out; classes don't mix.
    function test_ClaimBatch_OfSeveralClasses() public {
        uint256 third = _createClass(_saleTerms());
        uint256[7] memory classes = [plain, plain, watched, third, third, third, plain];
        for (uint256 i; i < classes.length; ++i) {
            _add(classes[i], i + 1);
        }
        _expectPaidOut(plain, 1 + 2);
        _expectPaidOut(watched, 3);
        _expectPaidOut(third, 4 + 5 + 6);
        _expectPaidOut(plain, 7);
        vm.recordLogs();
        assertEq(_send(), 7, "taken");
        assertEq(_count(ICreditReserve.PaidOut.selector), 4, "pay-outs");
        _assertAll();
        _assertHeld(plain, 3 * DEPOSIT - 10);
        _assertHeld(watched, DEPOSIT - 3);
        _assertHeld(third, 3 * DEPOSIT - 15);
    }

    /// @dev A skipped row, even of another class, doesn't cut a run in two.
    function test_ClaimBatch_SkippedRowsDoNotCutRuns() public {
        _add(plain, 5);
        _add(watched, 0);
        _add(plain, 6);
        _expectPaidOut(plain, 11);
        vm.recordLogs();
        assertEq(_send(), 2, "taken");
        assertEq(_count(ICreditReserve.PaidOut.selector), 1, "pay-outs");
        _assertHeld(watched, DEPOSIT);
    }

    /// @dev Nothing is burned or paid when nothing is taken.
    function test_ClaimBatch_OfBadRowsAlone() public {
        _add(plain, 0);
        _add(plain, DEPOSIT + 1);
        vm.recordLogs();
        assertEq(_send(), 0, "taken");
        assertEq(_count(ICreditReserve.PaidOut.selector), 0, "pay-outs");
        _assertHeld(plain, 2 * DEPOSIT);
        assertEq(_earned(), 0, "earned");
    }

    /* THE SAME SESSION TWICE */

    function testFuzz_ClaimBatch_NewerVoucherPaysTheRest(uint256 first, uint256 second) public {
        second = bound(second, 2, DEPOSIT);
        first = bound(first, 1, second - 1);
        bytes32 id = _add(plain, first);
        rows.push(_row(rows[0].terms, second));
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionClaimed(id, provider.addr, first);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionClaimed(id, provider.addr, second - first);
        _expectPaidOut(plain, second);
        assertEq(_send(), 2, "taken");
        _assertOpen(id, DEPOSIT, second);
        _assertHeld(plain, DEPOSIT - second);
    }

    function testFuzz_ClaimBatch_OlderVoucherIsSkipped(uint256 first, uint256 second) public {
        first = bound(first, 1, DEPOSIT);
        second = bound(second, 0, first);
        bytes32 id = _add(plain, first);
        rows.push(_row(rows[0].terms, second));
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.ClaimSkipped(id, IMeteredSessions.MeteredSessions_NothingNew.selector, second, first);
        _expectPaidOut(plain, first);
        assertEq(_send(), 1, "taken");
        _assertOpen(id, DEPOSIT, first);
    }

    function testFuzz_ClaimBatch_SentTwice(uint256 seed) public {
        for (uint256 i; i < 3; ++i) {
            _add(plain, _random(seed, i));
        }
        _send();
        uint256 earned = _earned();
        uint256 held = credits.balanceOf(address(sessions), plain);
        assertEq(_send(), 0, "taken again");
        _assertAll();
        _assertHeld(plain, held);
        assertEq(_earned(), earned, "earned");
    }

    /* AGAINST CLAIM */

    /// @dev A batch takes exactly the rows that `claim` takes, whatever is in it, and reports the others with the error
    /// that `claim` reverts with.
    function testFuzz_ClaimBatch_AgreesWithClaim(uint256 seed) public {
        uint256 count = 6;
        for (uint256 i; i < count; ++i) {
            _addRandom(uint256(keccak256(abi.encode(seed, i))));
        }
        uint256 snapshot = vm.snapshotState();
        uint256 expected;
        bytes32[] memory reasons = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            vm.prank(provider.addr);
            try sessions.claim(rows[i]) {
                ++expected;
            } catch (bytes memory answer) {
                reasons[i] = keccak256(answer);
            }
        }
        uint256 held = credits.balanceOf(address(sessions), plain);
        vm.revertToState(snapshot);
        vm.recordLogs();
        assertEq(_send(), expected, "taken");
        _assertReasons(reasons);
        _assertHeld(plain, held);
    }

    /* HELPERS */

    /// @dev A row of a new session with a deposit of `DEPOSIT`.
    function _add(uint256 classId, uint256 units) private returns (bytes32 id) {
        SessionTerms memory terms;
        (terms, id) = _startNew(classId, DEPOSIT);
        rows.push(_row(terms, units));
    }

    /// @dev A row that may be wrong in its units, its voucher, its signer, its status, or be about a session that has a row already.
    function _addRandom(uint256 seed) private {
        SessionTerms memory terms;
        if (rows.length != 0 && seed % 3 == 0) terms = rows[seed % rows.length].terms;
        else (terms,) = _startNew(plain, DEPOSIT);
        bytes32 id = _id(terms);
        if (seed >> 8 & 7 == 0 && !sessions.sessions(id).closed) _closeByProvider(terms);
        uint256 units = bound(seed >> 16, 0, DEPOSIT + DEPOSIT / 4);
        uint256 authorised = bound(seed >> 32, units * 3 / 4, 2 * DEPOSIT);
        bytes memory signature = _voucher(seed >> 11 & 7 == 0 ? alice : key, id, authorised);
        // forge-lint: disable-next-line(unsafe-typecast)
        rows.push(IMeteredSessions.Claim(terms, uint128(units), uint128(authorised), signature));
    }

    function _send() private returns (uint256) {
        vm.prank(provider.addr);
        return sessions.claimBatch(provider.addr, rows);
    }

    function _random(uint256 seed, uint256 i) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, i))) % DEPOSIT + 1;
    }

    function _expectPaidOut(uint256 classId, uint256 units) private {
        // Only who and how much was used: what it is worth is tested where one class is alone.
        vm.expectEmit(true, true, false, false, address(reserve));
        emit ICreditReserve.PaidOut(classId, provider.addr, units, 0);
    }

    /// @dev Every session stands where its row says.
    function _assertAll() private view {
        for (uint256 i; i < rows.length; ++i) {
            _assertOpen(_id(rows[i].terms), DEPOSIT, rows[i].units);
        }
    }

    /// @dev The skipped rows, in order, are those with a reason, and for that reason.
    function _assertReasons(bytes32[] memory reasons) private {
        bytes32[] memory skipped = _skipped();
        uint256 next;
        for (uint256 i; i < reasons.length; ++i) {
            if (reasons[i] == 0) continue;
            assertEq(skipped[next++], reasons[i], "reason");
        }
        assertEq(next, skipped.length, "rows skipped");
    }

    /// @dev What was reported since `vm.recordLogs`, each as the hash of the error it stands for.
    function _skipped() private returns (bytes32[] memory reasons) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        reasons = new bytes32[](logs.length);
        uint256 count;
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != IMeteredSessions.ClaimSkipped.selector) continue;
            (bytes4 reason, uint256 given, uint256 limit) = abi.decode(logs[i].data, (bytes4, uint256, uint256));
            reasons[count++] = keccak256(abi.encodeWithSelector(reason, logs[i].topics[1], given, limit));
        }
        assembly ("memory-safe") {
            mstore(reasons, count)
        }
    }
}
