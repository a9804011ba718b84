// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {Base} from "./Base.t.sol";
import {DishonestToken} from "./support/DishonestToken.sol";

/// @dev stake, unstake and withdrawStake.
contract ProviderRegistryStakeTest is Base {
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
    }

    function testFuzz_RevertWhen_TokenDeliversLess(uint128 amount, uint256 kept) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        kept = bound(kept, 1, amount);
        (IProviderRegistry shady, DishonestToken token) = _shadyRegistry(amount);
        token.keep(kept);
        _expect(IProviderRegistry.ProviderRegistry_WrongPayment.selector, provider.addr, uint256(amount) - kept, amount);
        vm.prank(provider.addr);
        shady.stake(amount);
    }

    function testFuzz_RevertWhen_StakeDoesNotFit(uint128 first, uint128 more) public {
        first = uint128(bound(first, 1, type(uint128).max));
        more = uint128(bound(more, uint256(type(uint128).max) - first + 1, type(uint128).max));
        _stake(first);
        uint256 wanted = uint256(first) + more;
        _give(more);
        _expect(IProviderRegistry.ProviderRegistry_WrongPayment.selector, provider.addr, wanted, type(uint128).max);
        vm.prank(provider.addr);
        registry.stake(more);
    }

    function testFuzz_RevertWhen_UnstakingMoreThanStaked(uint128 staked, uint256 amount) public {
        staked = uint128(bound(staked, 1, type(uint128).max));
        amount = bound(amount, uint256(staked) + 1, type(uint256).max);
        _stake(staked);
        _expect(IProviderRegistry.ProviderRegistry_InsufficientStake.selector, provider.addr, amount, staked);
        vm.prank(provider.addr);
        registry.unstake(amount);
    }

    function testFuzz_RevertWhen_UnstakingAnothersStake(address caller, uint128 amount) public {
        vm.assume(caller != provider.addr);
        amount = uint128(bound(amount, 1, type(uint128).max));
        _stake(amount);
        _expect(IProviderRegistry.ProviderRegistry_InsufficientStake.selector, caller, amount, 0);
        vm.prank(caller);
        registry.unstake(amount);
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
    function testFuzz_RevertWhen_DelayRestarted(uint128 first, uint128 second, uint256 later) public {
        first = uint128(bound(first, 1, type(uint128).max - 1));
        second = uint128(bound(second, 1, type(uint128).max - first));
        later = bound(later, 1, UNBONDING_DELAY);
        _stake(first + second);
        _unstake(first);
        vm.warp(START + later);
        _unstake(second);
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

    function testFuzz_Stake(uint128 first, uint128 second) public {
        first = uint128(bound(first, 1, type(uint128).max - 1));
        second = uint128(bound(second, 1, type(uint128).max - first));
        _stake(first);
        _give(second);
        uint256 total = uint256(first) + second;
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Staked(provider.addr, second, total);
        vm.prank(provider.addr);
        registry.stake(second);
        assertEq(registry.stakeOf(provider.addr), total, "stake");
        assertEq(usd.balanceOf(address(registry)), total, "registry's tokens");
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

    function testFuzz_WithdrawStake(uint128 staked, uint128 amount, uint256 late, address to) public {
        _assumeStranger(to);
        vm.assume(to != address(registry));
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
        (uint256 unbonding,) = registry.unbondingOf(provider.addr);
        assertEq(unbonding, 0, "unbonding");
        assertEq(registry.stakeOf(provider.addr), staked - amount, "stake");
        assertEq(usd.balanceOf(to), amount, "received");
        _expect(IProviderRegistry.ProviderRegistry_ZeroAmount.selector, provider.addr, 0, 1);
        vm.prank(provider.addr);
        registry.withdrawStake(to);
    }

    /* HELPERS */

    function _give(uint256 amount) private {
        // Supply of a token fits 256 bits, not 128: tests mint beyond what can be staked.
        usd.mint(provider.addr, amount);
        vm.prank(provider.addr);
        usd.approve(address(registry), amount);
    }

    function _stake(uint256 amount) private {
        _give(amount);
        vm.prank(provider.addr);
        registry.stake(amount);
    }

    function _unstake(uint256 amount) private {
        vm.prank(provider.addr);
        registry.unstake(amount);
    }

    /// @dev A registry whose stake token is dishonest, with the provider registered and holding `amount` of it.
    function _shadyRegistry(uint256 amount) private returns (IProviderRegistry shady, DishonestToken token) {
        token = new DishonestToken();
        shady = IProviderRegistry(
            deployCode("ProviderRegistry.sol:ProviderRegistry", abi.encode(address(token), UNBONDING_DELAY))
        );
        token.mint(provider.addr, amount);
        vm.startPrank(provider.addr);
        shady.register(oracle.addr, REGION, "", new bytes32[](0));
        IERC20(address(token)).approve(address(shady), amount);
        vm.stopPrank();
    }
}
