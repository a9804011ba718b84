// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {ClassTerms, Funding} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev buy and buyWithPermit.
contract CreditReserveBuyTest is Base {
    bytes32 private constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    /// @dev A permit of `owner` for the reserve.
    struct Permit {
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /* buy: REVERTS */

    function testFuzz_RevertWhen_ZeroUnits(uint256 maxCost) public {
        _expect(ICreditReserve.CreditReserve_ZeroUnits.selector, plain, 0, 1);
        _buyFor(alice.addr, plain, 0, maxCost);
    }

    function testFuzz_RevertWhen_ClassUnknown(uint256 id, uint256 units) public {
        uint256 count = credits.classCount();
        if (id <= count) id = 0;
        units = bound(units, 1, type(uint256).max);
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, id, id, count);
        _buyFor(alice.addr, id, units, type(uint256).max);
    }

    function testFuzz_RevertWhen_ClassIsGranted(uint256 units) public {
        uint256 id = _createClass(_grantTerms());
        units = bound(units, 1, type(uint256).max);
        _expectNotForSale(id, Funding.Grant);
        _buyFor(alice.addr, id, units, type(uint256).max);
    }

    function testFuzz_RevertWhen_ClassIsClosed(uint256 units) public {
        _close(plain);
        units = bound(units, 1, type(uint256).max);
        _expectNotForSale(plain, Funding.Sale);
        _buyFor(alice.addr, plain, units, type(uint256).max);
    }

    function testFuzz_RevertWhen_ClassIsExpired(uint256 units, uint40 late) public {
        ClassTerms memory terms = _saleTerms();
        terms.expiry = uint40(START + 1 days);
        uint256 id = _createClass(terms);
        units = bound(units, 1, type(uint256).max);
        vm.warp(bound(late, uint256(terms.expiry) + 1, type(uint40).max));
        _expectNotForSale(id, Funding.Sale);
        _buyFor(alice.addr, id, units, type(uint256).max);
    }

    function testFuzz_RevertWhen_CostAboveMax(uint128 units, uint256 maxCost) public {
        units = uint128(bound(units, 1, type(uint128).max));
        uint256 cost = _price(units);
        maxCost = bound(maxCost, 0, cost - 1);
        _expect(ICreditReserve.CreditReserve_CostAboveMax.selector, plain, cost, maxCost);
        _buyFor(alice.addr, plain, units, maxCost);
    }

    function testFuzz_RevertWhen_AllowanceTooSmall(uint128 units, uint256 allowance) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 cost = _price(units);
        allowance = bound(allowance, 0, cost - 1);
        usd.mint(alice.addr, cost);
        vm.prank(alice.addr);
        usd.approve(address(reserve), allowance);
        _expectAllowance(allowance, cost);
        _buyFor(alice.addr, plain, units, cost);
    }

    function testFuzz_RevertWhen_BuyerIsPoor(uint128 units, uint256 held) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 cost = _price(units);
        held = bound(held, 0, cost - 1);
        usd.mint(alice.addr, held);
        vm.prank(alice.addr);
        usd.approve(address(reserve), cost);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice.addr, held, cost));
        _buyFor(alice.addr, plain, units, cost);
    }

    function testFuzz_RevertWhen_SupplyCapExceeded(uint128 cap, uint128 units) public {
        ClassTerms memory terms = _saleTerms();
        terms.maxSupply = uint128(bound(cap, 1, MAX_UNITS));
        uint256 id = _createClass(terms);
        units = uint128(bound(units, uint256(terms.maxSupply) + 1, 2 * MAX_UNITS));
        _fund(alice.addr, _price(units));
        _expect(IComputeCredits.ComputeCredits_SupplyCap.selector, id, units, terms.maxSupply);
        _buyFor(alice.addr, id, units, type(uint256).max);
    }

    /// @dev Backing is kept in 96 bits.
    function testFuzz_RevertWhen_BackingWouldNotFit(uint96 first, uint96 more) public {
        ClassTerms memory terms = _saleTerms();
        // One payment token unit buys one base unit.
        terms.pricePerMillion = uint128(PRICE_UNITS);
        uint256 id = _createClass(terms);
        first = uint96(bound(first, 1, type(uint96).max));
        more = uint96(bound(more, type(uint96).max - first + 1, type(uint96).max));
        _buy(alice.addr, id, first);
        _fund(alice.addr, more);
        uint256 wanted = uint256(first) + more;
        _expect(ICreditReserve.CreditReserve_BackingCap.selector, id, wanted, type(uint96).max);
        _buyFor(alice.addr, id, more, more);
    }

    /* buy: SUCCESS */

    function testFuzz_CostOf_RoundsUp(uint128 units, uint128 price, uint8 decimals) public {
        ClassTerms memory terms = _saleTerms();
        terms.decimals = uint8(bound(decimals, 0, 18));
        terms.pricePerMillion = uint128(bound(price, 1, type(uint96).max));
        uint256 id = _createClass(terms);
        uint256 unitsPriced = 1_000_000 * 10 ** uint256(terms.decimals);
        uint256 cost = reserve.costOf(id, units);
        uint256 exact = uint256(units) * terms.pricePerMillion;
        assertGe(cost * unitsPriced, exact, "never under the price");
        assertLt(cost * unitsPriced, exact + unitsPriced, "less than one token unit over it");
    }

    function testFuzz_Buy(address recipient, uint128 units, uint256 slack) public {
        _assumeStranger(recipient);
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 cost = _price(units);
        slack = bound(slack, 0, type(uint128).max);
        _fund(alice.addr, cost + slack);
        vm.expectEmit(address(usd));
        emit IERC20.Transfer(alice.addr, address(reserve), cost);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Bought(plain, alice.addr, recipient, units, cost);
        vm.prank(alice.addr);
        assertEq(reserve.buy(plain, units, recipient, cost + slack), cost, "cost");
        assertEq(usd.balanceOf(alice.addr), slack, "buyer pays the cost, not the most");
        assertEq(usd.balanceOf(address(reserve)), cost, "reserve's tokens");
        assertEq(reserve.backingOf(plain), cost, "all of it is backing");
        assertEq(reserve.backingOf(watched), 0, "of this class only");
        _assertCredits(recipient, plain, units, "recipient");
        assertEq(credits.totalSupply(plain), units, "supply");
    }

    function testFuzz_Buy_AddsUp(uint128 first, uint128 second) public {
        first = uint128(bound(first, 1, MAX_UNITS));
        second = uint128(bound(second, 1, MAX_UNITS));
        uint256 cost = _buy(alice.addr, plain, first) + _buy(bob.addr, plain, second);
        assertEq(reserve.backingOf(plain), cost, "backing");
        assertEq(usd.balanceOf(address(reserve)), cost, "reserve's tokens");
        uint256 supply = credits.totalSupply(plain);
        assertGe(cost * PRICE_UNITS, supply * PRICE, "every unit is backed at its price");
    }

    /// @dev Tokens sent to the reserve by hand belong to nobody and change no price.
    function testFuzz_Buy_IgnoresDonations(uint128 donated, uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 before = reserve.costOf(plain, units);
        usd.mint(address(reserve), donated);
        assertEq(reserve.costOf(plain, units), before, "price");
        uint256 cost = _buy(alice.addr, plain, units);
        assertEq(reserve.backingOf(plain), cost, "backing");
    }

    /* buyWithPermit */

    function testFuzz_RevertWhen_PermitExpired(uint128 units, uint256 deadline) public {
        (uint256 amount, uint256 cost) = _poor(units);
        deadline = bound(deadline, 0, START - 1);
        Permit memory p = _permit(cost, deadline);
        _expectAllowance(0, cost);
        _buyWithPermit(alice.addr, amount, cost, p);
    }

    function testFuzz_RevertWhen_PermitIsOfAnotherAmount(uint128 units, uint256 signed) public {
        (uint256 amount, uint256 cost) = _poor(units);
        vm.assume(signed != cost);
        Permit memory p = _permit(signed, START);
        _expectAllowance(0, cost);
        _buyWithPermit(alice.addr, amount, cost, p);
    }

    /// @dev A permit spends its signer's tokens only when the signer calls.
    function testFuzz_RevertWhen_AnotherUsesThePermit(uint128 units) public {
        (uint256 amount, uint256 cost) = _poor(units);
        Permit memory p = _permit(cost, START);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(reserve), 0, cost)
        );
        _buyWithPermit(bob.addr, amount, cost, p);
        assertEq(usd.balanceOf(alice.addr), cost, "signer's tokens");
    }

    function testFuzz_BuyWithPermit(uint128 units, uint256 slack) public {
        (uint256 amount, uint256 cost) = _poor(units);
        slack = bound(slack, 0, type(uint128).max);
        Permit memory p = _permit(cost + slack, START);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Bought(plain, alice.addr, bob.addr, amount, cost);
        vm.prank(alice.addr);
        uint256 paid = reserve.buyWithPermit(plain, amount, bob.addr, cost + slack, p.deadline, p.v, p.r, p.s);
        assertEq(paid, cost, "cost");
        assertEq(usd.allowance(alice.addr, address(reserve)), slack, "allowance left");
        assertEq(reserve.backingOf(plain), cost, "backing");
        _assertCredits(bob.addr, plain, amount, "recipient");
    }

    /// @dev Sending somebody's permit ahead of them stops nothing.
    function testFuzz_BuyWithPermit_AfterAFrontRun(uint128 units) public {
        (uint256 amount, uint256 cost) = _poor(units);
        Permit memory p = _permit(cost, START);
        vm.prank(anyone);
        usd.permit(alice.addr, address(reserve), cost, p.deadline, p.v, p.r, p.s);
        _buyWithPermit(alice.addr, amount, cost, p);
        _assertCredits(alice.addr, plain, amount, "buyer");
    }

    /* HELPERS */

    function _buyFor(address buyer, uint256 id, uint256 units, uint256 maxCost) private {
        vm.prank(buyer);
        reserve.buy(id, units, buyer, maxCost);
    }

    function _buyWithPermit(address buyer, uint256 units, uint256 cost, Permit memory p) private {
        vm.prank(buyer);
        reserve.buyWithPermit(plain, units, buyer, cost, p.deadline, p.v, p.r, p.s);
    }

    /// @dev Gives alice what `units` cost, but no allowance.
    function _poor(uint256 units) private returns (uint256 amount, uint256 cost) {
        amount = bound(units, 1, MAX_UNITS);
        cost = _price(amount);
        usd.mint(alice.addr, cost);
    }

    function _permit(uint256 value, uint256 deadline) private view returns (Permit memory p) {
        bytes32 structHash = keccak256(
            abi.encode(PERMIT_TYPEHASH, alice.addr, address(reserve), value, usd.nonces(alice.addr), deadline)
        );
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", usd.DOMAIN_SEPARATOR(), structHash));
        p.deadline = deadline;
        (p.v, p.r, p.s) = vm.sign(alice.key, digest);
    }

    function _expectNotForSale(uint256 id, Funding funding) private {
        _expect(ICreditReserve.CreditReserve_NotForSale.selector, id, uint256(funding), uint256(Funding.Sale));
    }

    function _expectAllowance(uint256 allowance, uint256 needed) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(reserve), allowance, needed
            )
        );
    }
}
