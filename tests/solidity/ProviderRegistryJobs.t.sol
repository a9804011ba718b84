// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {stdError} from "forge-std/StdError.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {RegistryBase} from "./support/RegistryBase.sol";

/// @dev What the market does with stake and bonds: reserveStake, freeStake, slash, takeBond, releaseBond; and awards.
contract ProviderRegistryJobsTest is RegistryBase {
    /* REVERTS */

    function testFuzz_RevertWhen_NotMarket(address caller, uint256 amount) public {
        vm.assume(caller != market && caller != sessions);
        bytes4 reason = IProviderRegistry.ProviderRegistry_NotAuthorised.selector;
        vm.startPrank(caller);
        _expect(reason, provider.addr, caller, market);
        registry.reserveStake(provider.addr, amount);
        _expect(reason, provider.addr, caller, market);
        registry.freeStake(provider.addr, amount);
        _expect(reason, provider.addr, caller, market);
        registry.slash(JOB, provider.addr, amount, payer, challenger);
        _expect(reason, address(0), caller, market);
        registry.takeBond(JOB, challenger);
        _expect(reason, address(0), caller, market);
        registry.releaseBond(JOB, challenger);
    }

    function testFuzz_RevertWhen_ReservingMoreThanStaked(uint256 staked, uint256 reserved, uint256 amount) public {
        staked = bound(staked, 0, MAX_STAKE);
        reserved = bound(reserved, 0, staked);
        amount = bound(amount, staked - reserved + 1, type(uint256).max - reserved);
        if (staked != 0) _stake(staked);
        _reserve(reserved);
        _expect(IProviderRegistry.ProviderRegistry_StakeExceeded.selector, provider.addr, reserved + amount, staked);
        _reserve(amount);
    }

    /// @dev Stake that is unbonding doesn't stand behind new jobs.
    function testFuzz_RevertWhen_ReservingWhatIsUnbonding(uint256 staked, uint256 unbonding, uint256 amount) public {
        staked = bound(staked, 1, MAX_STAKE);
        unbonding = bound(unbonding, 1, staked);
        amount = bound(amount, staked - unbonding + 1, staked);
        _stake(staked);
        _unstake(unbonding);
        bytes4 reason = IProviderRegistry.ProviderRegistry_StakeExceeded.selector;
        _expect(reason, provider.addr, amount, staked - unbonding);
        _reserve(amount);
    }

    function testFuzz_RevertWhen_FreeingMoreThanReserved(uint256 reserved, uint256 amount) public {
        reserved = bound(reserved, 0, MAX_STAKE);
        amount = bound(amount, reserved + 1, type(uint256).max);
        _stake(MAX_STAKE);
        _reserve(reserved);
        vm.expectRevert(stdError.arithmeticError);
        _free(amount);
    }

    function testFuzz_RevertWhen_BondNotApproved(uint256 approved) public {
        approved = bound(approved, 0, CHALLENGE_BOND - 1);
        usd.mint(challenger, CHALLENGE_BOND);
        vm.prank(challenger);
        usd.approve(address(registry), approved);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(registry), approved, CHALLENGE_BOND
            )
        );
        vm.prank(market);
        registry.takeBond(JOB, challenger);
    }

    /* RESERVE AND FREE */

    function testFuzz_ReserveAndFree(uint256 staked, uint256 first, uint256 more, uint256 freed) public {
        staked = bound(staked, 1, MAX_STAKE);
        first = bound(first, 0, staked);
        more = bound(more, 0, staked - first);
        freed = bound(freed, 0, first + more);
        _stake(staked);
        _reserve(first);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.StakeReserved(provider.addr, more, first + more);
        _reserve(more);
        assertEq(registry.reservedOf(provider.addr), first + more, "reserved");
        assertEq(registry.requiredStakeOf(provider.addr), first + more, "required");
        vm.expectEmit(address(registry));
        emit IProviderRegistry.StakeFreed(provider.addr, freed, first + more - freed);
        _free(freed);
        assertEq(registry.reservedOf(provider.addr), first + more - freed, "reserved after");
        assertEq(registry.reservedOf(second.addr), 0, "another provider");
        assertEq(registry.stakeOf(provider.addr), staked, "stake stays");
    }

    /// @dev The sessions slash, and that is all.
    function testFuzz_RevertWhen_SessionsMoveJobsStake(uint256 amount) public {
        bytes4 reason = IProviderRegistry.ProviderRegistry_NotAuthorised.selector;
        vm.startPrank(sessions);
        _expect(reason, provider.addr, sessions, market);
        registry.reserveStake(provider.addr, amount);
        _expect(reason, provider.addr, sessions, market);
        registry.freeStake(provider.addr, amount);
        _expect(reason, address(0), sessions, market);
        registry.takeBond(JOB, challenger);
        _expect(reason, address(0), sessions, market);
        registry.releaseBond(JOB, challenger);
    }

    /* SLASH */

    /// @dev The sessions reach what stands behind nothing: staked and not required, then unbonding.
    function testFuzz_Slash_BySessions(uint256 staked, uint256 unbonding, uint256 reserved, uint256 amount) public {
        staked = bound(staked, 1, MAX_STAKE);
        unbonding = bound(unbonding, 0, staked);
        reserved = bound(reserved, 0, staked - unbonding);
        amount = bound(amount, 0, 2 * MAX_STAKE);
        _stake(staked);
        if (unbonding != 0) _unstake(unbonding);
        _reserve(reserved);
        uint256 free = staked - reserved;
        assertEq(registry.freeStakeOf(provider.addr), free, "free");
        uint256 taken = amount < free ? amount : free;
        uint256 fromStaked = taken < free - unbonding ? taken : free - unbonding;
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Slashed(JOB, provider.addr, taken, taken / 2, taken - taken / 2);
        vm.prank(sessions);
        assertEq(registry.slash(JOB, provider.addr, amount, payer, challenger), taken, "taken");
        assertEq(registry.stakeOf(provider.addr), staked - unbonding - fromStaked, "stake left");
        assertEq(_unbonding(provider.addr), unbonding - (taken - fromStaked), "unbonding left");
        assertEq(registry.freeStakeOf(provider.addr), free - taken, "free left");
        assertEq(registry.awardOf(payer) + registry.awardOf(challenger), taken, "awarded");
        _assertSolvent();
    }

    /// @dev Nor what backs credits.
    function testFuzz_Slash_BySessions_LeavesWhatBacksCredits(uint256 supply, uint256 amount) public {
        supply = bound(supply, 0, 1e18);
        amount = bound(amount, 0, 4e18);
        _stake(3e18);
        _newClass(_stakeTerms(), supply);
        uint256 required = registry.requiredStakeOf(provider.addr);
        assertEq(registry.freeStakeOf(provider.addr), 3e18 - required, "free");
        vm.prank(sessions);
        registry.slash(JOB, provider.addr, amount, payer, challenger);
        assertGe(registry.stakeOf(provider.addr), required, "what backs credits");
        _assertSolvent();
    }

    /// @dev Takes what there is, staked first, and gives away exactly that: half rounded down to the payer.
    function testFuzz_Slash(uint256 staked, uint256 unbonding, uint256 amount) public {
        staked = bound(staked, 1, MAX_STAKE);
        unbonding = bound(unbonding, 0, staked);
        amount = bound(amount, 0, 2 * MAX_STAKE);
        _stake(staked);
        _stake(second.addr, 1_000);
        if (unbonding != 0) _unstake(unbonding);
        uint256 taken = amount < staked ? amount : staked;
        uint256 fromUnbonding = taken > staked - unbonding ? taken - (staked - unbonding) : 0;
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Slashed(JOB, provider.addr, taken, taken / 2, taken - taken / 2);
        assertEq(_slash(amount), taken, "taken");
        assertEq(registry.awardOf(payer), taken / 2, "payer's award");
        assertEq(registry.awardOf(challenger), taken - taken / 2, "challenger's award");
        assertEq(registry.stakeOf(provider.addr), staked - unbonding - (taken - fromUnbonding), "stake left");
        assertEq(_unbonding(provider.addr), unbonding - fromUnbonding, "unbonding left");
        assertEq(registry.stakeOf(second.addr), 1_000, "another provider's stake");
        _assertSolvent();
    }

    function test_Slash_OneUnitGoesToTheChallenger() public {
        _stake(1);
        _slash(1);
        assertEq(registry.awardOf(payer), 0, "payer's award");
        assertEq(registry.awardOf(challenger), 1, "challenger's award");
    }

    function testFuzz_Slash_PayerChallenged(uint256 staked) public {
        staked = bound(staked, 1, MAX_STAKE);
        _stake(staked);
        vm.prank(market);
        registry.slash(JOB, provider.addr, staked, payer, payer);
        assertEq(registry.awardOf(payer), staked, "both parts");
        _assertSolvent();
    }

    /// @dev Unstaking in sight of a verdict doesn't save stake; what is left can be withdrawn as before.
    function testFuzz_Slash_WhileUnbonding(uint256 staked, uint256 amount, uint256 later) public {
        staked = bound(staked, 2, MAX_STAKE);
        amount = bound(amount, 1, staked - 1);
        _stake(staked);
        _unstake(staked);
        vm.warp(START + bound(later, 0, 365 days));
        assertEq(_slash(amount), amount, "taken");
        (uint256 unbonding, uint256 availableAt) = registry.unbondingOf(provider.addr);
        assertEq(unbonding, staked - amount, "unbonding left");
        assertEq(availableAt, START + UNBONDING_DELAY, "delay unchanged");
        vm.warp(START + 365 days);
        vm.prank(provider.addr);
        assertEq(registry.withdrawStake(anyone), staked - amount, "withdrawn");
        _assertSolvent();
    }

    /// @dev Slashing below what is reserved: jobs can still end, nothing more is promised until stake covers it again.
    function testFuzz_Slash_BelowReserved(uint256 staked, uint256 reserved, uint256 amount) public {
        staked = bound(staked, 2, MAX_STAKE);
        reserved = bound(reserved, 2, staked);
        amount = bound(amount, staked - reserved + 1, staked - 1);
        _stake(staked);
        _reserve(reserved);
        _slash(amount);
        uint256 left = staked - amount;
        bytes4 reason = IProviderRegistry.ProviderRegistry_StakeExceeded.selector;
        _expect(reason, provider.addr, reserved + 1, left);
        _reserve(1);
        _expect(reason, provider.addr, reserved + 1, left);
        _unstake(1);
        _free(reserved - left);
        assertEq(registry.reservedOf(provider.addr), left, "still reserved");
        _expect(reason, provider.addr, left + 1, left);
        _unstake(1);
        _free(1);
        _unstake(1);
        _free(left - 1);
        if (left > 1) _reserve(left - 1);
        _assertSolvent();
    }

    function testFuzz_Slash_ThenStakeAgain(uint256 staked, uint256 amount, uint256 again) public {
        staked = bound(staked, 1, MAX_STAKE);
        again = bound(again, 1, MAX_STAKE);
        _stake(staked);
        _reserve(staked);
        amount = _slash(bound(amount, 1, staked));
        _stake(again);
        assertEq(registry.stakeOf(provider.addr), staked - amount + again, "stake");
        _free(staked);
        _reserve(staked - amount + again);
        _assertSolvent();
    }

    /// @dev Verdicts one after the other never take more than there is.
    function testFuzz_Slash_Repeatedly(uint256 staked, uint256[6] memory amounts, uint256 unbonding) public {
        staked = bound(staked, 1, MAX_STAKE);
        unbonding = bound(unbonding, 0, staked);
        _stake(staked);
        if (unbonding != 0) _unstake(unbonding);
        uint256 left = staked;
        for (uint256 i; i < amounts.length; ++i) {
            uint256 amount = bound(amounts[i], 0, staked / 2 + 1);
            uint256 taken = amount < left ? amount : left;
            assertEq(_slash(amount), taken, "taken");
            left -= taken;
            assertEq(registry.stakeOf(provider.addr) + _unbonding(provider.addr), left, "left");
        }
        assertEq(registry.awardOf(payer) + registry.awardOf(challenger), staked - left, "awarded");
        _assertSolvent();
    }

    /* BONDS */

    function test_Bond_TakenAndReleased() public {
        _give(challenger, CHALLENGE_BOND + 1);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.BondTaken(JOB, challenger, CHALLENGE_BOND);
        vm.prank(market);
        assertEq(registry.takeBond(JOB, challenger), CHALLENGE_BOND, "taken");
        assertEq(registry.bondOf(JOB), CHALLENGE_BOND, "bond");
        assertEq(usd.balanceOf(challenger), 1, "challenger's tokens");
        assertEq(registry.awardOf(challenger), 0, "no award yet");
        _assertSolvent();
        vm.expectEmit(address(registry));
        emit IProviderRegistry.BondReleased(JOB, provider.addr, CHALLENGE_BOND);
        vm.startPrank(market);
        registry.releaseBond(JOB, provider.addr);
        assertEq(registry.bondOf(JOB), 0, "bond after");
        assertEq(registry.awardOf(provider.addr), CHALLENGE_BOND, "award");
        assertEq(registry.stakeOf(provider.addr), 0, "an award is no stake");
        // A second time there is nothing to give.
        registry.releaseBond(JOB, challenger);
        assertEq(registry.awardOf(challenger), 0, "no second award");
        _assertSolvent();
    }

    function testFuzz_Bond_OfEachJob(bytes32 a, bytes32 b) public {
        vm.assume(a != b);
        _give(challenger, 2 * CHALLENGE_BOND);
        vm.startPrank(market);
        registry.takeBond(a, challenger);
        registry.takeBond(b, challenger);
        registry.releaseBond(a, challenger);
        assertEq(registry.bondOf(a), 0, "released");
        assertEq(registry.bondOf(b), CHALLENGE_BOND, "kept");
        assertEq(registry.awardOf(challenger), CHALLENGE_BOND, "award");
    }

    /// @dev A deployment without bonds asks the token for nothing.
    function test_Bond_OfZero() public {
        registry = _newRegistry(anyone, UNBONDING_DELAY, 0);
        vm.startPrank(market);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.BondTaken(JOB, challenger, 0);
        assertEq(registry.takeBond(JOB, challenger), 0, "taken");
        vm.expectEmit(address(registry));
        emit IProviderRegistry.BondReleased(JOB, challenger, 0);
        registry.releaseBond(JOB, challenger);
        assertEq(registry.awardOf(challenger), 0, "award");
    }

    /* AWARDS */

    function testFuzz_WithdrawAward(uint256 staked, address to) public {
        vm.assume(to != address(0) && to != address(registry) && to != challenger);
        staked = bound(staked, 2, MAX_STAKE);
        _stake(staked);
        _slash(staked);
        uint256 due = staked / 2;
        vm.expectEmit(address(registry));
        emit IProviderRegistry.AwardWithdrawn(payer, to, due);
        vm.prank(payer);
        assertEq(registry.withdrawAward(to), due, "paid");
        assertEq(usd.balanceOf(to), due, "received");
        assertEq(registry.awardOf(payer), 0, "award");
        assertEq(registry.awardOf(challenger), staked - due, "another's award");
        _expect(IProviderRegistry.ProviderRegistry_ZeroAmount.selector, payer, 0, 1);
        vm.prank(payer);
        registry.withdrawAward(to);
        _assertSolvent();
    }
}
