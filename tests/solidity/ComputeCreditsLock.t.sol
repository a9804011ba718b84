// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms, Release} from "contracts/interfaces/Types.sol";
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
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(market), alice.addr, address(market), id, units);
        _lock(alice.addr, id, units);
        _assertLocked(alice.addr, id, units, "locked");
    }

    /* settle: REVERTS */

    function testFuzz_RevertWhen_BurnOfMoreThanLocked(uint96 held, uint96 locked, uint128 burned) public {
        locked = uint96(bound(locked, 0, held));
        burned = uint128(bound(burned, uint256(locked) + 1, type(uint128).max));
        _grantAndLock(held, locked);
        _expectMissing(address(market), locked, burned);
        _settle(granted, burned, new Release[](0));
    }

    function testFuzz_RevertWhen_MoreGoesOutThanIsLocked(uint96 held, uint96 locked, uint128 burned, uint128 back)
        public
    {
        locked = uint96(bound(locked, 0, held));
        burned = uint128(bound(burned, 0, type(uint128).max - 1));
        uint256 least = burned > locked ? 0 : locked - burned + 1;
        back = uint128(bound(back, least, type(uint128).max));
        _grantAndLock(held, locked);
        _expectMissing(address(market), locked, uint256(burned) + back);
        _settle(granted, burned, _two(alice.addr, back, bob.addr, 0));
    }

    /* settle: SUCCESS */

    function testFuzz_Settle(uint96 held, uint96 locked, uint96 burned, uint96 first) public {
        locked = uint96(bound(locked, 0, held));
        burned = uint96(bound(burned, 0, locked));
        first = uint96(bound(first, 0, locked - burned));
        uint96 second = locked - burned - first;
        _grantAndLock(held, locked);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(market), address(market), alice.addr, granted, first);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(market), address(market), bob.addr, granted, second);
        if (burned != 0) {
            vm.expectEmit(address(credits));
            emit IERC1155.TransferSingle(address(market), address(market), address(0), granted, burned);
        }
        assertEq(_settle(granted, burned, _two(alice.addr, first, bob.addr, second)), held, "supply before");
        _assertCredits(alice.addr, granted, uint256(held) - locked + first, "first");
        _assertCredits(bob.addr, granted, second, "second");
        _assertLocked(alice.addr, granted, 0, "locked");
        assertEq(credits.totalSupply(granted), held - burned, "supply");
    }

    /// @dev What one job takes out is not the lock of the others.
    function testFuzz_Settle_LeavesTheRestLocked(uint96 locked, uint96 burned, uint96 back) public {
        burned = uint96(bound(burned, 0, locked));
        back = uint96(bound(back, 0, locked - burned));
        _grantAndLock(locked, locked);
        _settle(granted, burned, _two(alice.addr, back, alice.addr, 0));
        _assertLocked(alice.addr, granted, locked - burned - back, "locked");
        _assertCredits(alice.addr, granted, back, "holder");
    }

    /// @dev What was locked comes back whatever happened to the class or to its holder meanwhile.
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
        _grant(alice.addr, id, units);
        list.forbid(alice.addr);
        _close(id);
        vm.warp(terms.expiry + 1);
        _settle(id, 0, _two(alice.addr, units, alice.addr, 0));
        _assertCredits(alice.addr, id, 2 * uint256(units), "everything is back, over the cap");
    }

    /// @dev A payer that is a contract without ERC-1155 hooks can't block a settlement.
    function testFuzz_Settle_ToAContractThatTakesNone(uint96 units) public {
        _grantAndLock(units, units);
        _settle(granted, 0, _two(address(registry), units, alice.addr, 0));
        _assertCredits(address(registry), granted, units, "holder");
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

    function _settle(uint256 id, uint256 burned, Release[] memory releases) private returns (uint256) {
        vm.prank(address(market));
        return credits.settle(id, burned, releases);
    }

    function _two(address a, uint256 unitsA, address b, uint256 unitsB) private pure returns (Release[] memory list) {
        list = new Release[](2);
        (list[0], list[1]) = (Release(a, unitsA), Release(b, unitsB));
    }

    function _expectMissing(address account, uint256 held, uint256 units) private {
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, account, held, units, granted)
        );
    }
}
