// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {Offer} from "contracts/interfaces/Types.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {AuditActions} from "./AuditActions.sol";

/// @dev Signed offers, filled in parts, by budgets and in batches; and the fee on them.
abstract contract ExchangeActions is AuditActions {
    uint256 private constant MAX_OFFERS = 8;
    uint256 private constant MAX_EXCHANGE_FEE = 100;
    uint256 private _salt;
    uint256 private _proposed;
    uint256 private _dueAt;

    /* OFFERS */

    /// @dev By a buyer or, one time in four, by the contract that signs everything. The oldest offer makes room.
    function makeOffer(uint256 maker, uint256 class_, uint256 units, uint256 how) external action {
        bool contract_ = maker % 4 == 3;
        Offer memory offer;
        (offer.maker, offer.selling) = (contract_ ? address(trick) : buyers[maker % 4].addr, how % 2 == 0);
        (offer.classId, offer.units) = (_tradable(class_), uint128(bound(units, 1, MOST)));
        (offer.token, offer.price) = (address(tokens[how % 8 / 7]), uint128(bound(units >> 8, 0, 1e11)));
        if (how % 5 == 0) offer.taker = buyers[(maker % 4 + 1) % 3].addr;
        offer.expiry = uint40(_now() + bound(how, 1 hours, 40 days));
        (offer.epoch, offer.salt) = (uint64(epochs[offer.maker]), ++_salt);
        if (offer.selling) _acquire(offer.maker, offer.classId, offer.units);
        uint256 slot = offers.length;
        if (slot == MAX_OFFERS) slot = _salt % MAX_OFFERS;
        else offers.push();
        Made storage made = offers[slot];
        (made.filled, made.paid, made.cancelled) = (0, 0, false);
        made.offer = offer;
        made.id = exchange.hashOffer(offer);
        made.signature = contract_ ? bytes("") : _sign(buyers[maker % 4], made.id);
        _done();
    }

    /// @dev Mostly a class that can be traded, starting the search anywhere.
    function _tradable(uint256 seed) private view returns (uint256 id) {
        for (uint256 i; i < classes.length; ++i) {
            id = classes[(seed % classes.length + i) % classes.length];
            if (seed % 8 == 0 || (termsOf[id].transferable && !_isExpired(id))) return id;
        }
    }

    function cancelOffer(uint256 seed, uint256 chance) external action {
        vm.assume(offers.length != 0 && chance % 3 == 0);
        Made storage made = offers[seed % offers.length];
        bytes memory call = abi.encodeCall(ICreditExchange.cancel, (made.offer));
        made.cancelled = _must(made.offer.maker, address(exchange), call, 25);
        _done();
    }

    function raiseEpoch(uint256 maker, uint256 chance) external action {
        vm.assume(chance % 4 == 0);
        address account = _buyer(maker).addr;
        uint64 next = uint64(++epochs[account]);
        _must(account, address(exchange), abi.encodeCall(ICreditExchange.raiseEpoch, (next)), 25);
        _done();
    }

    /* FILLS */

    function fill(uint256 seed, uint256 taker, uint256 units) external action {
        Made storage made = _offer(seed);
        address by = _taker(made, taker);
        ICreditExchange.Fill memory order = _order(made, units);
        if (!made.offer.selling) _acquire(by, made.offer.classId, order.units);
        uint256 rule = _fillRule(made, by, order.units);
        uint256[3] memory had = _purses(made, by);
        (bool ok,) = _attempt(by, address(exchange), abi.encodeCall(ICreditExchange.fill, (order)), rule);
        if (!ok) return;
        _filled(made, by, order.units, had);
        _done();
    }

    /// @dev By the spender of a budget, for its owner.
    function fillFor(uint256 seed, uint256 which, uint256 units) external action {
        Made storage made = _offer(seed);
        (uint256 budgetId, Node storage node) = _node(which);
        vm.assume(made.offer.selling && made.offer.maker != node.owner);
        ICreditExchange.Fill memory order = _order(made, units);
        uint256 price = _priceOf(made.offer, order.units);
        uint256 rule = _fillRule(made, node.owner, order.units);
        if (rule == 0) rule = made.offer.token != address(usd) ? 8 : _budgetRule(budgetId, made.offer.maker, price);
        uint256[3] memory had = _purses(made, node.owner);
        bytes memory call = abi.encodeCall(ICreditExchange.fillFor, (budgetId, order));
        (bool ok,) = _attempt(node.limits.spender, address(exchange), call, rule);
        if (!ok) return;
        _charged(budgetId, price);
        _filled(made, node.owner, order.units, had);
        _done();
    }

    /// @dev Two offers by one taker; whatever is wrong with one, the other is filled if it can be.
    function fillBatch(uint256 seed, uint256 taker, uint256 units) external action {
        Made storage first = _offer(seed);
        Made storage second = offers[(seed % offers.length + 1) % offers.length];
        address by = _taker(first, taker);
        vm.assume(first.id != second.id && second.offer.maker != by);
        // What one row leaves for the other is for other tests.
        vm.assume(first.offer.classId != second.offer.classId);
        ICreditExchange.Fill[] memory orders = new ICreditExchange.Fill[](2);
        (orders[0], orders[1]) = (_order(first, units), _order(second, units >> 8));
        bool goodFirst = _fillRule(first, by, orders[0].units) == 0;
        bool goodSecond = _fillRule(second, by, orders[1].units) == 0;
        (_purses(first, by), _purses(second, by));
        (bool ok, bytes memory answer) =
            _call(by, address(exchange), abi.encodeCall(ICreditExchange.fillBatch, (orders)));
        if (!ok) return _fail(10, "a bad row stopped a batch of fills");
        if (abi.decode(answer, (uint256)) != (goodFirst ? 1 : 0) + (goodSecond ? 1 : 0)) {
            return _fail(10, "not just the good offers were filled");
        }
        if (goodFirst) _traded(first, by, orders[0].units);
        if (goodSecond) _traded(second, by, orders[1].units);
        if (goodFirst || goodSecond) _done();
    }

    /// @dev Altered, or with a signature of somebody else's.
    function fillForged(uint256 seed, uint256 taker, uint256 how) external action {
        Made storage made = _offer(seed);
        vm.assume(made.offer.maker != address(trick));
        address by = _taker(made, taker);
        ICreditExchange.Fill memory order = _order(made, 1);
        _purses(made, by);
        if (how % 3 == 0) order.offer.price += 1;
        if (how % 3 == 1) order.offer.maker = holders[5 + how % 3];
        if (how % 3 == 2) order.signature = _sign(oracle, made.id);
        if (!_mustNot(by, address(exchange), abi.encodeCall(ICreditExchange.fill, (order)), 18)) _done();
    }

    /* FEES */

    function proposeExchangeFee(uint256 feeBps) external action {
        vm.assume(_dueAt == 0 || feeBps % 4 == 0);
        feeBps = bound(feeBps, 0, 2 * MAX_EXCHANGE_FEE);
        bytes memory call = abi.encodeCall(ICreditExchange.proposeFee, (feeBps, treasury));
        (bool ok,) = _attempt(admin.addr, address(exchange), call, feeBps > MAX_EXCHANGE_FEE ? 17 : 0);
        if (!ok) return;
        if (feeBps <= exchangeFee) (exchangeFee, _dueAt) = (feeBps, 0);
        else (_proposed, _dueAt) = (feeBps, _now() + FEE_DELAY);
        _done();
    }

    function applyExchangeFee() external action {
        vm.assume(_dueAt != 0);
        bytes memory call = abi.encodeCall(ICreditExchange.applyFee, ());
        (bool ok,) = _attempt(anyone, address(exchange), call, _now() < _dueAt ? 17 : 0);
        if (!ok) return;
        (exchangeFee, _dueAt) = (_proposed, 0);
        _done();
    }

    /* HELPERS */

    function _offer(uint256 seed) private view returns (Made storage) {
        vm.assume(offers.length != 0);
        return offers[seed % offers.length];
    }

    function _taker(Made storage made, uint256 seed) private view returns (address by) {
        by = made.offer.taker == address(0) || seed % 4 == 0 ? _buyer(seed).addr : made.offer.taker;
        vm.assume(by != made.offer.maker);
    }

    /// @dev Mostly of what is left, and the maker has; sometimes more.
    function _order(Made storage made, uint256 units) private view returns (ICreditExchange.Fill memory order) {
        uint256 left = made.offer.units - made.filled;
        uint256 held = _available(made.offer.maker, made.offer.classId);
        if (made.offer.selling && held != 0 && held < left && units % 4 != 0) left = held;
        order.offer = made.offer;
        order.signature = made.signature;
        order.units = uint128(left == 0 || units % 16 == 0 ? left + 1 : bound(units, 1, left));
        if (made.offer.selling) order.limit = _priceOf(made.offer, order.units);
    }

    /// @dev What a part costs: rounded for the maker.
    function _priceOf(Offer memory offer, uint256 units) private pure returns (uint256) {
        uint256 product = units * offer.price;
        return offer.selling ? _ceil(product, offer.units) : product / offer.units;
    }

    function _fillRule(Made storage made, address by, uint256 units) private view returns (uint256) {
        Offer memory offer = made.offer;
        if (offer.taker != address(0) && offer.taker != by) return 25;
        if (_now() > offer.expiry || made.cancelled || offer.epoch != epochs[offer.maker]) return 25;
        if (units > offer.units - made.filled) return 25;
        uint256 rule = _transferRule(offer.classId, _seller(offer, by), _payer(offer, by), units);
        if (rule != 0) return rule;
        bool lies = _lies(IDemoUSD(offer.token), _payer(offer, by), _seller(offer, by));
        return lies && _priceOf(offer, units) != 0 ? 17 : 0;
    }

    function _seller(Offer memory offer, address by) private pure returns (address) {
        return offer.selling ? offer.maker : by;
    }

    function _payer(Offer memory offer, address by) private pure returns (address) {
        return offer.selling ? by : offer.maker;
    }

    /// @dev Gives the buyer what the whole costs; then what each side and the treasury have.
    function _purses(Made storage made, address by) private returns (uint256[3] memory had) {
        Offer memory offer = made.offer;
        IDemoUSD token = IDemoUSD(offer.token);
        token.mint(_payer(offer, by), uint256(offer.price) * 2);
        had[0] = token.balanceOf(_payer(offer, by));
        had[1] = token.balanceOf(_seller(offer, by));
        had[2] = token.balanceOf(treasury);
    }

    /// @dev Rules 17 and 25: the buyer pays the price, the seller bears the agreed fee, and the maker of an offer never gets
    /// a worse price than it signed.
    function _filled(Made storage made, address by, uint256 units, uint256[3] memory had) private {
        Offer memory offer = made.offer;
        IDemoUSD token = IDemoUSD(offer.token);
        uint256 price = _priceOf(offer, units);
        uint256 fee = price * exchangeFee / BPS;
        _check(had[0] - token.balanceOf(_payer(offer, by)) == price, 25, "a buyer paid another price");
        _check(token.balanceOf(treasury) - had[2] == fee, 17, "a fill was charged another fee");
        _check(token.balanceOf(_seller(offer, by)) - had[1] == price - fee, 25, "a seller got another price");
        _traded(made, by, units);
    }

    function _traded(Made storage made, address by, uint256 units) private {
        Offer memory offer = made.offer;
        _moved(offer.classId, _seller(offer, by), _payer(offer, by), units);
        _syncWild();
        made.filled += units;
        made.paid += _priceOf(offer, units);
        _check(exchange.filledOf(made.id) == made.filled && made.filled <= offer.units, 25, "an offer was filled over");
        (uint256 paid, uint256 signed) = (made.paid * offer.units, made.filled * offer.price);
        _check(offer.selling ? paid >= signed : paid <= signed, 25, "a maker got a worse price than it signed");
    }
}
