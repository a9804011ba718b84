// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {ClassTerms, Funding} from "contracts/interfaces/Types.sol";
import {RegistryBase} from "./support/RegistryBase.sol";

/// @dev bindClass, and what stake-funded classes require of a provider's stake.
contract ProviderRegistryIssuanceTest is RegistryBase {
    struct Shape {
        uint8 decimals;
        uint128 stakePerMillion;
        uint8 shift;
    }

    /* REVERTS */

    function testFuzz_RevertWhen_BinderIsNotCredits(address caller, uint256 classId) public {
        vm.assume(caller != address(credits));
        bytes4 reason = IProviderRegistry.ProviderRegistry_NotAuthorised.selector;
        _expect(reason, provider.addr, caller, address(credits));
        vm.prank(caller);
        registry.bindClass(provider.addr, classId);
    }

    /// @dev Classes with units, or that may get some, keep their place: for a provider, not for all of them.
    function test_RevertWhen_TooManyClasses() public {
        for (uint256 i; i < MAX_CLASSES; ++i) {
            uint256 classId = _newClass(i % 2 == 0 ? _stakeTerms() : _capacityTerms(), i / 2);
            if (i >= 2) credits.close(classId);
        }
        bytes4 reason = IProviderRegistry.ProviderRegistry_TooManyClasses.selector;
        ClassTerms memory terms = _stakeTerms();
        _expect(reason, provider.addr, MAX_CLASSES + 1, MAX_CLASSES);
        _newClass(terms);
        assertEq(registry.boundClassesOf(provider.addr).length, MAX_CLASSES, "provider's classes");
        terms.issuer = second.addr;
        _newClass(terms);
        assertEq(registry.boundClassesOf(second.addr).length, 1, "another provider's classes");
    }

    /// @dev The last moment of a claim: a class keeps its place until `SWEEP_DELAY` after expiry.
    function testFuzz_RevertWhen_ClaimsHaveNotEnded(uint256 early) public {
        uint40 expiry = uint40(START + 30 days);
        ClassTerms memory terms = _stakeTerms();
        terms.expiry = expiry;
        for (uint256 i; i < MAX_CLASSES; ++i) {
            _newClass(terms, 1);
        }
        vm.warp(bound(early, START, expiry + SWEEP_DELAY - 1));
        terms.expiry = 0;
        bytes4 reason = IProviderRegistry.ProviderRegistry_TooManyClasses.selector;
        _expect(reason, provider.addr, MAX_CLASSES + 1, MAX_CLASSES);
        _newClass(terms);
        vm.warp(expiry + SWEEP_DELAY);
        _newClass(terms);
    }

    function testFuzz_RevertWhen_IssuedBeyondStake(Shape memory shape, uint96 supply, uint256 staked) public {
        ClassTerms memory terms = _shaped(shape);
        uint256 required = _behind(terms, supply);
        vm.assume(required != 0);
        staked = bound(staked, 0, _min(required, MAX_STAKE + 1) - 1);
        if (staked != 0) _stake(staked);
        uint256 classId = _newClass(terms, supply);
        _expect(IProviderRegistry.ProviderRegistry_StakeExceeded.selector, provider.addr, required, staked);
        registry.checkIssuance(provider.addr, classId);
    }

    /// @dev Unbonding stake stands behind nothing new.
    function testFuzz_RevertWhen_IssuedAgainstUnbondingStake(uint96 supply, uint256 unbonding) public {
        supply = uint96(bound(supply, 1, type(uint88).max));
        uint256 required = _behind(_stakeTerms(), supply);
        unbonding = bound(unbonding, 1, required);
        uint256 classId = _newClass(_stakeTerms());
        _stake(required);
        _unstake(unbonding);
        credits.setSupply(classId, supply);
        bytes4 reason = IProviderRegistry.ProviderRegistry_StakeExceeded.selector;
        _expect(reason, provider.addr, required, required - unbonding);
        registry.checkIssuance(provider.addr, classId);
    }

    function testFuzz_RevertWhen_IssuedAgainstReservedStake(uint256 reserved, uint96 supply) public {
        supply = uint96(bound(supply, 1, type(uint88).max));
        uint256 required = _behind(_stakeTerms(), supply);
        reserved = bound(reserved, 1, required);
        _stake(required);
        _reserve(reserved);
        uint256 classId = _newClass(_stakeTerms(), supply);
        bytes4 reason = IProviderRegistry.ProviderRegistry_StakeExceeded.selector;
        _expect(reason, provider.addr, reserved + required, required);
        registry.checkIssuance(provider.addr, classId);
    }

    /// @dev Credits in existence hold the stake behind them: it can neither go nor stand behind jobs.
    function testFuzz_RevertWhen_StakeBehindCreditsIsAskedFor(uint96 supply, uint256 spare, uint256 amount) public {
        supply = uint96(bound(supply, 1, type(uint88).max));
        uint256 required = _behind(_stakeTerms(), supply);
        spare = bound(spare, 0, MAX_STAKE);
        amount = bound(amount, spare + 1, spare + required);
        _stake(required + spare);
        _newClass(_stakeTerms(), supply);
        bytes4 reason = IProviderRegistry.ProviderRegistry_StakeExceeded.selector;
        _expect(reason, provider.addr, required + amount, required + spare);
        _unstake(amount);
        _expect(reason, provider.addr, required + amount, required + spare);
        _reserve(amount);
        if (spare == 0) return;
        _unstake(spare);
        assertEq(registry.stakeOf(provider.addr), required, "the rest may go");
    }

    /* SUCCESS */

    function testFuzz_BindClass(uint8 count) public {
        count = uint8(bound(count, 1, MAX_CLASSES));
        for (uint256 i; i < count; ++i) {
            vm.expectEmit(address(registry));
            emit IProviderRegistry.ClassBound(provider.addr, i + 1);
            _newClass(_stakeTerms());
        }
        uint256[] memory classIds = registry.boundClassesOf(provider.addr);
        assertEq(classIds.length, count, "classes");
        for (uint256 i; i < count; ++i) {
            assertEq(classIds[i], i + 1, "class");
        }
        assertEq(registry.boundClassesOf(second.addr).length, 0, "another provider");
    }

    /// @dev Rounded up for each class: the stake covers what each could claim.
    function testFuzz_RequiredStakeOf(Shape[2] memory shapes, uint96[2] memory supplies) public {
        (ClassTerms memory a, ClassTerms memory b) = (_shaped(shapes[0]), _shaped(shapes[1]));
        (uint256 first, uint256 other) = (_behind(a, supplies[0]), _behind(b, supplies[1]));
        uint256 classId = _newClass(a, supplies[0]);
        _newClass(b, supplies[1]);
        _newClass(_capacityTerms(), type(uint96).max);
        ClassTerms memory others = _stakeTerms();
        others.issuer = second.addr;
        _newClass(others, type(uint96).max);
        assertEq(registry.requiredStakeOf(provider.addr), first + other, "both classes");
        credits.setSupply(classId, 0);
        assertEq(registry.requiredStakeOf(provider.addr), other, "without the first's units");
    }

    function testFuzz_CheckIssuance_UpToTheStake(Shape memory shape, uint96 supply, uint256 reserved) public {
        ClassTerms memory terms = _shaped(shape);
        uint256 required = _behind(terms, supply);
        vm.assume(required <= MAX_STAKE);
        reserved = bound(reserved, 0, MAX_STAKE);
        uint256 classId = _newClass(terms);
        _stake(required + reserved + 1);
        _unstake(1);
        _reserve(reserved);
        credits.setSupply(classId, supply);
        registry.checkIssuance(provider.addr, classId);
        assertEq(registry.requiredStakeOf(provider.addr), required + reserved, "required");
    }

    function test_RequiredStakeOf_RoundsUp() public {
        uint256 classId = _newClass(_stakeTerms(), 1);
        assertEq(registry.requiredStakeOf(provider.addr), 2, "two a unit");
        ClassTerms memory terms = _stakeTerms();
        terms.decimals = 3;
        _newClass(terms, 1);
        assertEq(registry.requiredStakeOf(provider.addr), 3, "a thousandth of that counts as one");
        _newClass(terms, 500);
        assertEq(registry.requiredStakeOf(provider.addr), 4, "an even half as one");
        _newClass(terms, 501);
        assertEq(registry.requiredStakeOf(provider.addr), 6, "more than one counts as two");
        credits.setSupply(classId, 0);
        assertEq(registry.requiredStakeOf(provider.addr), 4, "no unit, nothing");
    }

    /// @dev Funding decides: other classes name stake too, which stands behind their jobs only.
    function testFuzz_RequiredStakeOf_OnlyStakeFunded(uint8 funding, uint96 supply) public {
        ClassTerms memory terms = _capacityTerms();
        terms.funding = funding % 2 == 0 ? Funding.Sale : Funding.Grant;
        terms.stakePerMillion = type(uint128).max;
        _newClass(terms, supply);
        assertEq(registry.requiredStakeOf(provider.addr), 0, "required");
    }

    /// @dev From `SWEEP_DELAY` after expiry on, the stake is free.
    function testFuzz_RequiredStakeOf_AfterClaimsEnded(uint40 life, uint256 late, uint96 supply) public {
        life = uint40(bound(life, 1, 1_000 days));
        supply = uint96(bound(supply, 1, type(uint88).max));
        ClassTerms memory terms = _stakeTerms();
        terms.expiry = uint40(START + life);
        uint256 required = _behind(terms, supply);
        _stake(required);
        _newClass(terms, supply);
        vm.warp(START + life + SWEEP_DELAY - 1);
        assertEq(registry.requiredStakeOf(provider.addr), required, "held to the last second");
        vm.warp(bound(late, START + life + SWEEP_DELAY, type(uint40).max));
        assertEq(registry.requiredStakeOf(provider.addr), 0, "then free");
        _unstake(required);
    }

    function testFuzz_RequiredStakeOf_NeverExpires(uint256 late, uint96 supply) public {
        _newClass(_stakeTerms(), supply);
        vm.warp(bound(late, START, type(uint40).max));
        assertEq(registry.requiredStakeOf(provider.addr), _behind(_stakeTerms(), supply), "required");
    }

    /* ROOM FOR NEW CLASSES */

    /// @dev A class without units that gets no new ones makes room, wherever it stands in the list.
    function testFuzz_BindClass_InPlaceOfAnEmptyOne(uint256 place, bool expired) public {
        place = bound(place, 0, MAX_CLASSES - 1);
        ClassTerms memory terms = _stakeTerms();
        for (uint256 i; i < MAX_CLASSES; ++i) {
            terms.expiry = i == place && expired ? uint40(START + 1) : 0;
            _newClass(terms, i == place ? 0 : 1);
        }
        if (expired) skip(2);
        else credits.close(place + 1);
        _assertReplaced(place, 2 * (MAX_CLASSES - 1));
    }

    /// @dev So does one whose claims have ended, whatever is left of it, full list or not.
    function testFuzz_BindClass_InPlaceOfOneThatEnded(uint256 count, uint256 place, uint96 supply) public {
        count = bound(count, 1, MAX_CLASSES);
        place = bound(place, 0, count - 1);
        ClassTerms memory terms = _stakeTerms();
        for (uint256 i; i < count; ++i) {
            terms.expiry = i == place ? uint40(START + 1) : 0;
            _newClass(terms, i == place ? supply : 1);
        }
        vm.warp(START + 1 + SWEEP_DELAY);
        _assertReplaced(place, 2 * (count - 1));
    }

    function _assertReplaced(uint256 place, uint256 requiredByOthers) private {
        uint256 length = registry.boundClassesOf(provider.addr).length;
        uint256 classId = _newClass(_stakeTerms(), 10);
        uint256[] memory classIds = registry.boundClassesOf(provider.addr);
        assertEq(classIds.length, length, "as many classes as before");
        for (uint256 i; i < length; ++i) {
            assertEq(classIds[i], i == place ? classId : i + 1, "class");
        }
        assertEq(registry.requiredStakeOf(provider.addr), requiredByOthers + 20, "required");
        // Nothing of the old class is left: its terms are forgotten, so that it counts for nothing.
        credits.setSupply(place + 1, type(uint96).max);
        assertEq(registry.requiredStakeOf(provider.addr), requiredByOthers + 20, "without the old one");
        vm.prank(reserve);
        assertEq(registry.compensate(place + 1, provider.addr, holder, 1), 0, "nobody claims from it");
    }

    /* HELPERS */

    /// @dev Stake-funded terms with any price of stake, small ones as likely as large ones, and any decimals.
    function _shaped(Shape memory shape) private view returns (ClassTerms memory terms) {
        terms = _stakeTerms();
        terms.decimals = uint8(bound(shape.decimals, 0, 18));
        terms.stakePerMillion = shape.stakePerMillion >> (shape.shift & 127);
    }

    function _behind(ClassTerms memory terms, uint256 units) private pure returns (uint256) {
        uint256 scale = 10 ** (6 + uint256(terms.decimals));
        uint256 product = units * terms.stakePerMillion;
        return product / scale + (product % scale == 0 ? 0 : 1);
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
