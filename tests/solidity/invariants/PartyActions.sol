// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {Status, Usage} from "contracts/interfaces/Types.sol";
import {JobActions} from "./JobActions.sol";

/// @dev Providers, watchers, the clock, and those who try what nobody may do.
abstract contract PartyActions is JobActions {
    address[] private _proposed;
    uint256 private _dueAt;

    /* THE CLOCK */

    /// @dev Mostly hours; one time in ten months, so that classes expire and are swept.
    function wait(uint256 seconds_, uint256 chance) external action {
        skip(chance % 10 == 0 ? bound(seconds_, 1 days, 120 days) : bound(seconds_, 1, 3 hours));
        vm.roll(block.number + 1);
    }

    /* PROVIDERS */

    function stake(uint256 who, uint256 amount) external action {
        address account = providers[who % 2].account;
        amount = bound(amount, 1, MOST);
        usd.mint(account, amount);
        vm.startPrank(account);
        usd.approve(address(registry), amount);
        registry.stake(amount);
        vm.stopPrank();
    }

    function unstake(uint256 who, uint256 amount) external action {
        address account = providers[who % 2].account;
        uint256 staked = registry.stakeOf(account);
        vm.assume(staked != 0);
        vm.prank(account);
        registry.unstake(bound(amount, 1, staked));
    }

    function withdrawStake(uint256 who) external action {
        address account = providers[who % 2].account;
        (uint256 unbonding, uint256 availableAt) = registry.unbondingOf(account);
        vm.assume(unbonding != 0 && _now() >= availableAt);
        uint256 before = usd.balanceOf(account);
        vm.prank(account);
        registry.withdrawStake(account);
        _check(usd.balanceOf(account) - before == unbonding, "11: unbonding stake was not paid in full");
    }

    function rotateOracle(uint256 who) external action {
        Provider storage p = providers[who % 2];
        p.inUse = 1 - p.inUse;
        vm.prank(p.account);
        registry.update(p.keys[p.inUse].addr, REGION, "");
    }

    /* WATCHERS */

    /// @dev Between all three watchers and the two that always stay.
    function proposeWatchers(uint256 count) external action {
        vm.assume(_proposed.length == 0);
        for (uint256 i; i < 2 + count % 2; ++i) {
            _proposed.push(watchers[i].addr);
        }
        vm.prank(admin.addr);
        verifier.proposeSet(watcherSet, _proposed, THRESHOLD);
        _dueAt = _now() + ACTIVATION_DELAY;
    }

    function activateWatchers() external action {
        vm.assume(_proposed.length != 0 && _now() >= _dueAt);
        vm.prank(anyone);
        verifier.activateSet(watcherSet, _proposed, THRESHOLD);
        _check(verifier.isWatcher(watcherSet, watchers[2].addr) == (_proposed.length == 3), "an old watcher stayed");
        delete _proposed;
    }

    /* WHAT MUST FAIL */

    /// @dev Nobody, whatever their role, reaches what is not theirs.
    function attack(uint256 who, uint256 what, uint256 class_, uint256 seed) external action {
        address[6] memory callers =
            [anyone, admin.addr, issuer.addr, providers[0].account, watchers[0].addr, address(gremlin)];
        address caller = callers[who % callers.length];
        (address target, bytes memory call) = _theft(caller, what % 10, _class(class_), _buyer(seed).addr);
        vm.prank(caller);
        (bool ok,) = target.call(call);
        _check(!ok, "7: somebody reached what is not theirs");
    }

    function _theft(address caller, uint256 what, uint256 id, address victim)
        private
        view
        returns (address, bytes memory)
    {
        address token = address(usd);
        if (what == 0) return (address(credits), abi.encodeCall(IComputeCredits.mint, (caller, id, 1)));
        if (what == 1) return (address(credits), abi.encodeCall(IComputeCredits.burn, (victim, id, 0)));
        if (what == 2) return (address(credits), abi.encodeCall(IComputeCredits.lock, (victim, id, 0)));
        if (what == 3) return (address(credits), abi.encodeCall(IComputeCredits.settle, (id, new Usage[](0))));
        if (what == 4) return (address(reserve), abi.encodeCall(ICreditReserve.proposeFee, (MAX_FEE_BPS + 1)));
        if (what == 5) return (address(reserve), abi.encodeCall(ICreditReserve.payOut, (id, caller, 1, 1)));
        if (what == 6) {
            return (address(credits), abi.encodeCall(credits.safeTransferFrom, (victim, caller, id, 0, "")));
        }
        if (what == 7) {
            uint256 more = reserve.earningsOf(caller, token) + 1;
            return (address(reserve), abi.encodeCall(ICreditReserve.withdraw, (token, more, caller)));
        }
        if (what == 8) {
            uint256 more = reserve.feesOf(token) + 1;
            return (address(reserve), abi.encodeCall(ICreditReserve.collectFees, (token, more, caller)));
        }
        return (address(registry), abi.encodeCall(IProviderRegistry.unstake, (registry.stakeOf(caller) + 1)));
    }

    /// @dev Deadlines protect: nothing ends before its time, and a payer can't leave work that runs.
    function endTooEarly(uint256 seed, uint256 what) external action {
        what %= 4;
        Status status = what == 0 ? Status.Open : what == 1 ? Status.Submitted : Status.Running;
        Tracked storage t = _job(seed, status);
        if (what == 0) vm.assume(_now() <= t.terms.acceptBy);
        if (what == 1) vm.assume(_now() < market.submissions(t.id).finalizeAt);
        if (what == 2) vm.assume(_now() <= t.terms.submitBy);
        bytes memory call = abi.encodeCall(IJobMarket.expire, (t.terms));
        if (what == 1) call = abi.encodeCall(IJobMarket.finalize, (t.terms));
        if (what == 3) call = abi.encodeCall(IJobMarket.cancel, (t.terms));
        vm.prank(t.terms.payer);
        (bool ok,) = address(market).call(call);
        _check(!ok, "6: a job was ended before its deadline");
    }
}

