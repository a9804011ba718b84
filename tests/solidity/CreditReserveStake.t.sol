// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {ClassTerms, Funding} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev The reserve and classes that a provider issued against its stake: nothing to buy, and what holders reclaim is stake.
contract CreditReserveStakeTest is Base {
    uint128 private constant STAKE_RATE = 50_000_007;

    ClassTerms private terms;
    uint256 private prepaid;

    function setUp() public override {
        super.setUp();
        vm.prank(admin.addr);
        IAccessControl(address(credits)).grantRole(ISSUER_ROLE, provider.addr);
        terms = _prepaidTerms(STAKE_RATE);
        prepaid = _createClass(terms, _one(provider.addr));
    }

    /* REVERTS */

    function testFuzz_RevertWhen_Bought(uint256 units, uint256 maxCost) public {
        units = bound(units, 1, MAX_UNITS);
        _expectNotForSale();
        vm.prank(alice.addr);
        reserve.buy(prepaid, units, alice.addr, maxCost);
    }

    function testFuzz_RevertWhen_BoughtWithAuthorization(uint256 units, uint256 value) public {
        units = bound(units, 1, MAX_UNITS);
        ICreditReserve.Authorization memory auth;
        (auth.from, auth.value) = (alice.addr, value);
        _expectNotForSale();
        reserve.buyWithAuthorization(prepaid, units, alice.addr, auth);
    }

    function testFuzz_RevertWhen_ClassIsAlive(uint256 units, uint40 when) public {
        units = _issue(units, alice.addr);
        vm.warp(bound(when, START, terms.expiry));
        _expect(ICreditReserve.CreditReserve_NotWoundDown.selector, prepaid, 0, 1);
        _reclaim(alice.addr, units);
    }

    function testFuzz_RevertWhen_ReclaimingMoreThanHeld(uint256 held, uint256 units) public {
        held = _issue(held, alice.addr);
        _closePrepaid();
        units = bound(units, held + 1, type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, held, units, prepaid)
        );
        _reclaim(alice.addr, units);
    }

    /* SUCCESS */

    function testFuzz_Reclaim_IsPaidByTheStake(uint256 held, uint256 units, bool closed) public {
        held = _issue(held, alice.addr);
        units = bound(units, 1, held);
        uint256 stake = registry.stakeOf(provider.addr);
        uint256 tokens = usd.balanceOf(address(registry));
        if (closed) _closePrepaid();
        else vm.warp(uint256(terms.expiry) + 1);
        uint256 due = units * STAKE_RATE / PRICE_UNITS;
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Compensated(prepaid, provider.addr, alice.addr, due);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Reclaimed(prepaid, alice.addr, units, due);
        assertEq(_reclaim(alice.addr, units), due, "compensation");
        assertEq(credits.totalSupply(prepaid), held - units, "supply");
        _assertCredits(alice.addr, prepaid, held - units, "holder's units");
        assertEq(registry.awardOf(alice.addr), due, "award");
        assertEq(registry.stakeOf(provider.addr), stake - due, "stake");
        assertEq(usd.balanceOf(address(registry)), tokens, "no token moved yet");
        assertEq(usd.balanceOf(address(reserve)), 0, "the reserve holds nothing of it");
    }

    /// @dev When the stake was slashed below what stands behind it, first and last get the same share.
    function testFuzz_Reclaim_SharesWhatIsLeft(uint256 first, uint256 second, uint256 lost) public {
        first = _issue(bound(first, 1e6, MAX_UNITS), alice.addr);
        second = _issue(bound(second, 1e6, MAX_UNITS), bob.addr);
        uint256 stake = registry.stakeOf(provider.addr);
        lost = bound(lost, 1, stake);
        vm.prank(address(market));
        registry.slash("job", provider.addr, lost, anyone, anyone);
        _closePrepaid();
        uint256 required = registry.requiredStakeOf(provider.addr);
        uint256 left = stake - lost;
        uint256 toFirst = _reclaim(alice.addr, first);
        uint256 toSecond = _reclaim(bob.addr, second);
        _assertShare(toFirst, first, left, required);
        _assertShare(toSecond, second, left, required);
        assertLe(toFirst + toSecond, left, "no more than there is");
    }

    /// @dev The sale of another class pays none of it.
    function testFuzz_Reclaim_LeavesBackingAlone(uint256 units, uint256 bought) public {
        units = _issue(units, alice.addr);
        uint256 backing = _buy(bob.addr, plain, bound(bought, 1, MAX_UNITS));
        _closePrepaid();
        _reclaim(alice.addr, units);
        assertEq(reserve.backingOf(plain), backing, "backing");
        assertEq(usd.balanceOf(address(reserve)), backing, "reserve's tokens");
    }

    /// @dev A sweep finds no backing in such a class, and from then on its holders have no claim.
    function testFuzz_Reclaim_EndsWithTheSweep(uint256 units, uint40 late) public {
        units = _issue(units, alice.addr);
        uint256 stake = registry.stakeOf(provider.addr);
        uint256 dueAt = uint256(terms.expiry) + SWEEP_DELAY;
        vm.warp(bound(late, dueAt + 1, type(uint40).max));
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Swept(prepaid, provider.addr, 0);
        assertEq(reserve.sweepExpired(prepaid), 0, "swept");
        assertEq(_reclaim(alice.addr, units), 0, "compensation");
        assertEq(registry.stakeOf(provider.addr), stake, "stake");
    }

    /// @dev Work on such a class is paid by nothing but the credits' own sale, outside.
    function testFuzz_PayOut_IsNothing(uint256 units, uint256 used) public {
        units = _issue(units, alice.addr);
        used = bound(used, 1, units);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.PaidOut(prepaid, provider.addr, used, 0);
        vm.prank(address(market));
        assertEq(reserve.payOut(prepaid, provider.addr, used, units), 0, "paid");
    }

    /* HELPERS */

    /// @dev Stakes what the units need, and mints them.
    function _issue(uint256 units, address to) private returns (uint256) {
        units = bound(units, 1, MAX_UNITS);
        _stake(provider.addr, units * STAKE_RATE / PRICE_UNITS + 1);
        vm.prank(provider.addr);
        credits.grant(to, prepaid, units);
        return units;
    }

    function _closePrepaid() private {
        vm.prank(provider.addr);
        credits.closeClass(prepaid);
    }

    function _reclaim(address holder, uint256 units) private returns (uint256) {
        vm.prank(holder);
        return reserve.reclaim(prepaid, units);
    }

    function _expectNotForSale() private {
        _expect(
            ICreditReserve.CreditReserve_NotForSale.selector, prepaid, uint256(Funding.Stake), uint256(Funding.Sale)
        );
    }

    /// @dev The units' claim, times what is left of what was required: to within rounding at three places.
    function _assertShare(uint256 given, uint256 units, uint256 left, uint256 required) private pure {
        uint256 claim = units * STAKE_RATE / PRICE_UNITS;
        uint256 fair = left < required ? claim * left / required : claim;
        assertApproxEqAbs(given, fair, 3, "share");
    }
}
