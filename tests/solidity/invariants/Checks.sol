// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Funding, Status} from "contracts/interfaces/Types.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {Attacks} from "./Attacks.sol";

/// @dev What must hold in every state, by number. Rules that are about a step (6, 7, 10, 12, 17, 24, 25) are held against
/// each action as it is taken.
abstract contract Checks is Attacks {
    function checkAll() public override {
        for (uint256 i; i < tokens.length; ++i) {
            _i01_reserveOwesWhatItHolds(tokens[i]);
            _i16_nothingStaysBehind(tokens[i]);
        }
        for (uint256 i; i < classes.length; ++i) {
            uint256 id = classes[i];
            _i02_i18_creditsAreWhereTheyWerePut(id);
            _i03_supplyIsBacked(id);
            _i13_sessionsHoldWhatIsUnspent(id);
            _i14_rateFallsBySalesOnly(id);
            _i19_holdingsAreBounded(id);
            _i21_pausesEnd(id);
        }
        for (uint256 i; i < live.length; ++i) {
            _i04_jobsMoveByActionsOnly(live[i]);
            _i05_unitsFitTheLock(live[i]);
        }
        for (uint256 i; i < budgetIds.length; ++i) {
            _i08_budgetsAddUp(budgetIds[i]);
        }
        for (uint256 i; i < openSessions.length; ++i) {
            _i09_claimsFitTheDeposit(openSessions[i]);
            _i27_penaltiesFitTheClaims(openSessions[i]);
        }
        _i11_registryOwesWhatItHolds();
        _i15_stakeStandsBehindItsUse(providers[0]);
        _i15_stakeStandsBehindItsUse(providers[1]);
    }

    /* MONEY */

    function _i01_reserveOwesWhatItHolds(IDemoUSD token) private {
        uint256 owed = reserve.feesOf(address(token));
        for (uint256 i; i < classes.length; ++i) {
            uint256 backing = reserve.backingOf(classes[i]);
            if (termsOf[classes[i]].funding != Funding.Sale) _check(backing == 0, 1, "a gift has backing");
            else if (_tokenOf(classes[i]) == token) owed += backing;
        }
        for (uint256 i; i < holders.length; ++i) {
            owed += reserve.earningsOf(holders[i], address(token));
        }
        uint256 has = token.balanceOf(address(reserve)) - donated[token][address(reserve)];
        if (has != owed) _fail(1, "the reserve holds other than it owes");
        if (owed + paidOut[token] != paidIn[token]) _fail(1, "the reserve owes other than it got");
    }

    /// @dev Nor in the contracts that credits and tokens pass by.
    function _i16_nothingStaysBehind(IDemoUSD token) private {
        address[7] memory all = [
            address(exchange),
            address(market),
            address(sessions),
            address(budgets),
            address(credits),
            address(verifier),
            address(metadata)
        ];
        for (uint256 i; i < all.length; ++i) {
            if (token.balanceOf(all[i]) != donated[token][all[i]]) _fail(16, "a token stayed behind");
        }
        if (token != tokens[0] && token.balanceOf(address(registry)) != donated[token][address(registry)]) {
            _fail(16, "a token stayed in the registry");
        }
    }

    /// @dev Every unit is where the handler thinks that it is: rules 2, 16 and 18.
    function _i02_i18_creditsAreWhereTheyWerePut(uint256 id) private {
        Ghost storage g = ghosts[id];
        uint256 count = holders.length;
        uint256 sum;
        uint256[] memory balances = _balances(id);
        for (uint256 i; i < count; ++i) {
            address holder = holders[i];
            sum += balances[i];
            if (balances[i] != g.held[holder]) _fail(18, "somebody's credits changed without leave");
            uint256 locked = credits.lockedOf(holder, id);
            if (locked != g.locked[holder]) _fail(2, "locked is not what live jobs name");
            if (locked > balances[i]) _fail(2, "more is locked than held");
        }
        if (balances[count] != 0 || balances[count + 1] != 0) _fail(16, "credits stayed behind");
        if (credits.totalSupply(id) != g.supply) _fail(2, "supply is not what was minted less what was burned");
        if (credits.totalSupply(id) != sum + credits.balanceOf(address(sessions), id)) {
            _fail(2, "supply is not what is held");
        }
    }

    function _balances(uint256 id) private view returns (uint256[] memory) {
        uint256 count = holders.length;
        address[] memory accounts = new address[](count + 2);
        uint256[] memory ids = new uint256[](count + 2);
        for (uint256 i; i < count + 2; ++i) {
            ids[i] = id;
            if (i < count) accounts[i] = holders[i];
        }
        (accounts[count], accounts[count + 1]) = (address(market), address(exchange));
        return credits.balanceOfBatch(accounts, ids);
    }

    /// @dev And there is no more behind it than its price, but for roundings of less than one base unit each.
    function _i03_supplyIsBacked(uint256 id) private {
        if (termsOf[id].funding != Funding.Sale || termsOf[id].priceFeed != address(0) || _isOver(id)) return;
        uint256 backing = reserve.backingOf(id) * _priced(id);
        uint256 due = credits.totalSupply(id) * termsOf[id].pricePerMillion;
        if (backing < due) _fail(3, "supply is not backed at its price");
        else if (backing - due > ghosts[id].roundings * _priced(id)) _fail(3, "more backs a class than was rounded");
    }

    /* JOBS AND SESSIONS */

    function _i04_jobsMoveByActionsOnly(Job storage job) private {
        if (!_isAs(job, job.status)) _fail(4, "a job changed by itself");
        if (ends[job.id] != 0) _fail(4, "a job that ended is live");
    }

    function _i05_unitsFitTheLock(Job storage job) private {
        bool waits = job.status == Status.Submitted || job.status == Status.Disputed;
        uint256 units = market.submissions(job.id).units;
        if (units > job.terms.maxUnits) _fail(5, "more units wait than were locked");
        if (waits && units != job.units) _fail(5, "other units wait than were submitted");
    }

    /// @dev And nobody else's deposits count towards a holder's cap.
    function _i13_sessionsHoldWhatIsUnspent(uint256 id) private {
        uint256 unspent;
        uint256 counted;
        for (uint256 i; i < openSessions.length; ++i) {
            Session storage session = openSessions[i];
            if (session.terms.classId == id) unspent += session.deposit - session.claimed;
        }
        if (credits.balanceOf(address(sessions), id) != unspent) _fail(13, "sessions hold other than is unspent");
        if (unspent != ghosts[id].inSessions) _fail(13, "sessions hold other than was deposited");
        if (!_countsDeposits(id)) return;
        for (uint256 i; i < holders.length; ++i) {
            counted = credits.depositedOf(holders[i], id);
            if (counted != ghosts[id].deposited[holders[i]]) _fail(13, "other deposits count towards a cap");
        }
    }

    /* BUDGETS */

    function _i08_budgetsAddUp(uint256 id) private {
        Node storage node = nodes[id];
        ISpendingBudgets.Budget memory given = budgets.budgetOf(id);
        if (given.spent > given.limits.lifetime) _fail(8, "more is spent than ever may be");
        if (given.spent != node.spent) _fail(8, "a level counts other than was charged and not given back");
        if (given.revoked != node.revoked || given.owner != node.owner) _fail(8, "a budget changed by itself");
        if (node.limits.period == 0) return;
        bool same = given.periodSpent == node.periodSpent && given.periodIndex == node.periodIndex;
        if (!same) _fail(8, "a period counts other than was charged in it");
    }

    /* STAKE */

    function _i11_registryOwesWhatItHolds() private {
        uint256 owed = donated[usd][address(registry)] + registry.awardOf(anyone);
        for (uint256 i; i < providers.length; ++i) {
            Provider storage p = providers[i];
            (uint256 unbonding, uint256 availableAt) = registry.unbondingOf(p.account);
            uint256 staked = registry.stakeOf(p.account);
            owed += staked + unbonding;
            if (staked != p.staked || unbonding != p.unbonding) _fail(11, "stake changed without leave or verdict");
            if (unbonding != 0 && availableAt != p.availableAt) _fail(11, "stake is kept for longer");
        }
        for (uint256 i; i < live.length; ++i) {
            if (live[i].status == Status.Disputed) owed += registry.bondOf(live[i].id);
        }
        for (uint256 i; i < holders.length; ++i) {
            uint256 award = registry.awardOf(holders[i]);
            owed += award;
            if (award != awards[holders[i]]) _fail(11, "an award changed by itself");
        }
        if (usd.balanceOf(address(registry)) != owed) _fail(11, "the registry holds other than it owes");
    }

    function _i15_stakeStandsBehindItsUse(Provider storage p) private {
        uint256 required = registry.requiredStakeOf(p.account);
        if (registry.reservedOf(p.account) != _reserved(p.account)) {
            _fail(15, "other stake is set aside than jobs need");
        }
        if (required != _required(p.account, 0, 0)) _fail(15, "other stake is required than stands behind use");
        if (required > registry.stakeOf(p.account)) _fail(15, "less is staked than is required");
    }

    /* CLASSES */

    function _i19_holdingsAreBounded(uint256 id) private {
        if (credits.totalSupply(id) > termsOf[id].maxSupply) _fail(19, "more exists than may");
        uint256 cap = termsOf[id].maxPerHolder;
        if (cap == 0) return;
        for (uint256 i; i < holders.length; ++i) {
            uint256 owned = credits.balanceOf(holders[i], id) + credits.depositedOf(holders[i], id);
            if (owned > cap) _fail(19, "somebody holds more than a holder may");
        }
    }

    function _i21_pausesEnd(uint256 id) private {
        uint256 until = credits.pausedUntil(id);
        if (until != ghosts[id].pausedUntil) _fail(21, "a pause changed by itself");
        if (until > _now() + 14 days) _fail(21, "a pause is too long");
    }
}
