// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {Base} from "./Base.t.sol";

/// @dev Records of providers: register, update, setSkus and the views that jobs use.
contract ProviderRegistryTest is Base {
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
        vm.assume(caller != provider.addr);
        bytes4 reason = IProviderRegistry.ProviderRegistry_NotRegistered.selector;
        vm.startPrank(caller);
        _expect(reason, caller, caller, address(0));
        registry.update(oracle.addr, REGION, URI);
        _expect(reason, caller, caller, address(0));
        registry.setSkus(_one(SKU), true);
        _expect(reason, caller, caller, address(0));
        registry.stake(1);
    }

    /* SUCCESS */

    function testFuzz_Register(address caller, address key, bytes12 region, bytes32 a, bytes32 b) public {
        _assumeStranger(caller);
        vm.assume(key != address(0) && a != b);
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
        assertEq(registry.oracleOf(caller), key, "oracle");
        assertEq(registry.regionOf(caller), region, "region");
        assertEq(registry.uriOf(caller), URI, "uri");
        assertTrue(registry.serves(caller, a), "first SKU");
        assertTrue(registry.serves(caller, b), "second SKU");
        assertFalse(registry.serves(provider.addr, a), "another provider");
        assertEq(registry.stakeOf(caller), 0, "stake");
    }

    function test_Register_AtEveryUpperBound() public {
        string memory uri = string(new bytes(MAX_URI_BYTES));
        vm.prank(anyone);
        registry.register(oracle.addr, REGION, uri, new bytes32[](MAX_SKUS));
        assertEq(registry.uriOf(anyone), uri, "uri");
    }

    function testFuzz_Update(address key, bytes12 region) public {
        vm.assume(key != address(0));
        vm.expectEmit(address(registry));
        emit IProviderRegistry.ProviderUpdated(provider.addr, key, region, URI);
        vm.prank(provider.addr);
        registry.update(key, region, URI);
        assertEq(registry.oracleOf(provider.addr), key, "oracle");
        assertEq(registry.regionOf(provider.addr), region, "region");
        assertEq(registry.uriOf(provider.addr), URI, "uri");
        assertTrue(registry.serves(provider.addr, SKU), "SKUs stay");
    }

    function testFuzz_SetSkus(bytes32 sku, bool served) public {
        vm.expectEmit(address(registry));
        emit IProviderRegistry.SkuSet(provider.addr, sku, served);
        vm.prank(provider.addr);
        registry.setSkus(_one(sku), served);
        assertEq(registry.serves(provider.addr, sku), served, "served");
        if (sku != SKU) assertTrue(registry.serves(provider.addr, SKU), "other SKUs stay");
    }

    function testFuzz_OracleFor(bytes32 sku, bytes12 region, address other) public view {
        vm.assume(sku != SKU && region != 0 && region != REGION && other != provider.addr);
        assertEq(registry.oracleFor(provider.addr, SKU, REGION), oracle.addr, "SKU and region");
        assertEq(registry.oracleFor(provider.addr, SKU, 0), oracle.addr, "any region");
        assertEq(registry.oracleFor(provider.addr, sku, 0), address(0), "SKU not served");
        assertEq(registry.oracleFor(provider.addr, SKU, region), address(0), "another region");
        assertEq(registry.oracleFor(other, SKU, 0), address(0), "not registered");
    }
}
