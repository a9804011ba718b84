// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Status} from "contracts/interfaces/Types.sol";
import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {Trick} from "../support/ExchangeParties.sol";
import {Checks} from "./Checks.sol";
import {Mood} from "./WildToken.sol";

/// @dev Rule 23: from any state, strangers can end every job and session, and everybody gets out what is theirs, until
/// nothing is left but what was thrown in by hand. No class is unpaused for it.
abstract contract WayOut is Checks {
    function endEverything() external {
        wild.setMood(Mood.Honest, 0, address(0));
        trick.play(Trick.None);
        trickIsPlayed = false;
        _endJobs();
        _endSessions();
        checkAll();
        for (uint256 i; i < classes.length; ++i) {
            _windDown(classes[i]);
        }
        for (uint256 i; i < tokens.length; ++i) {
            _empty(tokens[i]);
        }
        _leaveRegistry();
        checkAll();
    }

    /// @dev Deadlines of jobs are at most a day away, windows and disputes at most eight.
    function _endJobs() private {
        skip(9 days);
        while (live.length != 0) {
            Status status = live[0].status;
            bool ok = status == Status.Submitted || status == Status.Disputed ? _finalizeJob(0) : _expireJob(0);
            if (!ok) return _fail(23, "a job can't be ended");
        }
    }

    /// @dev Half of them were never asked to end: after their expiry, anybody may.
    function _endSessions() private {
        skip(30 days);
        for (uint256 i; i < openSessions.length; ++i) {
            if (openSessions[i].closeAt != 0) continue;
            bytes memory call = abi.encodeCall(IMeteredSessions.requestClose, (openSessions[i].terms));
            if (_must(anyone, address(sessions), call, 23)) openSessions[i].closeAt = _now() + CLOSE_DELAY;
        }
        skip(CLOSE_DELAY);
        while (openSessions.length != 0) {
            if (!_closeSession(0, anyone, 0)) return _fail(23, "a session can't be closed");
        }
    }

    function _windDown(uint256 id) private {
        if (!_isWoundDown(id)) _closeClass(id);
        for (uint256 i; i < holders.length; ++i) {
            uint256 units = credits.balanceOf(holders[i], id);
            if (units != 0 && !_reclaimUnits(holders[i], id, units)) return _fail(23, "credits can't be reclaimed");
        }
        _check(credits.totalSupply(id) == 0, 23, "credits are stuck");
        _check(reserve.backingOf(id) == 0, 23, "backing is stuck");
    }

    function _empty(IDemoUSD token) private {
        for (uint256 i; i < holders.length; ++i) {
            uint256 earned = reserve.earningsOf(holders[i], address(token));
            if (earned != 0) _withdrawEarnings(holders[i], token, earned);
        }
        uint256 fees = reserve.feesOf(address(token));
        if (fees != 0) _collect(token, fees);
        bool empty = token.balanceOf(address(reserve)) == donated[token][address(reserve)];
        _check(empty, 23, "money is stuck in the reserve");
    }

    function _leaveRegistry() private {
        for (uint256 i; i < providers.length; ++i) {
            if (providers[i].staked != 0) _takeStake(providers[i], providers[i].staked, 0);
        }
        skip(UNBONDING_DELAY);
        for (uint256 i; i < providers.length; ++i) {
            if (providers[i].unbonding != 0) _withdrawUnbonded(providers[i], 0);
        }
        for (uint256 i; i < holders.length; ++i) {
            if (awards[holders[i]] != 0) _withdrawAwarded(holders[i]);
        }
        if (awards[anyone] != 0) _withdrawAwarded(anyone);
        bool empty = usd.balanceOf(address(registry)) == donated[usd][address(registry)];
        _check(empty, 23, "money is stuck in the registry");
    }
}
