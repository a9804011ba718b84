// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {Funding} from "contracts/interfaces/Types.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {Trick} from "../support/ExchangeParties.sol";
import {CreditActions} from "./CreditActions.sol";
import {Mood} from "./WildToken.sol";

/// @dev The money behind credits: reclaims, earnings and fees; and the moods of tokens, feeds and receivers.
abstract contract ReserveActions is CreditActions {
    uint256 private _proposedFee;
    uint256 private _feeDueAt;

    /* WIND-DOWN */

    function reclaim(uint256 from, uint256 units) external action {
        (address holder, uint256 id) = _holding(from, true);
        if (_reclaimUnits(holder, id, bound(units, 1, _available(holder, id)))) _done();
    }

    /// @dev A way out: nothing but the token itself can stop it.
    function _reclaimUnits(address holder, uint256 id, uint256 units) internal returns (bool ok) {
        bool staked = termsOf[id].funding == Funding.Stake;
        uint256 due = staked ? _compensation(id, units) : units * reserve.backingOf(id) / ghosts[id].supply;
        bytes memory call = abi.encodeCall(ICreditReserve.reclaim, (id, units));
        // Nothing is sent, and so nothing stuck, if the share rounds down to nothing.
        bool stuck = !staked && due != 0 && _isStuck(_tokenOf(id), address(reserve), holder);
        if (stuck) {
            _mustNot(holder, address(reserve), call, REASONS);
            return false;
        }
        uint256 had = staked ? 0 : reserve.backingOf(id);
        ok = _must(holder, address(reserve), call, 7);
        if (!ok) return false;
        _burned(id, holder, units);
        ++ghosts[id].roundings;
        if (staked) {
            _syncStake(id, holder, due);
            _check(registry.awardOf(holder) == awards[holder], 11, "a holder was not compensated as due");
        } else {
            paidOut[_tokenOf(id)] += due;
            _check(had - reserve.backingOf(id) == due, 3, "a reclaim was not the holder's share");
        }
        _syncWild();
        _i14_rateFallsBySalesOnly(id);
    }

    /// @dev What stands behind units of a stake-funded class, or their part of what there is.
    function _compensation(uint256 id, uint256 units) private view returns (uint256 due) {
        if (_isOver(id)) return 0;
        Provider storage p = _providerOf(termsOf[id].issuer);
        due = units * termsOf[id].stakePerMillion / _priced(id);
        (uint256 there, uint256 required) = (p.staked + p.unbonding, _required(p.account, 0, 0));
        if (there < required) due = due * there / required;
    }

    function reclaimTooEarly(uint256 from, uint256 units) external action {
        (address holder, uint256 id) = _holding(from, false);
        vm.assume(!_isWoundDown(id));
        bytes memory call = abi.encodeCall(ICreditReserve.reclaim, (id, bound(units, 1, _available(holder, id))));
        if (!_mustNot(holder, address(reserve), call, 3)) _done();
    }

    function sweepExpired(uint256 class_) external action {
        uint256 id = _class(class_);
        for (uint256 i; i < classes.length && class_ % 4 != 0 && !_isOver(id); ++i) {
            id = classes[(class_ % classes.length + i) % classes.length];
        }
        vm.assume(termsOf[id].expiry != 0);
        bytes memory call = abi.encodeCall(ICreditReserve.sweepExpired, (id));
        (bool ok,) = _attempt(anyone, address(reserve), call, _isOver(id) ? 0 : 7);
        if (ok) _done();
    }

    /* EARNINGS AND FEES */

    function withdraw(uint256 account, uint256 amount) external action {
        uint256 pairs = holders.length * tokens.length;
        for (uint256 i; i < pairs; ++i) {
            uint256 pair = (account % pairs + i) % pairs;
            (address holder, IDemoUSD token) = (holders[pair / tokens.length], tokens[pair % tokens.length]);
            uint256 earned = reserve.earningsOf(holder, address(token));
            if (earned == 0) continue;
            if (_withdrawEarnings(holder, token, amount % 2 == 0 ? earned : bound(amount, 1, earned))) _done();
            return;
        }
        vm.assume(false);
    }

    function _withdrawEarnings(address holder, IDemoUSD token, uint256 amount) internal returns (bool ok) {
        uint256 fees = reserve.feesOf(address(token));
        bytes memory call = abi.encodeCall(ICreditReserve.withdraw, (address(token), amount, holder));
        if (_isStuck(token, address(reserve), holder)) {
            _mustNot(holder, address(reserve), call, REASONS);
            return false;
        }
        ok = _must(holder, address(reserve), call, 7);
        if (!ok) return false;
        uint256 fee = reserve.feesOf(address(token)) - fees;
        _check(fee == amount * feeNow / BPS, 17, "a withdrawal was charged another fee");
        paidOut[token] += amount - fee;
        _syncWild();
    }

    function proposeFee(uint256 feeBps) external action {
        // Else no higher fee ever became due.
        vm.assume(_feeDueAt == 0 || feeBps % 4 == 0);
        feeBps = bound(feeBps, 0, 2 * MAX_FEE_BPS);
        bytes memory call = abi.encodeCall(ICreditReserve.proposeFee, (feeBps));
        (bool ok,) = _attempt(admin.addr, address(reserve), call, feeBps > MAX_FEE_BPS ? 17 : 0);
        if (!ok) return;
        if (feeBps <= feeNow) (feeNow, _feeDueAt) = (feeBps, 0);
        else (_proposedFee, _feeDueAt) = (feeBps, _now() + FEE_DELAY);
        _done();
    }

    function applyFee() external action {
        vm.assume(_feeDueAt != 0);
        bytes memory call = abi.encodeCall(ICreditReserve.applyFee, ());
        (bool ok,) = _attempt(anyone, address(reserve), call, _now() < _feeDueAt ? 17 : 0);
        if (!ok) return;
        (feeNow, _feeDueAt) = (_proposedFee, 0);
        _done();
    }

    function collectFees(uint256 token, uint256 amount) external action {
        IDemoUSD paid = tokens[token % tokens.length];
        uint256 fees = reserve.feesOf(address(paid));
        vm.assume(fees != 0 && !_isStuck(paid, address(reserve), admin.addr));
        _collect(paid, bound(amount, 1, fees));
        _done();
    }

    function _collect(IDemoUSD token, uint256 amount) internal {
        bytes memory call = abi.encodeCall(ICreditReserve.collectFees, (address(token), amount, admin.addr));
        if (_must(admin.addr, address(reserve), call, 7)) paidOut[token] += amount;
        _syncWild();
    }

    /* THE WORLD OUTSIDE */

    /// @dev Tokens sent by hand must change nothing.
    function donate(uint256 token, uint256 amount, uint256 to) external action {
        IDemoUSD given = tokens[token % tokens.length];
        address[5] memory all =
            [address(reserve), address(registry), address(exchange), address(market), address(sessions)];
        address target = all[to % all.length];
        amount = bound(amount, 1, MOST);
        given.mint(target, amount);
        donated[given][target] += amount;
        _done();
    }

    /// @dev Two times in three it is honest. Else it keeps or adds a part, refuses all or one account, or acts
    /// from inside.
    function changeToken(uint256 mood, uint256 class_, uint256 who) external action {
        wild.block_(_holder(who));
        reentered = 0;
        for (uint256 i; i < classes.length; ++i) {
            uint256 id = classes[(class_ % classes.length + i) % classes.length];
            if (ghosts[id].kind == 6) reentered = id;
        }
        uint256 moods = uint256(type(Mood).max);
        wild.setMood(mood % 3 == 0 ? Mood(1 + mood / 3 % moods) : Mood.Honest, reentered, issuer.addr);
        _done();
    }

    function changeReceiver(uint256 how) external action {
        Trick[4] memory tricks = [Trick.None, Trick.Refuse, Trick.BurnGas, Trick.AnswerAtLength];
        trick.play(tricks[how % 4]);
        trickIsPlayed = how % 4 != 0;
        _done();
    }

    /// @dev Mostly an answer that sales accept: recent, and near the price of the class.
    function changeFeed(uint256 rate, uint256 age) external action {
        uint256 answer = bound(rate, uint256(PRICE) * 75 / 100, uint256(PRICE) * 125 / 100) * 100;
        uint256 when = _now() - bound(age, 0, 30 hours);
        feed.say(int256(answer), when, when);
        _done();
    }

    /// @dev Mostly up, and since long.
    function changeSequencer(uint256 since, uint256 chance) external action {
        uint256 when = chance % 3 == 0 ? _now() - bound(since, 0, 2 hours) : START - 1 days;
        sequencer.say(chance % 8 == 0 ? int256(1) : int256(0), when, when);
        _done();
    }
}
