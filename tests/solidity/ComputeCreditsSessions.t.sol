// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {AllowList} from "./support/Wallets.sol";

/// @dev deposit, spend and refund: how sessions take credits in, burn them and give the rest back.
contract ComputeCreditsSessionsTest is Base {
    uint256 private granted;

    function setUp() public override {
        super.setUp();
        granted = _createClass(_grantTerms());
    }

    /* REVERTS */

    function testFuzz_RevertWhen_DepositOfMoreThanHeld(uint96 held, uint256 units) public {
        units = bound(units, uint256(held) + 1, type(uint256).max);
        _grant(alice.addr, granted, held);
        _expectMissing(granted, alice.addr, held, units);
        _deposit(granted, units);
    }

    function testFuzz_RevertWhen_DepositOfExpiredClass(uint96 units, uint40 late) public {
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        uint256 id = _createClass(terms);
        _grant(alice.addr, id, units);
        late = uint40(bound(late, uint256(terms.expiry) + 1, type(uint40).max));
        vm.warp(late);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, id, late, terms.expiry);
        _deposit(id, units);
    }

    function testFuzz_RevertWhen_DepositOfUnknownClass(uint256 id) public {
        uint256 count = credits.classCount();
        if (id <= count) id = 0;
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, id, id, count);
        _deposit(id, 0);
    }

    function testFuzz_RevertWhen_MoreIsSpentThanDeposited(uint96 held, uint96 deposited, uint256 units) public {
        deposited = uint96(bound(deposited, 0, held));
        units = bound(units, uint256(deposited) + 1, type(uint256).max);
        _grant(alice.addr, granted, held);
        _deposit(granted, deposited);
        _expectMissing(granted, address(sessions), deposited, units);
        _spend(granted, units);
        _expectMissing(granted, address(sessions), deposited, units);
        _refund(granted, units, 0);
    }

    /// @dev What sessions hold of one class doesn't answer for another.
    function testFuzz_RevertWhen_AnotherClassWasDeposited(uint96 units) public {
        units = uint96(bound(units, 1, type(uint96).max));
        _grant(alice.addr, granted, units);
        _deposit(granted, units);
        _expectMissing(plain, address(sessions), 0, units);
        _spend(plain, units);
        _expectMissing(plain, address(sessions), 0, units);
        _refund(plain, units, 0);
    }

    /// @dev Depositing makes no room under the cap on holdings.
    function testFuzz_RevertWhen_DepositingToHoldMore(uint96 cap, uint96 units, uint96 spent, uint96 more) public {
        cap = uint96(bound(cap, 1, type(uint96).max / 2));
        units = uint96(bound(units, 0, cap));
        spent = uint96(bound(spent, 0, units));
        more = uint96(bound(more, 1, type(uint96).max / 2));
        uint256 id = _capped(cap);
        _grant(alice.addr, id, cap);
        _deposit(id, units);
        _spend(id, spent);
        bytes4 reason = IComputeCredits.ComputeCredits_HolderCap.selector;
        _expect(reason, id, uint256(cap) + more, cap);
        _grant(alice.addr, id, more);
        _grant(bob.addr, id, 1);
        _expect(reason, id, uint256(cap) + 1, cap);
        vm.prank(bob.addr);
        credits.safeTransferFrom(bob.addr, alice.addr, id, 1, "");
    }

    /* SUCCESS */

    function testFuzz_Deposit(uint96 held, uint96 first, uint96 second) public {
        first = uint96(bound(first, 0, held));
        second = uint96(bound(second, 0, held - first));
        _grant(alice.addr, granted, held);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(sessions), alice.addr, address(sessions), granted, first);
        _deposit(granted, first);
        _deposit(granted, second);
        uint256 both = uint256(first) + second;
        _assertCredits(alice.addr, granted, held - both, "payer");
        _assertCredits(address(sessions), granted, both, "sessions");
        assertEq(credits.totalSupply(granted), held, "supply");
        assertEq(credits.depositedOf(alice.addr, granted), 0, "not counted without a cap");
    }

    function testFuzz_Deposit_AccountBoundInTheLastSecond(uint96 units) public {
        ClassTerms memory terms = _grantTerms();
        terms.transferable = false;
        terms.expiry = uint40(START + 1 days);
        uint256 id = _createClass(terms);
        _grant(alice.addr, id, units);
        vm.warp(terms.expiry);
        _deposit(id, units);
        _assertCredits(address(sessions), id, units, "sessions");
    }

    function testFuzz_Spend(uint96 held, uint96 deposited, uint96 units) public {
        deposited = uint96(bound(deposited, 0, held));
        units = uint96(bound(units, 0, deposited));
        _grant(alice.addr, granted, held);
        _deposit(granted, deposited);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(sessions), address(sessions), address(0), granted, units);
        assertEq(_spend(granted, units), held, "supply before");
        _assertCredits(address(sessions), granted, deposited - units, "sessions");
        _assertCredits(alice.addr, granted, held - deposited, "payer");
        assertEq(credits.totalSupply(granted), held - units, "supply");
    }

    function testFuzz_Refund(uint96 deposited, uint96 spent, uint96 units) public {
        deposited = uint96(bound(deposited, 1, type(uint96).max));
        spent = uint96(bound(spent, 0, deposited - 1));
        units = uint96(bound(units, 1, deposited - spent));
        _grant(alice.addr, granted, deposited);
        _deposit(granted, deposited);
        _spend(granted, spent);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(sessions), address(sessions), alice.addr, granted, units);
        _refund(granted, units, deposited);
        _assertCredits(alice.addr, granted, units, "payer");
        _assertCredits(address(sessions), granted, uint256(deposited) - spent - units, "sessions");
        assertEq(credits.totalSupply(granted), deposited - spent, "supply");
    }

    /// @dev A session that used everything ends without a transfer of nothing.
    function testFuzz_Refund_OfNothing(uint96 cap, uint96 deposited) public {
        cap = uint96(bound(cap, 1, type(uint96).max));
        deposited = uint96(bound(deposited, 0, cap));
        uint256 id = _capped(cap);
        _grant(alice.addr, id, cap);
        _deposit(id, deposited);
        _spend(id, deposited);
        vm.recordLogs();
        _refund(id, 0, deposited);
        assertEq(vm.getRecordedLogs().length, 0, "events");
        assertEq(credits.depositedOf(alice.addr, id), 0, "deposited");
        _assertCredits(alice.addr, id, cap - deposited, "payer");
    }

    function testFuzz_DepositsCountUntilTheSessionEnds(uint96 cap, uint96 first, uint96 second, uint96 spent) public {
        cap = uint96(bound(cap, 1, type(uint96).max / 2));
        first = uint96(bound(first, 0, cap));
        second = uint96(bound(second, 0, cap - first));
        spent = uint96(bound(spent, 0, first));
        uint256 id = _capped(cap);
        _grant(alice.addr, id, cap);
        _deposit(id, first);
        _deposit(id, second);
        _spend(id, spent);
        assertEq(credits.depositedOf(alice.addr, id), uint256(first) + second, "both deposits");
        assertEq(credits.depositedOf(bob.addr, id), 0, "nobody else's");
        _refund(id, first - spent, first);
        assertEq(credits.depositedOf(alice.addr, id), second, "the one that ended no longer counts");
        _grant(alice.addr, id, spent);
        _assertCredits(alice.addr, id, cap - second, "as much more as was spent, and not a unit above");
        _expect(IComputeCredits.ComputeCredits_HolderCap.selector, id, uint256(cap) + 1, cap);
        _grant(alice.addr, id, 1);
    }

    /// @dev What was deposited comes back whatever happened to the class or to its holder meanwhile.
    function testFuzz_Refund_WhateverThePolicySays(uint96 units) public {
        AllowList list = new AllowList();
        list.allow(alice.addr);
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        terms.transferable = false;
        terms.maxPerHolder = units = uint96(bound(units, 1, type(uint96).max));
        terms.eligibility = address(list);
        uint256 id = _createClass(terms);
        _grant(alice.addr, id, units);
        _deposit(id, units);
        list.forbid(alice.addr);
        _close(id);
        vm.warp(terms.expiry + 1);
        _refund(id, units, units);
        _assertCredits(alice.addr, id, units, "everything is back");
        assertEq(credits.depositedOf(alice.addr, id), 0, "deposited");
    }

    /// @dev A payer that is a contract without ERC-1155 hooks can't keep its session from closing.
    function testFuzz_Refund_ToAContractThatTakesNone(uint96 units) public {
        units = uint96(bound(units, 1, type(uint96).max));
        _grant(alice.addr, granted, units);
        _deposit(granted, units);
        vm.prank(address(sessions));
        credits.refund(address(registry), granted, units, units);
        _assertCredits(address(registry), granted, units, "holder");
    }

    /// @dev Units that went through a session can be sent on like any others.
    function testFuzz_Refund_ToANewHolderCanBeSent(uint96 units) public {
        units = uint96(bound(units, 1, type(uint96).max));
        _grant(alice.addr, granted, units);
        _deposit(granted, units);
        vm.prank(address(sessions));
        credits.refund(bob.addr, granted, units, units);
        vm.prank(bob.addr);
        credits.safeTransferFrom(bob.addr, alice.addr, granted, units, "");
        _assertCredits(alice.addr, granted, units, "receiver");
    }

    /* HELPERS */

    function _capped(uint96 cap) private returns (uint256) {
        ClassTerms memory terms = _grantTerms();
        terms.maxPerHolder = cap;
        return _createClass(terms);
    }

    function _grant(address to, uint256 id, uint256 units) private {
        vm.prank(issuer.addr);
        credits.grant(to, id, units);
    }

    function _deposit(uint256 id, uint256 units) private {
        vm.prank(address(sessions));
        credits.deposit(alice.addr, id, units);
    }

    function _spend(uint256 id, uint256 units) private returns (uint256) {
        vm.prank(address(sessions));
        return credits.spend(id, units);
    }

    function _refund(uint256 id, uint256 units, uint256 deposited) private {
        vm.prank(address(sessions));
        credits.refund(alice.addr, id, units, deposited);
    }

    function _expectMissing(uint256 id, address account, uint256 held, uint256 units) private {
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, account, held, units, id)
        );
    }
}
