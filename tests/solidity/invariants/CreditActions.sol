// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {Funding} from "contracts/interfaces/Types.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {Model} from "./Model.sol";

/// @dev Classes, and how credits come to be and change hands.
abstract contract CreditActions is Model {
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    uint256 private _authorizations;

    /* SALES */

    function buy(uint256 buyer, uint256 class_, uint256 units, uint256 to) external action {
        if (_buyUnits(_buyer(buyer).addr, _class(class_), bound(units, 1, MOST), _holder(to))) _done();
    }

    function _buyUnits(address buyer, uint256 id, uint256 units, address to) internal returns (bool ok) {
        uint256 rule = _saleRule(id, buyer, to, units);
        uint256 cost = rule == 17 || rule == 7 ? MOST : _costOf(id, units);
        IDemoUSD token = _tokenOf(id);
        token.mint(buyer, cost);
        uint256 had = token.balanceOf(buyer);
        uint256 backing = reserve.backingOf(id);
        (ok,) = _attempt(buyer, address(reserve), abi.encodeCall(ICreditReserve.buy, (id, units, to, cost)), rule);
        if (!ok) return false;
        _bookSale(id, units, to, cost);
        if (to != address(gremlin)) _check(reserve.backingOf(id) == backing + cost, 1, "a sale did not back itself");
        _check(had - token.balanceOf(buyer) == cost, 17, "a buyer paid another price");
    }

    function _bookSale(uint256 id, uint256 units, address to, uint256 cost) private {
        _minted(id, to, units);
        ++ghosts[id].roundings;
        paidIn[_tokenOf(id)] += cost;
        _syncWild();
        _i14_rateFallsBySalesOnly(id);
    }

    /// @dev Paid by an ERC-3009 authorisation of more than the price, sent by a stranger.
    function buyWithAuthorization(uint256 buyer, uint256 class_, uint256 units, uint256 left) external action {
        Account memory from = _buyer(buyer);
        uint256 id = _class(class_);
        units = bound(units, 1, MOST);
        uint256 rule = _saleRule(id, from.addr, from.addr, units);
        vm.assume(address(_tokenOf(id)) == address(usd) && rule != 17 && rule != 7);
        uint256 cost = _costOf(id, units);
        ICreditReserve.Authorization memory auth = _authorize(from, id, units, cost + bound(left, 0, MOST));
        uint256 had = usd.balanceOf(from.addr);
        bytes memory call = abi.encodeCall(ICreditReserve.buyWithAuthorization, (id, units, from.addr, auth));
        (bool ok,) = _attempt(anyone, address(reserve), call, rule);
        if (!ok) return;
        _check(had - usd.balanceOf(from.addr) == cost, 17, "a relayed purchase cost more than its price");
        _bookSale(id, units, from.addr, cost);
        _mustNot(anyone, address(reserve), call, 18);
        _done();
    }

    function _authorize(Account memory from, uint256 id, uint256 units, uint256 value)
        private
        returns (ICreditReserve.Authorization memory auth)
    {
        (auth.from, auth.value) = (from.addr, value);
        (auth.validBefore, auth.salt) = (type(uint256).max, bytes32(++_authorizations));
        bytes32 nonce = reserve.purchaseNonce(id, units, from.addr, auth.salt);
        bytes32 hash = keccak256(
            abi.encode(RECEIVE_TYPEHASH, from.addr, address(reserve), value, uint256(0), auth.validBefore, nonce)
        );
        (auth.v, auth.r, auth.s) =
            vm.sign(from.key, keccak256(abi.encodePacked("\x19\x01", usd.DOMAIN_SEPARATOR(), hash)));
        usd.mint(from.addr, value);
    }

    /// @dev Grants of unbacked classes, and of those that the issuer's stake stands behind.
    function grant(uint256 to, uint256 class_, uint256 units) external action {
        uint256 id = _class(class_);
        // Mostly of a class that its issuer may grant.
        for (uint256 i; i < classes.length && class_ % 8 != 0 && termsOf[id].funding == Funding.Sale; ++i) {
            id = classes[(class_ % classes.length + i) % classes.length];
        }
        if (_grantUnits(id, _holder(to), bound(units, 1, MOST))) _done();
    }

    function _grantUnits(uint256 id, address to, uint256 units) internal returns (bool ok) {
        uint256 rule = termsOf[id].funding == Funding.Sale ? 7 : _issueRule(id, to, units);
        bytes memory call = abi.encodeCall(IComputeCredits.grant, (to, id, units));
        (ok,) = _attempt(termsOf[id].issuer, address(credits), call, rule);
        if (!ok) return false;
        _minted(id, to, units);
        _syncWild();
        _i14_rateFallsBySalesOnly(id);
    }

    /// @dev Gets an account some units, however the class hands them out.
    function _acquire(address to, uint256 id, uint256 units) internal {
        if (_available(to, id) != 0) return;
        if (termsOf[id].funding == Funding.Sale) _buyUnits(to, id, units, to);
        else _grantUnits(id, to, units);
    }

    /* CREDITS */

    /// @dev By the holder; of one class or, the same, as a batch.
    function transfer(uint256 from, uint256 to, uint256 units, uint256 how) external action {
        (address sender, uint256 id) = _holding(from, false);
        address receiver = _holder(to);
        units = bound(units, 1, _available(sender, id));
        bytes memory call = abi.encodeCall(credits.safeTransferFrom, (sender, receiver, id, units, ""));
        if (how % 4 == 0) {
            uint256[] memory ids = new uint256[](1);
            uint256[] memory values = new uint256[](1);
            (ids[0], values[0]) = (id, units);
            call = abi.encodeCall(credits.safeBatchTransferFrom, (sender, receiver, ids, values, ""));
            // The malicious receivers mind single transfers only.
            vm.assume(receiver != address(gremlin) && receiver != address(trick));
        }
        (bool ok,) = _attempt(sender, address(credits), call, _transferRule(id, sender, receiver, units));
        if (!ok) return;
        _moved(id, sender, receiver, units);
        _syncWild();
        _i14_rateFallsBySalesOnly(id);
        _done();
    }

    function _transferRule(uint256 id, address from, address to, uint256 units) internal view returns (uint256) {
        if (!termsOf[id].transferable) return 20;
        if (_isExpired(id)) return 21;
        if (units > _available(from, id)) return 2;
        if (from == to) return to == address(trick) && trickIsPlayed ? REASONS : 0;
        return _receiptRule(id, to, units);
    }

    /// @dev More than is free: what jobs have locked can't be sent away.
    function transferLocked(uint256 from, uint256 to, uint256 extra) external action {
        (address sender, uint256 id) = _holding(from, false);
        uint256 units = _available(sender, id) + bound(extra, 1, MOST);
        bytes memory call = abi.encodeCall(credits.safeTransferFrom, (sender, _holder(to), id, units, ""));
        if (!_mustNot(sender, address(credits), call, 2)) _done();
    }

    /* CLASSES */

    /// @dev Once there are many, in the place of one that is over and empty.
    function createClass(uint256 kind) external action {
        for (uint256 i; classes.length == MAX_CLASSES && i < classes.length; ++i) {
            uint256 id = classes[i];
            if (!_isWoundDown(id) || ghosts[id].supply != 0 || reserve.backingOf(id) != 0) continue;
            classes[i] = classes[classes.length - 1];
            classes.pop();
        }
        vm.assume(classes.length < MAX_CLASSES);
        _newClass(kind % KINDS);
        _done();
    }

    /// @dev Seldom: one call in six, so that most classes live.
    function closeClass(uint256 class_, uint256 chance) external action {
        vm.assume(chance % 6 == 0);
        uint256 id = _class(class_);
        vm.assume(!ghosts[id].closed);
        _closeClass(id);
        _done();
    }

    function _closeClass(uint256 id) internal {
        bytes memory call = abi.encodeCall(IComputeCredits.closeClass, (id));
        if (_must(termsOf[id].issuer, address(credits), call, REASONS)) ghosts[id].closed = true;
    }

    /// @dev A pause is at most 14 days long, and there is none for as long after it.
    function pauseClass(uint256 class_, uint256 seconds_) external action {
        uint256 id = _class(class_);
        uint256 until = _now() + bound(seconds_, 0, 20 days);
        uint256 last = ghosts[id].pausedUntil;
        uint256 latest = last == 0 || _now() >= last + 14 days ? _now() + 14 days : last;
        bytes memory call = abi.encodeCall(IComputeCredits.pauseClass, (id, uint40(until)));
        (bool ok,) = _attempt(admin.addr, address(credits), call, until > _now() && until > latest ? 21 : 0);
        if (!ok) return;
        if (until == _now() && last < until) until = last;
        ghosts[id].pausedUntil = until;
        _check(credits.pausedUntil(id) == until, 21, "another pause");
        _done();
    }

    function unpauseClass(uint256 class_) external action {
        uint256 id = _class(class_);
        for (uint256 i; i < classes.length && ghosts[id].pausedUntil <= _now(); ++i) {
            id = classes[(class_ % classes.length + i) % classes.length];
        }
        vm.assume(ghosts[id].pausedUntil > _now());
        bytes memory call = abi.encodeCall(IComputeCredits.pauseClass, (id, uint40(_now() - 1)));
        if (!_must(admin.addr, address(credits), call, 21)) return;
        ghosts[id].pausedUntil = _now();
        _done();
    }

    function allow(uint256 who, uint256 chance) external action {
        address account = _holder(who);
        allowed[account] = chance % 4 != 0;
        vm.prank(issuer.addr);
        allowList.set(_one(account), allowed[account]);
        _done();
    }
}
