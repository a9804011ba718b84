// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IClassMetadata} from "contracts/interfaces/IClassMetadata.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {System} from "contracts/interfaces/Types.sol";
import {IDemoUSD} from "./IDemoUSD.sol";
import {TestHelpers} from "./TestHelpers.sol";

/// @dev Deploys the whole system. Contracts come from their artifacts, so a test compiles against interfaces alone and
/// what is tested is the bytecode that is deployed.
abstract contract Deployment is TestHelpers {
    /* CONSTANTS */

    uint48 internal constant ADMIN_DELAY = 1 days;
    uint256 internal constant ROLE_DELAY = 2 days;
    uint256 internal constant UNBONDING_DELAY = 7 days;
    uint256 internal constant ACTIVATION_DELAY = 2 days;
    uint256 internal constant CLOSE_DELAY = 1 days;
    uint256 internal constant CHALLENGE_BOND = 10e6;

    bytes32 internal constant ISSUER_ROLE = keccak256("ISSUER_ROLE");
    bytes32 internal constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    bytes32 internal constant FEE_ROLE = keccak256("FEE_ROLE");
    bytes32 internal constant WATCHER_ADMIN_ROLE = keccak256("WATCHER_ADMIN_ROLE");

    /* CONTRACTS */

    IDemoUSD internal usd;
    IClassMetadata internal metadata;
    IProviderRegistry internal registry;
    IReceiptVerifier internal verifier;
    IComputeCredits internal credits;
    ICreditReserve internal reserve;
    IJobMarket internal market;
    ISpendingBudgets internal budgets;
    IMeteredSessions internal sessions;
    ICreditExchange internal exchange;
    System internal system;

    /* SET-UP */

    /// @dev The contracts name each other as immutables, so their addresses are predicted from the nonce they are created
    /// at, in the order below.
    function _deployAll(address admin, address sequencerFeed) internal {
        usd = IDemoUSD(deployCode("DemoUSD.sol:DemoUSD"));
        metadata = IClassMetadata(deployCode("ClassMetadata.sol:ClassMetadata"));
        verifier = IReceiptVerifier(
            deployCode(
                "ReceiptVerifier.sol:ReceiptVerifier", abi.encode(admin, ADMIN_DELAY, ROLE_DELAY, ACTIVATION_DELAY)
            )
        );
        uint256 nonce = vm.getNonce(address(this));
        system = System({
            credits: vm.computeCreateAddress(address(this), nonce),
            reserve: vm.computeCreateAddress(address(this), nonce + 1),
            registry: vm.computeCreateAddress(address(this), nonce + 2),
            verifier: address(verifier),
            market: vm.computeCreateAddress(address(this), nonce + 3),
            sessions: vm.computeCreateAddress(address(this), nonce + 4),
            budgets: vm.computeCreateAddress(address(this), nonce + 5),
            exchange: vm.computeCreateAddress(address(this), nonce + 6),
            metadata: address(metadata)
        });
        bytes memory roles = abi.encode(system, admin, ADMIN_DELAY, ROLE_DELAY);
        credits = IComputeCredits(_create("ComputeCredits.sol:ComputeCredits", roles, system.credits));
        reserve = ICreditReserve(
            _create(
                "CreditReserve.sol:CreditReserve",
                abi.encode(system, admin, ADMIN_DELAY, ROLE_DELAY, sequencerFeed),
                system.reserve
            )
        );
        registry = IProviderRegistry(
            _create(
                "ProviderRegistry.sol:ProviderRegistry",
                abi.encode(system, address(usd), UNBONDING_DELAY, CHALLENGE_BOND),
                system.registry
            )
        );
        market = IJobMarket(_create("JobMarket.sol:JobMarket", abi.encode(system), system.market));
        sessions = IMeteredSessions(
            _create("MeteredSessions.sol:MeteredSessions", abi.encode(system, CLOSE_DELAY), system.sessions)
        );
        budgets = ISpendingBudgets(_create("SpendingBudgets.sol:SpendingBudgets", abi.encode(system), system.budgets));
        exchange = ICreditExchange(_create("CreditExchange.sol:CreditExchange", roles, system.exchange));
    }

    function _grantRoles(address admin, address issuer) internal {
        vm.startPrank(admin);
        IAccessControl(address(credits)).grantRole(ISSUER_ROLE, issuer);
        IAccessControl(address(credits)).grantRole(PAUSER_ROLE, admin);
        IAccessControl(address(reserve)).grantRole(FEE_ROLE, admin);
        IAccessControl(address(exchange)).grantRole(FEE_ROLE, admin);
        IAccessControl(address(verifier)).grantRole(WATCHER_ADMIN_ROLE, admin);
        vm.stopPrank();
    }

    function _create(string memory artifact, bytes memory args, address predicted) private returns (address created) {
        created = deployCode(artifact, args);
        assertEq(created, predicted, artifact);
    }
}
