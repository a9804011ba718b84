// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {RegistryBase} from "./support/RegistryBase.sol";

/// @dev stake, unstake and withdrawStake.
contract ProviderRegistryStakeTest is RegistryBase {
    uint256 private constant MAX_DELAY = 90 days;

    /* CONSTRUCTION */

    function testFuzz_RevertWhen_UnbondingDelayTooLong(uint256 delay) public {
        delay = bound(delay, MAX_DELAY + 1, type(uint256).max);
        bytes memory args = abi.encode(_system(), usd, delay, CHALLENGE_BOND);
        bytes memory code = bytes.concat(vm.getCode("ProviderRegistry.sol:ProviderRegistry"), args);
        _expect(IProviderRegistry.ProviderRegistry_DelayTooLong.selector, address(0), delay, MAX_DELAY);
        _create(code);
    }

    function test_Construction_AtTheLongestDelay() public {
        registry = _newRegistry(address(usd), MAX_DELAY, CHALLENGE_BOND);
        _register(provider.addr);
        _stake(1);
        _unstake(1);
        (, uint256 availableAt) = registry.unbondingOf(provider.addr);
        assertEq(availableAt, START + MAX_DELAY, "available at");
    }

    /* REVERTS */

    function test_RevertWhen_AmountZero() public {
        bytes4 reason = IProviderRegistry.ProviderRegistry_ZeroAmount.selector;
        vm.startPrank(provider.addr);
        _expect(reason, provider.addr, 0, 1);
        registry.stake(0);
        _expect(reason, provider.addr, 0, 1);
        registry.unstake(0);
        _expect(reason, provider.addr, 0, 1);
        registry.withdrawStake(provider.addr);
        _expect(reason, provider.addr, 0, 1);
        registry.withdrawAward(provider.addr);
    }

    function testFuzz_RevertWhen_StakeDoesNotFit(uint128 first, uint128 unbonding, uint128 more) public {
        first = uint128(bound(first, 1, type(uint128).max));
        unbonding = uint128(bound(unbonding, 0, first));
        more = uint128(bound(more, uint256(type(uint128).max) - first + 1, type(uint128).max));
        _stake(first);
        if (unbonding != 0) _unstake(unbonding);
        uint256 wanted = uint256(first) + more;
        _give(provider.addr, more);
        _expect(IProviderRegistry.ProviderRegistry_WrongPayment.selector, provider.addr, wanted, type(uint128).max);
        vm.prank(provider.addr);
        registry.stake(more);
    }

    function testFuzz_RevertWhen_UnstakingMoreThanStaked(uint128 staked, uint256 amount) public {
        staked = uint128(bound(staked, 1, type(uint128).max));
        amount = bound(amount, uint256(staked) + 1, type(uint256).max);
        _stake(staked);
        _expect(IProviderRegistry.ProviderRegistry_InsufficientStake.selector, provider.addr, amount, staked);
        _unstake(amount);
    }

    function testFuzz_RevertWhen_UnstakingAnothersStake(address caller, uint128 amount) public {
        vm.assume(caller != provider.addr);
        amount = uint128(bound(amount, 1, type(uint128).max));
        _stake(amount);
        _expect(IProviderRegistry.ProviderRegistry_InsufficientStake.selector, caller, amount, 0);
        vm.prank(caller);
        registry.unstake(amount);
    }

    function testFuzz_RevertWhen_UnstakingWhatIsReserved(uint256 staked, uint256 reserved, uint256 amount) public {
        staked = bound(staked, 1, MAX_STAKE);
        reserved = bound(reserved, 1, staked);
        amount = bound(amount, staked - reserved + 1, staked);
        _stake(staked);
        _reserve(reserved);
        bytes4 reason = IProviderRegistry.ProviderRegistry_StakeExceeded.selector;
        _expect(reason, provider.addr, reserved + amount, staked);
        _unstake(amount);
    }

    function testFuzz_RevertWhen_StillBonded(uint128 amount, uint256 early) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        _stake(amount);
        _unstake(amount);
        uint256 availableAt = START + UNBONDING_DELAY;
        early = bound(early, START, availableAt - 1);
        vm.warp(early);
        _expect(IProviderRegistry.ProviderRegistry_StillBonded.selector, provider.addr, early, availableAt);
        vm.prank(provider.addr);
        registry.withdrawStake(provider.addr);
    }

    /// @dev Asking again restarts the delay of all that is unbonding.
    function testFuzz_RevertWhen_DelayRestarted(uint128 first, uint128 more, uint256 later) public {
        first = uint128(bound(first, 1, type(uint128).max - 1));
        more = uint128(bound(more, 1, type(uint128).max - first));
        later = bound(later, 1, UNBONDING_DELAY);
        _stake(first + more);
        _unstake(first);
        vm.warp(START + later);
        _unstake(more);
        vm.warp(START + UNBONDING_DELAY);
        _expect(
            IProviderRegistry.ProviderRegistry_StillBonded.selector,
            provider.addr,
            START + UNBONDING_DELAY,
            START + later + UNBONDING_DELAY
        );
        vm.prank(provider.addr);
        registry.withdrawStake(provider.addr);
    }

    /* SUCCESS */

    function testFuzz_Stake(uint128 first, uint128 more) public {
        first = uint128(bound(first, 1, type(uint128).max - 1));
        more = uint128(bound(more, 1, type(uint128).max - first));
        _stake(first);
        _give(provider.addr, more);
        uint256 total = uint256(first) + more;
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Staked(provider.addr, more, total);
        vm.prank(provider.addr);
        registry.stake(more);
        assertEq(registry.stakeOf(provider.addr), total, "stake");
        assertEq(registry.stakeOf(second.addr), 0, "another provider's stake");
        assertEq(usd.balanceOf(address(registry)), total, "registry's tokens");
        assertEq(registry.requiredStakeOf(provider.addr), 0, "nothing stands on it");
    }

    /// @dev Stake that others sent along is nobody's.
    function testFuzz_Stake_IgnoresDonations(uint128 donation, uint128 amount) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        usd.mint(address(registry), donation);
        _stake(amount);
        assertEq(registry.stakeOf(provider.addr), amount, "stake");
    }

    function testFuzz_Unstake(uint128 staked, uint128 amount) public {
        staked = uint128(bound(staked, 1, type(uint128).max));
        amount = uint128(bound(amount, 1, staked));
        _stake(staked);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Unstaked(provider.addr, amount, START + UNBONDING_DELAY);
        _unstake(amount);
        assertEq(registry.stakeOf(provider.addr), staked - amount, "stake");
        (uint256 unbonding, uint256 availableAt) = registry.unbondingOf(provider.addr);
        assertEq(unbonding, amount, "unbonding");
        assertEq(availableAt, START + UNBONDING_DELAY, "available at");
        assertEq(usd.balanceOf(address(registry)), staked, "no token moved");
    }

    function testFuzz_Unstake_Again(uint128 first, uint128 more, uint256 later) public {
        first = uint128(bound(first, 1, type(uint128).max - 1));
        more = uint128(bound(more, 1, type(uint128).max - first));
        later = START + bound(later, 0, 365 days);
        _stake(uint256(first) + more);
        _unstake(first);
        vm.warp(later);
        _unstake(more);
        (uint256 unbonding, uint256 availableAt) = registry.unbondingOf(provider.addr);
        assertEq(unbonding, uint256(first) + more, "both amounts");
        assertEq(availableAt, later + UNBONDING_DELAY, "from the last");
        assertEq(registry.stakeOf(provider.addr), 0, "stake");
    }

    /// @dev What isn't reserved can go, to the last unit; another provider's jobs are nothing to it.
    function testFuzz_Unstake_AllButWhatIsReserved(uint256 staked, uint256 reserved, uint256 others) public {
        staked = bound(staked, 2, MAX_STAKE);
        reserved = bound(reserved, 1, staked - 1);
        others = bound(others, 1, MAX_STAKE);
        _stake(staked);
        _stake(second.addr, others);
        _reserve(reserved);
        vm.prank(market);
        registry.reserveStake(second.addr, others);
        _unstake(staked - reserved);
        assertEq(registry.stakeOf(provider.addr), reserved, "stake");
        assertEq(_unbonding(provider.addr), staked - reserved, "unbonding");
        assertEq(registry.stakeOf(second.addr), others, "another provider's stake");
        _assertSolvent();
    }

    function testFuzz_WithdrawStake(uint128 staked, uint128 amount, uint256 late, address to) public {
        vm.assume(to != address(0) && to != address(registry));
        staked = uint128(bound(staked, 1, type(uint128).max));
        amount = uint128(bound(amount, 1, staked));
        _stake(staked);
        _unstake(amount);
        vm.warp(bound(late, START + UNBONDING_DELAY, type(uint40).max));
        vm.expectEmit(address(registry));
        emit IProviderRegistry.StakeWithdrawn(provider.addr, to, amount);
        vm.expectEmit(address(usd));
        emit IERC20.Transfer(address(registry), to, amount);
        vm.prank(provider.addr);
        assertEq(registry.withdrawStake(to), amount, "paid");
        assertEq(_unbonding(provider.addr), 0, "unbonding");
        assertEq(registry.stakeOf(provider.addr), staked - amount, "stake");
        assertEq(usd.balanceOf(to), amount, "received");
        _expect(IProviderRegistry.ProviderRegistry_ZeroAmount.selector, provider.addr, 0, 1);
        vm.prank(provider.addr);
        registry.withdrawStake(to);
    }

    /// @dev What has unbonded goes out whatever is reserved of the rest.
    function testFuzz_WithdrawStake_WhateverIsReserved(uint256 staked, uint256 unbonding, uint256 slashed) public {
        staked = bound(staked, 2, MAX_STAKE);
        unbonding = bound(unbonding, 1, staked - 1);
        uint256 rest = staked - unbonding;
        _stake(staked);
        _unstake(unbonding);
        _reserve(rest);
        slashed = _slash(bound(slashed, 1, rest));
        vm.warp(START + UNBONDING_DELAY);
        vm.prank(provider.addr);
        assertEq(registry.withdrawStake(provider.addr), unbonding, "paid");
        assertEq(registry.reservedOf(provider.addr), rest, "still reserved");
        assertEq(registry.stakeOf(provider.addr), rest - slashed, "stake");
        _assertSolvent();
    }
}
