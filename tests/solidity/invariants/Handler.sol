// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ClassTerms, Funding, Status} from "contracts/interfaces/Types.sol";
import {DishonestToken} from "../support/DishonestToken.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {CreditActions} from "./CreditActions.sol";
import {JobActions} from "./JobActions.sol";
import {PartyActions} from "./PartyActions.sol";

/// @dev Drives the whole system by random actions, and says what must hold after each. Numbers: docs/invariants.md.
contract Handler is PartyActions {
    bytes4[] private _actions;

    constructor() {
        setUp();
    }

    /// @dev The actions a campaign draws from. Those that move jobs and money are listed more than once, so that they
    /// are drawn more often.
    function actions() external returns (bytes4[] memory) {
        delete _actions;
        _add(4, JobActions.open.selector);
        _add(4, JobActions.submit.selector);
        _add(3, JobActions.submitBatch.selector);
        _add(3, JobActions.finalize.selector);
        _add(2, JobActions.accept.selector);
        _add(1, JobActions.cancel.selector);
        _add(1, JobActions.expire.selector);
        _add(1, JobActions.submitWrong.selector);
        _add(1, JobActions.submitLate.selector);
        _add(1, JobActions.replay.selector);
        _add(2, CreditActions.buy.selector);
        _add(1, CreditActions.buyWithAuthorization.selector);
        _add(1, CreditActions.grant.selector);
        _add(2, CreditActions.transfer.selector);
        _add(1, CreditActions.createClass.selector);
        _add(1, CreditActions.closeClass.selector);
        _add(2, CreditActions.reclaim.selector);
        _add(1, CreditActions.sweepExpired.selector);
        _add(2, CreditActions.withdraw.selector);
        _add(1, CreditActions.setFee.selector);
        _add(1, CreditActions.collectFees.selector);
        _add(1, CreditActions.donate.selector);
        _add(1, CreditActions.toggleDishonesty.selector);
        _add(3, PartyActions.wait.selector);
        _add(1, PartyActions.stake.selector);
        _add(1, PartyActions.unstake.selector);
        _add(1, PartyActions.withdrawStake.selector);
        _add(1, PartyActions.rotateOracle.selector);
        _add(1, PartyActions.proposeWatchers.selector);
        _add(1, PartyActions.activateWatchers.selector);
        _add(1, PartyActions.attack.selector);
        _add(1, PartyActions.endTooEarly.selector);
        return _actions;
    }

    function _add(uint256 times, bytes4 selector) private {
        for (uint256 i; i < times; ++i) {
            _actions.push(selector);
        }
    }

    /* WHAT MUST HOLD */

    /// @dev 1. Every token of the reserve is backing, earnings or fees, or was thrown at it.
    function assertReserve() external view {
        for (uint256 i; i < tokens.length; ++i) {
            IDemoUSD token = tokens[i];
            uint256 owed = reserve.feesOf(address(token));
            for (uint256 j; j < classes.length; ++j) {
                bool sold = credits.saleTerms(classes[j]).funding == Funding.Sale;
                if (!sold) assertEq(reserve.backingOf(classes[j]), 0, "1: a grant has backing");
                else if (address(_tokenOf(classes[j])) == address(token)) owed += reserve.backingOf(classes[j]);
            }
            for (uint256 j; j < holders.length; ++j) {
                owed += reserve.earningsOf(holders[j], address(token));
            }
            assertEq(token.balanceOf(address(reserve)), owed + donated[token], "1: balance is what is owed");
            assertEq(owed, paidIn[token] - paidOut[token], "1: what is owed is what was paid and not paid out");
        }
    }

    /// @dev 2. Credits are held, locked in live jobs, or burned.
    function assertSupply() external view {
        for (uint256 i; i < classes.length; ++i) {
            uint256 id = classes[i];
            uint256 locked;
            uint256 held;
            for (uint256 j; j < holders.length; ++j) {
                held += credits.balanceOf(holders[j], id);
                locked += credits.lockedOf(holders[j], id);
            }
            uint256 inJobs;
            for (uint256 j; j < tracked.length; ++j) {
                if (tracked[j].terms.classId == id && _isLive(tracked[j].last)) inJobs += tracked[j].terms.maxUnits;
            }
            assertEq(credits.totalSupply(id), held, "2: supply is what is held");
            assertEq(locked, inJobs, "2: locked is what live jobs name");
            assertEq(credits.totalSupply(id), minted[id] - burned[id], "2: supply is minted less burned");
        }
    }

    /// @dev 3. A class for sale is backed at its price to the last unit, until what nobody reclaimed is swept.
    function assertBacking() external view {
        for (uint256 i; i < classes.length; ++i) {
            ClassTerms memory terms = credits.classTerms(classes[i]);
            if (terms.funding != Funding.Sale || swept[classes[i]]) continue;
            uint256 unitsPriced = 1_000_000 * 10 ** uint256(terms.decimals);
            assertGe(
                reserve.backingOf(classes[i]) * unitsPriced,
                credits.totalSupply(classes[i]) * terms.pricePerMillion,
                "3: supply at its price is backed"
            );
        }
    }

    /// @dev 5. No job settles for more than it locked. (4, 6, 7, 10 and 12 are watched as the actions happen.)
    function assertJobs() external view {
        for (uint256 i; i < tracked.length; ++i) {
            Tracked storage t = tracked[i];
            Status status = market.jobs(t.id).status;
            bool emptied = status == Status.None && t.last >= Status.Settled && _now() > t.terms.acceptBy;
            assertTrue(status == t.last || emptied, "4: no job moves unless it is acted on");
            assertLe(market.submissions(t.id).units, t.terms.maxUnits, "5: units waiting fit the lock");
            if (t.last == Status.Settled) assertLe(t.units, t.terms.maxUnits, "5: units settled fit the lock");
            assertLe(t.ends, 1, "4: a job ends once");
        }
    }

    /// @dev 11. The registry holds what is staked and what is unbonding.
    function assertStake() external view {
        uint256 owed = donatedStake;
        for (uint256 i; i < providers.length; ++i) {
            (uint256 unbonding,) = registry.unbondingOf(providers[i].account);
            owed += registry.stakeOf(providers[i].account) + unbonding;
        }
        assertEq(usd.balanceOf(address(registry)), owed, "11: stake is there");
    }

    /* THE WAY OUT */

    /// @dev 6 and 7. From any state, strangers can end every job and everybody gets out what is theirs, until the
    /// reserve holds nothing but what was thrown at it.
    function endEverything() external {
        DishonestToken(address(tokens[1])).keep(0);
        skip(2 * MAX_DURATION + 1);
        for (uint256 i; i < tracked.length; ++i) {
            if (tracked[i].last == Status.Submitted) _finalizeJob(tracked[i]);
            else if (_isLive(tracked[i].last)) _expireJob(tracked[i]);
        }
        assertEq(violation, "", "6: every job can be ended");
        for (uint256 i; i < classes.length; ++i) {
            for (uint256 j; j < holders.length; ++j) {
                assertEq(credits.lockedOf(holders[j], classes[i]), 0, "6: nothing stays locked");
            }
            _windDown(classes[i]);
        }
        for (uint256 i; i < tokens.length; ++i) {
            IDemoUSD token = tokens[i];
            for (uint256 j; j < holders.length; ++j) {
                uint256 earned = reserve.earningsOf(holders[j], address(token));
                if (earned != 0) _withdrawEarnings(holders[j], token, earned);
            }
            uint256 fees = reserve.feesOf(address(token));
            if (fees != 0) _collect(token, fees);
            assertEq(token.balanceOf(address(reserve)), donated[token], "7: the reserve is empty");
        }
        assertEq(violation, "", "3: everybody got their share");
    }

    function _windDown(uint256 id) private {
        if (!credits.isWoundDown(id)) _close(id);
        for (uint256 j; j < holders.length; ++j) {
            uint256 held = credits.balanceOf(holders[j], id);
            if (held != 0) _reclaimUnits(holders[j], id, held);
        }
        assertEq(credits.totalSupply(id), 0, "7: every credit was redeemed");
        assertEq(reserve.backingOf(id), 0, "7: all backing went with them");
    }

    function _isLive(Status status) private pure returns (bool) {
        return status == Status.Open || status == Status.Running || status == Status.Submitted;
    }
}
