// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {ExchangeActions} from "./ExchangeActions.sol";

/// @dev The clock; providers, their stake and what watchers say of them; and the watchers themselves.
abstract contract PartyActions is ExchangeActions {
    bytes12 private constant ELSEWHERE = "us-east-2";
    address[] private _proposedWatchers;
    uint256 private _activeFrom;

    /* THE CLOCK */

    function wait(uint256 seconds_) external action {
        _pass(bound(seconds_, 1, 3 hours));
    }

    /// @dev Days: fees apply, stake unbonds, disputes and sessions end.
    function waitDays(uint256 seconds_) external action {
        _pass(bound(seconds_, 1 days, 8 days));
    }

    /// @dev Months: classes expire and are swept. Seldom, because little lives as long.
    function waitMonths(uint256 seconds_, uint256 chance) external action {
        vm.assume(chance % 2 == 0);
        _pass(bound(seconds_, 20 days, 200 days));
    }

    function _pass(uint256 seconds_) private {
        skip(seconds_);
        vm.roll(block.number + 1);
        _done();
    }

    /* STAKE */

    function stake(uint256 who, uint256 amount) external action {
        Provider storage p = providers[who % 2];
        _addStake(p, bound(amount, 1, MOST));
        _done();
    }

    function _addStake(Provider storage p, uint256 amount) internal {
        usd.mint(p.account, amount);
        bytes memory call = abi.encodeCall(IProviderRegistry.stake, (amount));
        if (_must(p.account, address(registry), call, REASONS)) p.staked += amount;
    }

    /// @dev Rule 15: what stands behind jobs and credits stays.
    function unstake(uint256 who, uint256 amount) external action {
        Provider storage p = providers[who % 2];
        vm.assume(p.staked != 0);
        amount = bound(amount, 1, p.staked);
        uint256 rule = _required(p.account, 0, 0) + amount > p.staked ? 15 : 0;
        if (_takeStake(p, amount, rule)) _done();
    }

    function _takeStake(Provider storage p, uint256 amount, uint256 rule) internal returns (bool ok) {
        (ok,) = _attempt(p.account, address(registry), abi.encodeCall(IProviderRegistry.unstake, (amount)), rule);
        if (!ok) return false;
        p.staked -= amount;
        p.unbonding += amount;
        p.availableAt = _now() + UNBONDING_DELAY;
    }

    function withdrawStake(uint256 who) external action {
        Provider storage p = providers[who % 2];
        vm.assume(p.unbonding != 0);
        if (_withdrawUnbonded(p, _now() < p.availableAt ? 11 : 0)) _done();
    }

    function _withdrawUnbonded(Provider storage p, uint256 rule) internal returns (bool ok) {
        uint256 had = usd.balanceOf(p.account);
        bytes memory call = abi.encodeCall(IProviderRegistry.withdrawStake, (p.account));
        if (rule != 0) return _mustNot(p.account, address(registry), call, rule);
        ok = _must(p.account, address(registry), call, 7);
        if (!ok) return false;
        _check(usd.balanceOf(p.account) - had == p.unbonding, 11, "unbonding stake was not paid in full");
        p.unbonding = 0;
    }

    function withdrawAward(uint256 who) external action {
        for (uint256 i; i <= holders.length; ++i) {
            uint256 index = (who % (holders.length + 1) + i) % (holders.length + 1);
            address account = index == holders.length ? anyone : holders[index];
            if (awards[account] == 0) continue;
            _withdrawAwarded(account);
            _done();
            return;
        }
        vm.assume(false);
    }

    function _withdrawAwarded(address account) internal {
        uint256 had = usd.balanceOf(account);
        bytes memory call = abi.encodeCall(IProviderRegistry.withdrawAward, (account));
        if (!_must(account, address(registry), call, 7)) return;
        _check(usd.balanceOf(account) - had == awards[account], 11, "an award was not paid in full");
        awards[account] = 0;
    }

    /* RECORDS */

    function rotateOracle(uint256 who) external action {
        Provider storage p = providers[who % 2];
        p.inUse = 1 - p.inUse;
        bytes memory call = abi.encodeCall(IProviderRegistry.update, (p.keys[p.inUse].addr, p.region, ""));
        if (_must(p.account, address(registry), call, REASONS)) _done();
    }

    /// @dev A provider that moves serves nothing until it says so again.
    function moveProvider(uint256 who, uint256 chance) external action {
        Provider storage p = providers[who % 2];
        p.region = p.region == REGION ? ELSEWHERE : REGION;
        bytes memory call = abi.encodeCall(IProviderRegistry.update, (p.keys[p.inUse].addr, p.region, ""));
        _must(p.account, address(registry), call, REASONS);
        p.serving = false;
        if (chance % 4 != 0) _serve(p, true);
        _done();
    }

    function changeSkus(uint256 who, uint256 chance) external action {
        _serve(providers[who % 2], chance % 5 != 0);
        _done();
    }

    function _serve(Provider storage p, bool serving) private {
        bytes memory call = abi.encodeCall(IProviderRegistry.setSkus, (_one(SKU), serving));
        _must(p.account, address(registry), call, REASONS);
        p.serving = serving;
    }

    /// @dev Only a newer statement replaces one, and only if a threshold of watchers signed it.
    function attestCapacity(uint256 who, uint256 count, uint256 until, uint256 how) external action {
        Provider storage p = providers[who % 2];
        count = bound(count, 0, 4);
        until = _now() + bound(until, 0, 60 days);
        uint256 when = _now() - bound(how, 0, 2 hours);
        bytes32 digest = registry.capacityDigest(p.account, SKU, watcherSet, uint32(count), uint40(until), uint40(when));
        bytes[] memory signatures = how % 5 == 0 ? _judge(digest, THRESHOLD) : _attest(digest, THRESHOLD).watchers;
        bytes memory call = abi.encodeCall(
            IProviderRegistry.attestCapacity,
            (p.account, SKU, watcherSet, uint32(count), uint40(until), uint40(when), signatures)
        );
        (bool ok,) = _attempt(anyone, address(registry), call, when <= p.observedAt || how % 5 == 0 ? 19 : 0);
        if (!ok) return;
        (p.count, p.until, p.observedAt) = (count, until, when);
        _done();
    }

    /* WATCHERS */

    /// @dev Between all three watchers and the two that always stay.
    function proposeWatchers(uint256 count) external action {
        vm.assume(_proposedWatchers.length == 0);
        for (uint256 i; i < 2 + count % 2; ++i) {
            _proposedWatchers.push(watchers[i].addr);
        }
        vm.prank(admin.addr);
        verifier.proposeSet(watcherSet, _proposedWatchers, THRESHOLD);
        _activeFrom = _now() + ACTIVATION_DELAY;
        _done();
    }

    /// @dev A set in use changes only after its delay; a proposal that nobody put into force lapses.
    function activateWatchers() external action {
        vm.assume(_proposedWatchers.length != 0);
        bytes memory call = abi.encodeCall(verifier.activateSet, (watcherSet, _proposedWatchers, THRESHOLD));
        bool lapsed = _now() > _activeFrom + 30 days;
        (bool ok,) = _attempt(anyone, address(verifier), call, lapsed || _now() < _activeFrom ? 7 : 0);
        if (!ok && !lapsed) return;
        bool third = _proposedWatchers.length == 3;
        if (ok) _check(verifier.isWatcher(watcherSet, watchers[2].addr) == third, 7, "an old watcher stayed");
        delete _proposedWatchers;
        _done();
    }
}
