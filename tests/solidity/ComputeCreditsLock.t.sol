// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms, Usage} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {AllowList} from "./support/Wallets.sol";

/// @dev lock and settle: how the market takes credits in and lets them go.
contract ComputeCreditsLockTest is Base {
    uint256 private granted;

    function setUp() public override {
        super.setUp();
        granted = _createClass(_grantTerms());
    }

    /* lock: REVERTS */

    function testFuzz_RevertWhen_LockOfMoreThanHeld(uint96 held, uint256 units) public {
        units = bound(units, uint256(held) + 1, type(uint256).max);
        _grant(alice.addr, granted, held);
        _expectMissing(alice.addr, held, units);
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

    /* lock: SUCCESS */

    function testFuzz_Lock(uint96 held, uint96 first, uint96 second) public {
        first = uint96(bound(first, 0, held));
        second = uint96(bound(second, 0, held - first));
        _grant(alice.addr, granted, held);
        _lock(alice.addr, granted, first);
        _lock(alice.addr, granted, second);
        _assertCredits(alice.addr, granted, held - first - second, "holder");
        _assertLocked(alice.addr, granted, uint256(first) + second, "locked");
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
        vm.recordLogs();
        _lock(alice.addr, id, units);
        assertEq(vm.getRecordedLogs().length, 0, "nothing moved");
        _assertLocked(alice.addr, id, units, "locked");
        assertEq(credits.balanceOf(alice.addr, id), held, "balance");
    }

    function testFuzz_RevertWhen_LockedIsMoved(uint96 held, uint96 locked, uint96 units) public {
        held = uint96(bound(held, 1, type(uint96).max));
        locked = uint96(bound(locked, 1, held));
        units = uint96(bound(units, uint256(held) - locked + 1, type(uint96).max));
        _grantAndLock(held, locked);
        _expectMissing(alice.addr, uint256(held) - locked, units);
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, bob.addr, granted, units, "");
        _expectMissing(alice.addr, uint256(held) - locked, units);
        _lock(alice.addr, granted, units);
    }

    /* settle: REVERTS */

    function testFuzz_RevertWhen_MoreEndsThanIsLocked(uint96 held, uint96 locked, uint128 ended) public {
        locked = uint96(bound(locked, 0, held));
        ended = uint128(bound(ended, uint256(locked) + 1, type(uint128).max));
        _grantAndLock(held, locked);
        _expectMissing(alice.addr, locked, ended);
        _settle(granted, _one(alice.addr, ended, 0));
    }

    function testFuzz_RevertWhen_MoreIsUsedThanEnds(uint96 locked, uint96 ended, uint128 used) public {
        ended = uint96(bound(ended, 0, locked));
        used = uint128(bound(used, uint256(ended) + 1, type(uint128).max));
        _grantAndLock(locked, locked);
        _expectMissing(alice.addr, ended, used);
        _settle(granted, _one(alice.addr, ended, used));
    }

    /* settle: SUCCESS */

    function testFuzz_Settle(uint96 held, uint96 locked, uint96 first, uint96 second) public {
        held = uint96(bound(held, 0, type(uint96).max / 2));
        locked = uint96(bound(locked, 0, held));
        (first, second) = (uint96(bound(first, 0, locked)), uint96(bound(second, 0, locked)));
        _grantAndLock(held, locked);
        _grant(bob.addr, granted, held);
        _lock(bob.addr, granted, locked);
        Usage[] memory usages = new Usage[](2);
        (usages[0], usages[1]) = (Usage(alice.addr, locked, first), Usage(bob.addr, locked, second));
        _expectBurn(alice.addr, first);
        _expectBurn(bob.addr, second);
        (uint256 burned, uint256 before) = _settle(granted, usages);
        assertEq(burned, uint256(first) + second, "burned");
        if (burned != 0) assertEq(before, 2 * uint256(held), "supply before");
        _assertCredits(alice.addr, granted, held - first, "first");
        _assertCredits(bob.addr, granted, held - second, "second");
        _assertLocked(alice.addr, granted, 0, "first locked");
        _assertLocked(bob.addr, granted, 0, "second locked");
        assertEq(credits.totalSupply(granted), 2 * uint256(held) - burned, "supply");
    }

    /// @dev What one job takes out is not the lock of the others.
    function testFuzz_Settle_LeavesTheRestLocked(uint96 locked, uint96 ended, uint96 used) public {
        ended = uint96(bound(ended, 0, locked));
        used = uint96(bound(used, 0, ended));
        _grantAndLock(locked, locked);
        _settle(granted, _one(alice.addr, ended, used));
        _assertLocked(alice.addr, granted, locked - ended, "locked");
        _assertCredits(alice.addr, granted, ended - used, "holder");
    }

    /// @dev A lock ends whatever happened to the class or to its holder meanwhile, and it never let the cap be passed.
    function testFuzz_Settle_WhateverThePolicySays(uint96 units) public {
        AllowList list = new AllowList();
        list.allow(alice.addr);
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        terms.transferable = false;
        units = uint96(bound(units, 1, type(uint96).max / 2));
        terms.maxPerHolder = units;
        terms.eligibility = address(list);
        uint256 id = _createClass(terms);
        _grant(alice.addr, id, units);
        _lock(alice.addr, id, units);
        _expect(IComputeCredits.ComputeCredits_HolderCap.selector, id, uint256(units) + 1, units);
        _grant(alice.addr, id, 1);
        list.forbid(alice.addr);
        _close(id);
        vm.warp(terms.expiry + 1);
        _settle(id, _one(alice.addr, units, 0));
        _assertCredits(alice.addr, id, units, "everything is free again");
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

    function _settle(uint256 id, Usage[] memory usages) private returns (uint256 burned, uint256 supplyBefore) {
        vm.prank(address(market));
        return credits.settle(id, usages);
    }

    function _one(address payer, uint128 ended, uint128 used) private pure returns (Usage[] memory list) {
        list = new Usage[](1);
        list[0] = Usage(payer, ended, used);
    }

    function _expectBurn(address payer, uint256 used) private {
        if (used == 0) return;
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(market), payer, address(0), granted, used);
    }

    function _expectMissing(address account, uint256 held, uint256 units) private {
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, account, held, units, granted)
        );
    }
}
