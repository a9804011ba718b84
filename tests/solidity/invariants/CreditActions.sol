// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {Funding} from "contracts/interfaces/Types.sol";
import {DishonestToken} from "../support/DishonestToken.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {State} from "./State.sol";

/// @dev What happens to credits and to the money behind them, jobs apart.
abstract contract CreditActions is State {
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    uint256 private _authorizations;

    /* SALES */

    function buy(uint256 buyer, uint256 class_, uint256 units, uint256 to) external action {
        _buyUnits(_buyer(buyer).addr, _class(class_), bound(units, 1, MOST), _holder(to));
    }

    /// @dev Paid by an ERC-3009 authorisation of more than the price.
    function buyWithAuthorization(uint256 buyer, uint256 class_, uint256 units, uint256 left) external action {
        Account memory from = _buyer(buyer);
        uint256 id = _class(class_);
        vm.assume(address(_tokenOf(id)) == address(usd));
        units = bound(units, 1, MOST);
        uint256 cost = reserve.costOf(id, units);
        ICreditReserve.Authorization memory auth;
        (auth.from, auth.value) = (from.addr, cost + bound(left, 0, MOST));
        (auth.validBefore, auth.salt) = (type(uint256).max, bytes32(++_authorizations));
        bytes32 nonce = reserve.purchaseNonce(id, units, from.addr, auth.salt);
        bytes32 hash = keccak256(
            abi.encode(RECEIVE_TYPEHASH, from.addr, address(reserve), auth.value, uint256(0), auth.validBefore, nonce)
        );
        (auth.v, auth.r, auth.s) =
            vm.sign(from.key, keccak256(abi.encodePacked("\x19\x01", usd.DOMAIN_SEPARATOR(), hash)));
        usd.mint(from.addr, auth.value);
        uint256 before = usd.balanceOf(from.addr);
        vm.prank(anyone);
        reserve.buyWithAuthorization(id, units, from.addr, auth);
        _check(before - usd.balanceOf(from.addr) == cost, "1: a relayed purchase cost more than its price");
        (minted[id], paidIn[usd]) = (minted[id] + units, paidIn[usd] + cost);
    }

    function _buyUnits(address buyer, uint256 id, uint256 units, address to) internal {
        IDemoUSD token = _tokenOf(id);
        uint256 cost = reserve.costOf(id, units);
        token.mint(buyer, cost);
        vm.prank(buyer);
        token.approve(address(reserve), cost);
        uint256 left = reserve.backingOf(id);
        vm.prank(buyer);
        reserve.buy(id, units, to, cost);
        _check(reserve.backingOf(id) == left + cost, "1: a sale did not back itself in full");
        (minted[id], paidIn[token]) = (minted[id] + units, paidIn[token] + cost);
    }

    /* CREDITS */

    function grant(uint256 to, uint256 class_, uint256 units) external action {
        uint256 id = _classFunded(class_, Funding.Grant);
        units = bound(units, 1, MOST);
        vm.prank(issuer.addr);
        credits.grant(_holder(to), id, units);
        minted[id] += units;
    }

    function transfer(uint256 from, uint256 to, uint256 units) external action {
        (address sender, uint256 id, uint256 held) = _holding(from, false);
        vm.prank(sender);
        credits.safeTransferFrom(sender, _holder(to), id, bound(units, 1, held), "");
    }

    function createClass(uint256 kind) external action {
        vm.assume(classes.length < MAX_CLASSES);
        classes.push(_createClass(_kind(kind % KINDS)));
    }

    /// @dev Seldom: one call in eight, so that most classes live.
    function closeClass(uint256 class_, uint256 chance) external action {
        vm.assume(chance % 8 == 0);
        _close(_class(class_));
    }

    /* WIND-DOWN */

    function reclaim(uint256 from, uint256 units) external action {
        (address holder, uint256 id, uint256 held) = _holding(from, true);
        _reclaimUnits(holder, id, bound(units, 1, held));
    }

    function _reclaimUnits(address holder, uint256 id, uint256 units) internal {
        IDemoUSD token = _tokenOf(id);
        (uint256 backing, uint256 supply) = (reserve.backingOf(id), credits.totalSupply(id));
        vm.prank(holder);
        uint256 amount = reserve.reclaim(id, units);
        (burned[id], paidOut[token]) = (burned[id] + units, paidOut[token] + amount);
        _check(amount == units * backing / supply, "3: a reclaim was not the holder's share");
        _check((backing - amount) * supply >= backing * (supply - units), "3: a reclaim lowered the others' rate");
    }

    function sweepExpired(uint256 class_) external action {
        for (uint256 i; i < classes.length; ++i) {
            uint256 id = classes[(class_ % classes.length + i) % classes.length];
            uint256 expiry = credits.classTerms(id).expiry;
            if (expiry == 0 || swept[id] || _now() < expiry + SWEEP_DELAY) continue;
            vm.prank(anyone);
            reserve.sweepExpired(id);
            swept[id] = true;
            return;
        }
        vm.assume(false);
    }

    /* EARNINGS AND FEES */

    function withdraw(uint256 account, uint256 amount) external action {
        (address holder, IDemoUSD token, uint256 earned) = _earner(account);
        _withdrawEarnings(holder, token, bound(amount, 1, earned));
    }

    function _withdrawEarnings(address holder, IDemoUSD token, uint256 amount) internal {
        uint256 fees = reserve.feesOf(address(token));
        vm.prank(holder);
        reserve.withdraw(address(token), amount, holder);
        uint256 fee = reserve.feesOf(address(token)) - fees;
        _check(fee == amount * reserve.feeBps() / BPS, "1: a withdrawal was charged another fee");
        paidOut[token] += amount - fee;
    }

    function setFee(uint256 feeBps) external action {
        _setFee(bound(feeBps, 0, MAX_FEE_BPS));
    }

    function collectFees(uint256 token, uint256 amount) external action {
        IDemoUSD paid = tokens[token % tokens.length];
        uint256 fees = reserve.feesOf(address(paid));
        vm.assume(fees != 0);
        _collect(paid, bound(amount, 1, fees));
    }

    function _collect(IDemoUSD token, uint256 amount) internal {
        vm.prank(admin.addr);
        reserve.collectFees(address(token), amount, admin.addr);
        paidOut[token] += amount;
    }

    /* TOKENS */

    /// @dev Tokens sent by hand must change nothing.
    function donate(uint256 token, uint256 amount, uint256 to) external action {
        bool toRegistry = to % 2 == 0;
        IDemoUSD given = tokens[token % tokens.length];
        amount = bound(amount, 1, MOST);
        given.mint(toRegistry ? address(registry) : address(reserve), amount);
        if (!toRegistry) donated[given] += amount;
        else if (address(given) == address(usd)) donatedStake += amount;
    }

    /// @dev The dishonest token starts (one time in four) or stops keeping a part of every transfer.
    function toggleDishonesty(uint256 chance) external action {
        DishonestToken(address(tokens[1])).keep(chance % 4 == 0 ? 1 : 0);
    }
}
