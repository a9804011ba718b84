// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {RegistryBase} from "./support/RegistryBase.sol";

/// @dev An ERC-8004 identity registry, as far as owners go.
contract Identities is ERC721("Agents", "AGENT") {
    function mint(address to, uint256 agentId) external {
        _mint(to, agentId);
    }
}

/// @dev linkAgent and agentOf.
contract ProviderRegistryAgentTest is RegistryBase {
    Identities private identities = new Identities();

    /* REVERTS */

    function testFuzz_RevertWhen_AgentIsAnothers(uint256 agentId, address owner) public {
        vm.assume(owner != address(0) && owner != provider.addr);
        identities.mint(owner, agentId);
        _expect(IProviderRegistry.ProviderRegistry_NotAgentOwner.selector, provider.addr, provider.addr, owner);
        _link(agentId);
    }

    function testFuzz_RevertWhen_AgentUnknown(uint256 agentId) public {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, agentId));
        _link(agentId);
    }

    /// @dev No contract, no owner: nothing of that is taken for an answer.
    function testFuzz_RevertWhen_RegistryHasNoCode(uint256 agentId) public {
        vm.expectRevert(bytes(""));
        vm.prank(provider.addr);
        registry.linkAgent(anyone, agentId);
    }

    /* SUCCESS */

    function testFuzz_LinkAgent(uint256 agentId) public {
        identities.mint(provider.addr, agentId);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.AgentLinked(provider.addr, address(identities), agentId);
        _link(agentId);
        _assertLink(provider.addr, address(identities), agentId);
        _assertLink(second.addr, address(0), 0);
        assertEq(registry.regionOf(provider.addr), REGION, "region stays");
        assertTrue(registry.serves(provider.addr, SKU), "SKUs stay");
    }

    /// @dev The link is checked when it is made. Whoever relies on it asks the identity registry.
    function testFuzz_LinkAgent_OutlivesOwnership(uint256 agentId) public {
        identities.mint(provider.addr, agentId);
        _link(agentId);
        vm.prank(provider.addr);
        identities.transferFrom(provider.addr, anyone, agentId);
        _assertLink(provider.addr, address(identities), agentId);
    }

    function testFuzz_LinkAgent_AgainAndUnlink(uint256 first, uint256 other) public {
        vm.assume(first != other);
        identities.mint(provider.addr, first);
        identities.mint(provider.addr, other);
        _link(first);
        _link(other);
        _assertLink(provider.addr, address(identities), other);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.AgentLinked(provider.addr, address(0), 0);
        vm.prank(provider.addr);
        registry.linkAgent(address(0), 0);
        _assertLink(provider.addr, address(0), 0);
    }

    /// @dev Another region forgets SKUs, not who the provider is.
    function testFuzz_LinkAgent_StaysThroughUpdates(uint256 agentId, bytes12 region) public {
        identities.mint(provider.addr, agentId);
        _link(agentId);
        vm.prank(provider.addr);
        registry.update(oracle.addr, region, "");
        _assertLink(provider.addr, address(identities), agentId);
    }

    /* HELPERS */

    function _link(uint256 agentId) private {
        vm.prank(provider.addr);
        registry.linkAgent(address(identities), agentId);
    }

    function _assertLink(address account, address identityRegistry, uint256 agentId) private view {
        (address linked, uint256 id) = registry.agentOf(account);
        assertEq(linked, identityRegistry, "identity registry");
        assertEq(id, agentId, "agent");
    }
}
