// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {RegistryBase} from "./support/RegistryBase.sol";

/// @dev Records of providers: register, update, setSkus, and the requirement words that jobs are checked against.
contract ProviderRegistryTest is RegistryBase {
    uint256 private constant MAX_SKUS = 32;
    uint256 private constant MAX_URI_BYTES = 256;
    string private constant URI = "https://new.example/agent.json";

    /* REVERTS */

    function testFuzz_RevertWhen_RegisteredTwice(address key) public {
        _expect(IProviderRegistry.ProviderRegistry_AlreadyRegistered.selector, provider.addr, key, oracle.addr);
        vm.prank(provider.addr);
        registry.register(key, REGION, URI, new bytes32[](0));
    }

    function test_RevertWhen_OracleIsZero() public {
        bytes4 reason = IProviderRegistry.ProviderRegistry_ZeroOracle.selector;
        _expect(reason, anyone, address(0), anyone);
        vm.prank(anyone);
        registry.register(address(0), REGION, URI, new bytes32[](0));
        _expect(reason, provider.addr, address(0), provider.addr);
        vm.prank(provider.addr);
        registry.update(address(0), REGION, URI);
    }

    function testFuzz_RevertWhen_UriTooLong(uint256 length) public {
        length = bound(length, MAX_URI_BYTES + 1, 2_000);
        string memory uri = string(new bytes(length));
        bytes4 reason = IProviderRegistry.ProviderRegistry_UriTooLong.selector;
        _expect(reason, anyone, length, MAX_URI_BYTES);
        vm.prank(anyone);
        registry.register(oracle.addr, REGION, uri, new bytes32[](0));
        _expect(reason, provider.addr, length, MAX_URI_BYTES);
        vm.prank(provider.addr);
        registry.update(oracle.addr, REGION, uri);
    }

    function testFuzz_RevertWhen_TooManySkus(uint256 count) public {
        count = bound(count, MAX_SKUS + 1, 200);
        bytes4 reason = IProviderRegistry.ProviderRegistry_TooManySkus.selector;
        _expect(reason, anyone, count, MAX_SKUS);
        vm.prank(anyone);
        registry.register(oracle.addr, REGION, URI, new bytes32[](count));
        _expect(reason, provider.addr, count, MAX_SKUS);
        vm.prank(provider.addr);
        registry.setSkus(new bytes32[](count), true);
    }

    function testFuzz_RevertWhen_NotRegistered(address caller) public {
        vm.assume(caller != provider.addr && caller != second.addr);
        bytes4 reason = IProviderRegistry.ProviderRegistry_NotRegistered.selector;
        vm.startPrank(caller);
        _expect(reason, caller, caller, address(0));
        registry.update(oracle.addr, REGION, URI);
        _expect(reason, caller, caller, address(0));
        registry.setSkus(_one(SKU), true);
        _expect(reason, caller, caller, address(0));
        registry.linkAgent(address(0), 0);
        _expect(reason, caller, caller, address(0));
        registry.stake(1);
    }

    /* SUCCESS */

    function testFuzz_Register(address caller, address key, bytes12 region, bytes32 a, bytes32 b) public {
        vm.assume(caller != provider.addr && caller != second.addr && key != address(0) && a != b);
        bytes32[] memory skus = new bytes32[](2);
        (skus[0], skus[1]) = (a, b);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.ProviderRegistered(caller, key, region, URI);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.SkuSet(caller, a, true);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.SkuSet(caller, b, true);
        vm.prank(caller);
        registry.register(key, region, URI, skus);
        assertEq(registry.oracleNowServing(caller), key, "oracle");
        assertEq(registry.regionOf(caller), region, "region");
        assertEq(registry.uriOf(caller), URI, "uri");
        assertTrue(registry.serves(caller, a), "first SKU");
        assertTrue(registry.serves(caller, b), "second SKU");
        if (a != SKU) assertFalse(registry.serves(provider.addr, a), "another provider");
        assertEq(registry.stakeOf(caller), 0, "stake");
    }

    function test_Register_AtEveryUpperBound() public {
        string memory uri = string(new bytes(MAX_URI_BYTES));
        bytes32[] memory skus = new bytes32[](MAX_SKUS);
        skus[MAX_SKUS - 1] = SKU;
        vm.prank(anyone);
        registry.register(oracle.addr, REGION, uri, skus);
        assertEq(registry.uriOf(anyone), uri, "uri");
        assertTrue(registry.serves(anyone, SKU), "last SKU");
    }

    function testFuzz_Update(address key) public {
        vm.assume(key != address(0));
        vm.expectEmit(address(registry));
        emit IProviderRegistry.ProviderUpdated(provider.addr, key, REGION, URI);
        vm.prank(provider.addr);
        registry.update(key, REGION, URI);
        assertEq(registry.oracleNowServing(provider.addr), key, "oracle");
        assertEq(registry.uriOf(provider.addr), URI, "uri");
        assertTrue(registry.serves(provider.addr, SKU), "SKUs stay");
        assertEq(_oracleFor(SKU, REGION), key, "in the region too");
        assertEq(registry.oracleNowServing(second.addr), oracle.addr, "another provider's oracle");
    }

    /// @dev SKUs were served from the old region: they are forgotten, and coming back doesn't bring them back.
    function testFuzz_Update_AnotherRegion(bytes12 region) public {
        vm.assume(region != REGION);
        vm.startPrank(provider.addr);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.ProviderUpdated(provider.addr, oracle.addr, region, URI);
        registry.update(oracle.addr, region, URI);
        assertEq(registry.regionOf(provider.addr), region, "region");
        _assertServes(SKU, region, false, "SKU is forgotten");
        assertEq(_oracleFor(SKU, REGION), address(0), "not in the old region");
        registry.setSkus(_one(SKU), true);
        _assertServes(SKU, region, true, "served from the new region");
        if (region != 0) assertEq(_oracleFor(SKU, REGION), address(0), "still not in the old region");
        registry.update(oracle.addr, REGION, URI);
        _assertServes(SKU, REGION, false, "back, and SKUs are to be set again");
        assertEq(_oracleFor(SKU, region), address(0), "gone from the new region");
        assertTrue(registry.serves(second.addr, SKU), "another provider's SKU");
    }

    function testFuzz_SetSkus(bytes32 sku, bool served) public {
        vm.expectEmit(address(registry));
        emit IProviderRegistry.SkuSet(provider.addr, sku, served);
        vm.prank(provider.addr);
        registry.setSkus(_one(sku), served);
        _assertServes(sku, REGION, served, "as set");
        if (sku != SKU) _assertServes(SKU, REGION, true, "other SKUs stay");
    }

    function testFuzz_SetSkus_AddAndRemove(bytes32 sku) public {
        vm.startPrank(provider.addr);
        registry.setSkus(_one(sku), true);
        _assertServes(sku, REGION, true, "added");
        registry.setSkus(_one(sku), false);
        _assertServes(sku, REGION, false, "removed");
    }

    /* REQUIREMENTS */

    function testFuzz_RequirementOf(bytes32 sku, bytes12 region) public view {
        assertEq(registry.requirementOf(sku, region), bytes20(keccak256(abi.encode(sku, region))), "SKU and region");
        assertEq(registry.requirementOf(sku, 0), bytes20(keccak256(abi.encode(sku, uint256(0)))), "any region");
    }

    function testFuzz_OracleFor(bytes32 sku, bytes12 region, address other) public view {
        vm.assume(sku != SKU && region != 0 && region != REGION && other != provider.addr && other != second.addr);
        assertEq(_oracleFor(SKU, REGION), oracle.addr, "SKU and region");
        assertEq(_oracleFor(SKU, 0), oracle.addr, "any region");
        assertEq(_oracleFor(sku, 0), address(0), "SKU not served");
        assertEq(_oracleFor(sku, REGION), address(0), "SKU not served in the region");
        assertEq(_oracleFor(SKU, region), address(0), "another region");
        assertEq(
            registry.trustedOracleIfItQualifies(other, registry.requirementOf(SKU, 0)), address(0), "not registered"
        );
    }

    /// @dev A provider of no region serves classes of any region only.
    function testFuzz_OracleFor_NoRegionClaimed(address caller, bytes12 region) public {
        vm.assume(caller != provider.addr && caller != second.addr && region != 0);
        vm.prank(caller);
        registry.register(oracle.addr, 0, URI, _one(SKU));
        assertEq(registry.trustedOracleIfItQualifies(caller, registry.requirementOf(SKU, 0)), oracle.addr, "any region");
        assertEq(
            registry.trustedOracleIfItQualifies(caller, registry.requirementOf(SKU, region)), address(0), "a region"
        );
    }

    /// @dev The word of another region is no SKU that could be claimed in its place.
    function testFuzz_OracleFor_NotByClaimingTheWord(bytes32 sku, bytes12 region) public {
        vm.assume(region != REGION && (sku != SKU || region != 0));
        bytes20 word = registry.requirementOf(sku, region);
        vm.prank(provider.addr);
        registry.setSkus(_one(bytes32(word)), true);
        assertEq(registry.trustedOracleIfItQualifies(provider.addr, word), address(0), "requirement not met");
    }

    /* HELPERS */

    function _oracleFor(bytes32 sku, bytes12 region) private view returns (address) {
        return registry.trustedOracleIfItQualifies(provider.addr, registry.requirementOf(sku, region));
    }

    function _assertServes(bytes32 sku, bytes12 region, bool served, string memory label) private view {
        address expected = served ? registry.oracleNowServing(provider.addr) : address(0);
        assertEq(registry.serves(provider.addr, sku), served, label);
        assertEq(_oracleFor(sku, 0), expected, label);
        assertEq(_oracleFor(sku, region), expected, label);
    }
}
