// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms, Usage} from "contracts/interfaces/Types.sol";
import {Vm} from "forge-std/Vm.sol";
import {Base} from "./Base.t.sol";
import {AllowList} from "./support/Wallets.sol";

/// @dev lock and settle: how jobs bind credits in their payer's balance, and let them go.
contract ComputeCreditsLockTest is Base {
    uint256 private granted;

    function setUp() public override {
        super.setUp();
        granted = _createClass(_grantTerms());
    }

    /* lock: REVERTS */

    function testFuzz_RevertWhen_LockOfMoreThanIsFree(uint96 held, uint96 locked, uint256 units) public {
        locked = uint96(bound(locked, 0, held));
        units = bound(units, uint256(held) - locked + 1, type(uint256).max);
        _grantAndLock(held, locked);
        _expectMissing(alice.addr, held - locked, units);
        _lock(alice.addr, granted, units);
    }

    function testFuzz_RevertWhen_LockOfExpiredClass(uint96 units, uint40 late) public {
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        uint256 id = _createClass(terms);
        _grant(alice.addr, id, units);
        late = uint40(bound(late, uint256(terms.expiry) + 1, type(uint40).max));
        vm.warp(late);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, id, late, terms.expiry);
        _lock(alice.addr, id, units);
    }

    function testFuzz_RevertWhen_LockOfUnknownClass(uint256 id) public {
        uint256 count = credits.classCount();
        if (id <= count) id = 0;
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, id, id, count);
        _lock(alice.addr, id, 0);
    }

    /// @dev What a job has locked can't be sent, deposited or reclaimed.
    function testFuzz_RevertWhen_LockedUnitsLeave(uint96 held, uint96 locked, uint96 units) public {
        held = uint96(bound(held, 1, type(uint96).max));
        locked = uint96(bound(locked, 1, held));
        units = uint96(bound(units, uint256(held) - locked + 1, held));
        _grantAndLock(held, locked);
        _expectMissing(alice.addr, held - locked, units);
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, bob.addr, granted, units, "");
        _expectMissing(alice.addr, held - locked, units);
        vm.prank(address(sessions));
        credits.deposit(alice.addr, granted, units);
        _expectMissing(alice.addr, held - locked, units);
        vm.prank(address(reserve));
        credits.burn(alice.addr, granted, units);
    }

    /* lock: SUCCESS */

    /// @dev Nothing moves, so nothing is said: the market's own event tells of the lock.
    function testFuzz_Lock(uint96 held, uint96 first, uint96 second) public {
        first = uint96(bound(first, 0, held));
        second = uint96(bound(second, 0, held - first));
        _grant(alice.addr, granted, held);
        vm.recordLogs();
        _lock(alice.addr, granted, first);
        _lock(alice.addr, granted, second);
        assertEq(vm.getRecordedLogs().length, 0, "events");
        _assertHolding(alice.addr, held, uint256(first) + second);
        assertEq(credits.balanceOf(address(market), granted), 0, "the market holds nothing");
        assertEq(credits.totalSupply(granted), held, "supply");
    }

    function testFuzz_Lock_AccountBoundInTheLastSecond(uint96 held, uint96 units) public {
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        terms.transferable = false;
        uint256 id = _createClass(terms);
        units = uint96(bound(units, 0, held));
        _grant(alice.addr, id, held);
        vm.warp(terms.expiry);
        _lock(alice.addr, id, units);
        _assertLocked(alice.addr, id, units, "locked");
    }

    /// @dev Closing ends sales; what was bought can still be used.
    function testFuzz_Lock_OfAClosedClass(uint96 units) public {
        _grant(alice.addr, granted, units);
        _close(granted);
        _lock(alice.addr, granted, units);
        _assertLocked(alice.addr, granted, units, "locked");
    }

    /* settle: REVERTS */

    function testFuzz_RevertWhen_MoreIsUnlockedThanIsLocked(uint96 held, uint96 locked, uint128 ended, uint128 used)
        public
    {
        locked = uint96(bound(locked, 0, held));
        ended = uint128(bound(ended, uint256(locked) + 1, type(uint128).max));
        used = uint128(bound(used, 0, ended));
        _grantAndLock(held, locked);
        _expectMissing(alice.addr, locked, ended);
        _settle(granted, _one(alice.addr, ended, used));
    }

    /// @dev A job burns at most what it had locked, even if its payer has more locked in others.
    function testFuzz_RevertWhen_MoreIsUsedThanTheJobHadLocked(uint96 held, uint96 ended, uint128 used) public {
        ended = uint96(bound(ended, 0, held));
        used = uint128(bound(used, uint256(ended) + 1, type(uint128).max));
        _grantAndLock(held, held);
        _expectMissing(alice.addr, ended, used);
        _settle(granted, _one(alice.addr, ended, used));
    }

    /// @dev Two ends of one payer are counted one after the other.
    function testFuzz_RevertWhen_TwoEndsUnlockMoreThanIsLocked(uint96 locked, uint96 first, uint128 second) public {
        first = uint96(bound(first, 0, locked));
        second = uint128(bound(second, uint256(locked) - first + 1, type(uint128).max));
        _grantAndLock(locked, locked);
        _expectMissing(alice.addr, locked - first, second);
        _settle(granted, _two(Usage(alice.addr, first, 0), Usage(alice.addr, second, 0)));
    }

    function testFuzz_RevertWhen_TheLockIsOfAnotherClass(uint96 locked) public {
        locked = uint96(bound(locked, 1, type(uint96).max));
        _grantAndLock(locked, locked);
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, 0, locked, plain)
        );
        _settle(plain, _one(alice.addr, locked, 0));
    }

    /* settle: SUCCESS */

    function testFuzz_Settle(uint96 held, uint96 locked, uint96 ended, uint96 used) public {
        held = uint96(bound(held, 1, type(uint96).max));
        locked = uint96(bound(locked, 1, held));
        ended = uint96(bound(ended, 1, locked));
        used = uint96(bound(used, 1, ended));
        _grantAndLock(held, locked);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(market), alice.addr, address(0), granted, used);
        (uint256 burned, uint256 supplyBefore) = _settle(granted, _one(alice.addr, ended, used));
        assertEq(burned, used, "burned");
        assertEq(supplyBefore, held, "supply before");
        _assertHolding(alice.addr, held - used, locked - ended);
        assertEq(credits.totalSupply(granted), held - used, "supply");
    }

    /// @dev Nothing burned: nothing is said, and the class isn't even looked at.
    function testFuzz_Settle_WithNothingUsed(uint96 held, uint96 locked, uint96 ended) public {
        locked = uint96(bound(locked, 0, held));
        ended = uint96(bound(ended, 0, locked));
        _grantAndLock(held, locked);
        vm.recordLogs();
        (uint256 burned, uint256 supplyBefore) = _settle(granted, _one(alice.addr, ended, 0));
        assertEq(vm.getRecordedLogs().length, 0, "events");
        assertEq(burned, 0, "burned");
        assertEq(supplyBefore, 0, "no supply before no burn");
        _assertHolding(alice.addr, held, locked - ended);
        assertEq(credits.totalSupply(granted), held, "supply");
    }

    function testFuzz_Settle_ForTwo(uint96 first, uint96 second, uint96 usedFirst, uint96 usedSecond) public {
        first = uint96(bound(first, 1, type(uint96).max / 2));
        second = uint96(bound(second, 1, type(uint96).max / 2));
        usedFirst = uint96(bound(usedFirst, 1, first));
        usedSecond = uint96(bound(usedSecond, 1, second));
        _grantAndLock(first, first);
        _grant(bob.addr, granted, second);
        _lock(bob.addr, granted, second);
        Usage[] memory usages = _two(Usage(alice.addr, first, usedFirst), Usage(bob.addr, second, usedSecond));
        vm.recordLogs();
        (uint256 burned, uint256 supplyBefore) = _settle(granted, usages);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 2, "an event each");
        _assertBurnEvent(logs[0], alice.addr, usedFirst);
        _assertBurnEvent(logs[1], bob.addr, usedSecond);
        assertEq(burned, uint256(usedFirst) + usedSecond, "burned");
        assertEq(supplyBefore, uint256(first) + second, "supply before");
        _assertHolding(alice.addr, first - usedFirst, 0);
        _assertHolding(bob.addr, second - usedSecond, 0);
        assertEq(credits.totalSupply(granted), supplyBefore - burned, "supply");
    }

    function testFuzz_Settle_TwoJobsOfOnePayer(uint96 locked, uint96 first, uint96 usedFirst, uint96 usedSecond)
        public
    {
        first = uint96(bound(first, 0, locked));
        uint96 second = locked - first;
        usedFirst = uint96(bound(usedFirst, 0, first));
        usedSecond = uint96(bound(usedSecond, 0, second));
        _grantAndLock(locked, locked);
        _settle(granted, _two(Usage(alice.addr, first, usedFirst), Usage(alice.addr, second, usedSecond)));
        _assertHolding(alice.addr, uint256(locked) - usedFirst - usedSecond, 0);
    }

    /// @dev What was locked is free again whatever happened to the class or to its holder meanwhile.
    function testFuzz_Settle_WhateverThePolicySays(uint96 units) public {
        AllowList list = new AllowList();
        list.allow(alice.addr);
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        terms.transferable = false;
        terms.maxPerHolder = units = uint96(bound(units, 1, type(uint96).max));
        terms.eligibility = address(list);
        uint256 id = _createClass(terms);
        _grant(alice.addr, id, units);
        _lock(alice.addr, id, units);
        list.forbid(alice.addr);
        _close(id);
        vm.warp(terms.expiry + 1);
        _settle(id, _one(alice.addr, units, 0));
        _assertCredits(alice.addr, id, units, "everything is free");
    }

    /// @dev Locking makes no room under the cap on holdings.
    function testFuzz_RevertWhen_LockingToHoldMore(uint96 cap, uint96 locked, uint96 more) public {
        ClassTerms memory terms = _grantTerms();
        terms.maxPerHolder = cap = uint96(bound(cap, 1, type(uint96).max / 2));
        uint256 id = _createClass(terms);
        locked = uint96(bound(locked, 0, cap));
        more = uint96(bound(more, 1, type(uint96).max / 2));
        _grant(alice.addr, id, cap);
        _lock(alice.addr, id, locked);
        _expect(IComputeCredits.ComputeCredits_HolderCap.selector, id, uint256(cap) + more, cap);
        _grant(alice.addr, id, more);
    }

    /* HELPERS */

    function _grant(address to, uint256 id, uint256 units) private {
        vm.prank(issuer.addr);
        credits.grant(to, id, units);
    }

    function _lock(address from, uint256 id, uint256 units) private {
        vm.prank(address(market));
        credits.lock(from, id, units);
    }

    function _grantAndLock(uint256 held, uint256 locked) private {
        _grant(alice.addr, granted, held);
        _lock(alice.addr, granted, locked);
    }

    function _settle(uint256 id, Usage[] memory usages) private returns (uint256, uint256) {
        vm.prank(address(market));
        return credits.settle(id, usages);
    }

    function _one(address payer, uint128 locked, uint128 used) private pure returns (Usage[] memory list) {
        list = new Usage[](1);
        list[0] = Usage(payer, locked, used);
    }

    function _two(Usage memory first, Usage memory second) private pure returns (Usage[] memory list) {
        list = new Usage[](2);
        (list[0], list[1]) = (first, second);
    }

    function _assertHolding(address account, uint256 units, uint256 locked) private view {
        assertEq(credits.balanceOf(account, granted), units, "balance");
        assertEq(credits.lockedOf(account, granted), locked, "locked");
        assertEq(credits.availableOf(account, granted), units - locked, "available");
    }

    function _assertBurnEvent(Vm.Log memory log, address payer, uint256 units) private view {
        assertEq(log.topics[0], IERC1155.TransferSingle.selector, "event");
        assertEq(log.topics[1], bytes32(uint256(uint160(address(market)))), "operator");
        assertEq(log.topics[2], bytes32(uint256(uint160(payer))), "payer");
        assertEq(log.topics[3], 0, "to nobody");
        assertEq(log.data, abi.encode(granted, units), "id and units");
    }

    function _expectMissing(address account, uint256 held, uint256 units) private {
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, account, held, units, granted)
        );
    }
}
