// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {Base} from "./Base.t.sol";

/// @dev payOut and withdraw, without a fee.
contract CreditReservePayOutTest is Base {
    /* payOut */

    function testFuzz_RevertWhen_CallerPaysNobody(address caller, uint256 units, uint256 supply) public {
        vm.assume(caller != address(market) && caller != address(sessions));
        _expect(ICreditReserve.CreditReserve_NotAuthorised.selector, plain, caller, address(market));
        vm.prank(caller);
        reserve.payOut(plain, caller, units, supply);
    }

    function testFuzz_PayOut(uint128 supply, uint128 units, uint256 feeBps, bool bySessions) public {
        supply = uint128(bound(supply, 1, MAX_UNITS));
        units = uint128(bound(units, 1, supply));
        _setFee(bound(feeBps, 0, MAX_FEE_BPS));
        uint256 backing = _buy(alice.addr, plain, supply);
        uint256 amount = uint256(units) * backing / supply;
        vm.expectEmit(address(reserve));
        emit ICreditReserve.PaidOut(plain, provider.addr, units, amount);
        vm.prank(bySessions ? address(sessions) : address(market));
        assertEq(reserve.payOut(plain, provider.addr, units, supply), amount, "paid");
        assertEq(_earned(), amount, "earnings, before any fee");
        assertEq(reserve.feesOf(address(usd)), 0, "fees");
        assertEq(reserve.backingOf(plain), backing - amount, "backing");
        assertEq(usd.balanceOf(address(reserve)), backing, "no token moved");
    }

    function testFuzz_PayOut_OfEverything(uint128 supply) public {
        supply = uint128(bound(supply, 1, MAX_UNITS));
        uint256 backing = _buy(alice.addr, plain, supply);
        assertEq(_payOut(plain, supply, supply), backing, "the last unit takes the last token");
        assertEq(reserve.backingOf(plain), 0, "backing");
    }

    /// @dev Nobody gains by being paid in pieces, and what is left is worth no less a unit.
    function testFuzz_PayOut_InPieces(uint128 supply, uint128 first, uint128 second) public {
        supply = uint128(bound(supply, 2, MAX_UNITS));
        first = uint128(bound(first, 1, supply - 1));
        second = uint128(bound(second, 1, supply - first));
        uint256 backing = _buy(alice.addr, plain, supply);
        uint256 whole = (uint256(first) + second) * backing / supply;
        uint256 paid = _payOut(plain, first, supply);
        assertGe(reserve.backingOf(plain) * supply, backing * (supply - first), "rate of those who stay");
        paid += _payOut(plain, second, supply - first);
        assertLe(paid, whole, "pieces");
        assertGe(paid + 1, whole, "within one token unit of the whole");
    }

    function testFuzz_PayOut_OfAGrantIsNothing(uint128 units, uint256 supply) public {
        uint256 id = _createClass(_grantTerms());
        supply = bound(supply, units, type(uint256).max);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.PaidOut(id, provider.addr, units, 0);
        assertEq(_payOut(id, units, supply), 0, "paid");
        assertEq(_earned(), 0, "earnings");
    }

    function testFuzz_PayOut_LeavesOtherClassesAlone(uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        _buy(alice.addr, plain, units);
        uint256 other = _buy(bob.addr, watched, units);
        _payOut(plain, units, units);
        assertEq(reserve.backingOf(watched), other, "other class");
    }

    /* withdraw */

    function testFuzz_RevertWhen_WithdrawingNothing(address caller, address token, address to) public {
        _expect(ICreditReserve.CreditReserve_ZeroAmount.selector, caller, 0, 1);
        vm.prank(caller);
        reserve.withdraw(token, 0, to);
    }

    /// @dev The tokens would be lost.
    function testFuzz_RevertWhen_WithdrawingToNobody(uint128 units, bool toItself) public {
        uint256 earned = _earn(units);
        address to = toItself ? address(reserve) : address(0);
        _expect(ICreditReserve.CreditReserve_BadReceiver.selector, provider.addr, to, address(0));
        vm.prank(provider.addr);
        reserve.withdraw(address(usd), earned, to);
    }

    function testFuzz_RevertWhen_WithdrawingMoreThanEarned(uint128 units, uint256 amount) public {
        uint256 earned = _earn(units);
        amount = bound(amount, earned + 1, type(uint256).max);
        _expect(ICreditReserve.CreditReserve_InsufficientEarnings.selector, provider.addr, amount, earned);
        vm.prank(provider.addr);
        reserve.withdraw(address(usd), amount, provider.addr);
    }

    function testFuzz_RevertWhen_WithdrawingAnothersEarnings(address caller, uint128 units) public {
        vm.assume(caller != provider.addr);
        uint256 earned = _earn(units);
        _expect(ICreditReserve.CreditReserve_InsufficientEarnings.selector, caller, earned, 0);
        vm.prank(caller);
        reserve.withdraw(address(usd), earned, caller);
    }

    function testFuzz_RevertWhen_WithdrawingAnotherToken(address token, uint128 units) public {
        vm.assume(token != address(usd));
        uint256 earned = _earn(units);
        _expect(ICreditReserve.CreditReserve_InsufficientEarnings.selector, provider.addr, earned, 0);
        vm.prank(provider.addr);
        reserve.withdraw(token, earned, provider.addr);
    }

    function testFuzz_Withdraw(uint128 units, uint256 amount, address to) public {
        _assumeStranger(to);
        uint256 earned = _earn(units);
        amount = bound(amount, 1, earned);
        uint256 held = usd.balanceOf(address(reserve));
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Withdrawn(provider.addr, address(usd), to, amount, 0);
        vm.expectEmit(address(usd));
        emit IERC20.Transfer(address(reserve), to, amount);
        vm.prank(provider.addr);
        reserve.withdraw(address(usd), amount, to);
        assertEq(_earned(), earned - amount, "earnings left");
        assertEq(usd.balanceOf(to), amount, "paid");
        assertEq(usd.balanceOf(address(reserve)), held - amount, "reserve's tokens");
    }

    /* HELPERS */

    function _payOut(uint256 id, uint256 units, uint256 supply) private returns (uint256) {
        vm.prank(address(market));
        return reserve.payOut(id, provider.addr, units, supply);
    }

    /// @dev Half of what was bought is paid to the provider: enough for one token unit or more.
    function _earn(uint256 units) private returns (uint256) {
        units = bound(units, 1e6, MAX_UNITS);
        _buy(alice.addr, plain, units);
        return _payOut(plain, units / 2, units);
    }

    function _earned() private view returns (uint256) {
        return reserve.earningsOf(provider.addr, address(usd));
    }
}
