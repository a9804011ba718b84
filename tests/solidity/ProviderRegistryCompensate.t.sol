// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {ClassTerms, Funding} from "contracts/interfaces/Types.sol";
import {RegistryBase} from "./support/RegistryBase.sol";

/// @dev compensate: the stake that holders of a stake-funded class get, in full or by the share that is left.
contract ProviderRegistryCompensateTest is RegistryBase {
    /* REVERTS */

    function testFuzz_RevertWhen_NotReserve(address caller, uint256 classId, uint256 units) public {
        vm.assume(caller != reserve);
        _expect(IProviderRegistry.ProviderRegistry_NotAuthorised.selector, provider.addr, caller, reserve);
        vm.prank(caller);
        registry.compensate(classId, provider.addr, holder, units);
    }

    /* IN FULL */

    function testFuzz_Compensate_InFull(uint128 perMillion, uint8 decimals, uint96 supply, uint256 units) public {
        ClassTerms memory terms = _stakeTerms();
        terms.stakePerMillion = perMillion;
        terms.decimals = uint8(bound(decimals, 0, 18));
        uint256 scale = 10 ** (6 + uint256(terms.decimals));
        units = bound(units, 0, supply);
        uint256 classId = _newClass(terms, supply);
        uint256 required = registry.requiredStakeOf(provider.addr);
        vm.assume(required != 0 && required <= MAX_STAKE);
        _stake(required);
        _stake(second.addr, 1_000);
        uint256 due = units * perMillion / scale;
        _burn(classId, units);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Compensated(classId, provider.addr, holder, due);
        assertEq(_compensate(classId, units), due, "amount");
        assertEq(registry.awardOf(holder), due, "award");
        assertEq(registry.stakeOf(provider.addr), required - due, "stake");
        assertEq(registry.stakeOf(second.addr), 1_000, "another provider's stake");
        assertLe(registry.requiredStakeOf(provider.addr), required - due, "the rest is covered");
        _assertSolvent();
    }

    function test_Compensate_RoundsDown() public {
        ClassTerms memory terms = _stakeTerms();
        terms.decimals = 3;
        uint256 classId = _newClass(terms, 2_000);
        _stake(4);
        _burn(classId, 499);
        assertEq(_compensate(classId, 499), 0, "less than one");
        _burn(classId, 999);
        assertEq(_compensate(classId, 999), 1, "less than two");
        _burn(classId, 502);
        assertEq(_compensate(classId, 502), 1, "less than two");
        assertEq(registry.stakeOf(provider.addr), 2, "rounded in the provider's favour");
        assertEq(registry.requiredStakeOf(provider.addr), 0, "nothing left to cover");
    }

    /// @dev Stake that is unbonding pays too, after the rest: none of it was there for jobs.
    function testFuzz_Compensate_FromUnbondingStakeLast(uint256 staked, uint256 unbonding, uint96 supply) public {
        supply = uint96(bound(supply, 1, type(uint88).max));
        staked = bound(staked, 2 * uint256(supply), MAX_STAKE);
        unbonding = bound(unbonding, 0, staked - 2 * uint256(supply));
        _stake(staked);
        uint256 classId = _newClass(_stakeTerms(), supply);
        if (unbonding != 0) _unstake(unbonding);
        _burn(classId, supply);
        assertEq(_compensate(classId, supply), 2 * uint256(supply), "amount");
        assertEq(registry.stakeOf(provider.addr), staked - unbonding - 2 * uint256(supply), "staked first");
        assertEq(_unbonding(provider.addr), unbonding, "unbonding");
    }

    /* NOTHING */

    function testFuzz_Compensate_NothingAfterClaimsEnded(uint96 supply, uint256 late) public {
        supply = uint96(bound(supply, 1, type(uint88).max));
        ClassTerms memory terms = _stakeTerms();
        terms.expiry = uint40(START + 1);
        uint256 classId = _newClass(terms, supply);
        _stake(2 * uint256(supply));
        vm.warp(START + SWEEP_DELAY);
        _burn(classId, 1);
        assertEq(_compensate(classId, 1), 2, "to the last second");
        vm.warp(bound(late, START + 1 + SWEEP_DELAY, type(uint40).max));
        _assertNothing(classId, supply - 1);
    }

    /// @dev A class that names stake for its jobs isn't funded by it.
    function testFuzz_Compensate_NothingForOtherClasses(uint8 funding, uint96 supply) public {
        ClassTerms memory terms = _capacityTerms();
        terms.funding = funding % 2 == 0 ? Funding.Sale : Funding.Grant;
        terms.stakePerMillion = 1_000_000;
        uint256 classId = _newClass(terms, supply);
        _stake(type(uint96).max);
        _assertNothing(classId, supply);
        _assertNothing(classId + 1, supply);
    }

    /* BY SHARE */

    /// @dev Verdicts beyond what was reserved leave too little. What holders get, and what is kept for the rest, is in
    /// proportion, and nobody's share falls because another took its own.
    function testFuzz_Compensate_ByShare(uint96[3] memory units, uint256 slashed, uint256 reserved) public {
        uint256 supply;
        for (uint256 i; i < 3; ++i) {
            units[i] = uint96(bound(units[i], 1, type(uint88).max));
            supply += units[i];
        }
        reserved = bound(reserved, 0, MAX_STAKE / 2);
        uint256 classId = _newClass(_stakeTerms(), supply);
        uint256 required = 2 * supply + reserved;
        _stake(required);
        _reserve(reserved);
        slashed = _slash(bound(slashed, 1, required));
        uint256 left = required - slashed;
        for (uint256 i; i < 3; ++i) {
            _burn(classId, units[i]);
            uint256 amount = _compensate(classId, units[i]);
            // The products fit: amounts are below 2**121.
            uint256 fair = 2 * uint256(units[i]) * (required - slashed) / required;
            assertGe(amount, fair, "at least the share at the start");
            // Rounding leaves something to those who come later, but never more than a claim.
            assertLe(amount, 2 * uint256(units[i]), "never more than the claim");
            left -= amount;
            assertEq(registry.stakeOf(provider.addr), left, "stake left");
        }
        assertLe(registry.awardOf(holder), 2 * supply, "no more than was promised");
        _assertSolvent();
    }

    /// @dev Several classes share what is left by what stands behind each.
    function testFuzz_Compensate_SharedByClasses(uint96 a, uint96 b, uint256 slashed) public {
        a = uint96(bound(a, 1, type(uint88).max));
        b = uint96(bound(b, 1, type(uint88).max));
        uint256 first = _newClass(_stakeTerms(), a);
        uint256 other = _newClass(_stakeTerms(), b);
        uint256 required = 2 * (uint256(a) + b);
        _stake(required);
        slashed = _slash(bound(slashed, 1, required));
        uint256 left = required - slashed;
        uint256 due = 2 * uint256(a) * left / required;
        _burn(first, a);
        assertEq(_compensate(first, a), due, "share of the first");
        _burn(other, b);
        // All that is left is the other's, and no more than its claim.
        assertEq(_compensate(other, b), left - due < 2 * uint256(b) ? left - due : 2 * uint256(b), "the rest");
        _assertSolvent();
    }

    /// @dev Unbonding stake is counted in the share, and pays it when the rest is gone.
    function testFuzz_Compensate_ByShare_WithUnbonding(uint96 supply, uint256 unbonding, uint256 slashed) public {
        supply = uint96(bound(supply, 1, type(uint88).max));
        uint256 required = 2 * uint256(supply);
        unbonding = bound(unbonding, 1, required - 1);
        _stake(required + unbonding);
        uint256 classId = _newClass(_stakeTerms(), supply);
        _unstake(unbonding);
        slashed = _slash(bound(slashed, unbonding + 1, required));
        uint256 left = required + unbonding - slashed;
        _burn(classId, supply);
        assertEq(_compensate(classId, supply), left, "all that is left");
        assertEq(registry.stakeOf(provider.addr) + _unbonding(provider.addr), 0, "nothing left");
        _assertSolvent();
    }

    /// @dev A loss within what was reserved for the job costs holders nothing.
    function testFuzz_Compensate_InFullAfterAVerdict(uint96 supply, uint256 reserved, uint256 slashed) public {
        supply = uint96(bound(supply, 1, type(uint88).max));
        reserved = bound(reserved, 1, MAX_STAKE / 2);
        _stake(2 * uint256(supply) + reserved);
        uint256 classId = _newClass(_stakeTerms(), supply);
        _reserve(reserved);
        _slash(bound(slashed, 1, reserved));
        _free(reserved);
        _burn(classId, supply);
        assertEq(_compensate(classId, supply), 2 * uint256(supply), "in full");
        _assertSolvent();
    }

    /* HELPERS */

    /// @dev As the reserve does before it asks for compensation.
    function _burn(uint256 classId, uint256 units) private {
        credits.setSupply(classId, credits.totalSupply(classId) - units);
    }

    function _compensate(uint256 classId, uint256 units) private returns (uint256) {
        vm.prank(reserve);
        return registry.compensate(classId, provider.addr, holder, units);
    }

    function _assertNothing(uint256 classId, uint256 units) private {
        uint256 staked = registry.stakeOf(provider.addr);
        uint256 award = registry.awardOf(holder);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Compensated(classId, provider.addr, holder, 0);
        assertEq(_compensate(classId, units), 0, "amount");
        assertEq(registry.stakeOf(provider.addr), staked, "stake");
        assertEq(registry.awardOf(holder), award, "award");
    }
}
