// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {ClassTerms, Funding, System} from "contracts/interfaces/Types.sol";
import {CreditsDouble} from "./CreditsDouble.sol";
import {IDemoUSD} from "./IDemoUSD.sol";
import {TestHelpers} from "./TestHelpers.sol";

/// @dev The registry alone, with a double of the credits and plain accounts for market, sessions and reserve: their part is
/// played by the tests, so that every amount and every order of calls can be tried. `ProviderRegistrySystem.t.sol` has the
/// real ones.
abstract contract RegistryBase is TestHelpers {
    uint256 internal constant START = 1_800_000_000;
    uint256 internal constant UNBONDING_DELAY = 7 days;
    uint256 internal constant CHALLENGE_BOND = 25_000_001;
    uint256 internal constant SWEEP_DELAY = 180 days;
    uint256 internal constant MAX_CLASSES = 16;
    uint256 internal constant THRESHOLD = 2;
    bytes32 internal constant SKU = keccak256("smollm2-135m");
    bytes12 internal constant REGION = "eu-west-1";
    bytes32 internal constant JOB = keccak256("job");
    /// @dev Most stake that fuzzed tests use, so that sums of a few fit what can be staked.
    uint256 internal constant MAX_STAKE = type(uint120).max;

    Account internal admin = makeAccount("admin");
    Account internal provider = makeAccount("provider");
    Account internal second = makeAccount("second");
    Account internal oracle = makeAccount("oracle");
    address internal payer = makeAddr("payer");
    address internal challenger = makeAddr("challenger");
    address internal holder = makeAddr("holder");
    address internal anyone = makeAddr("anyone");
    address internal market = makeAddr("market");
    address internal sessions = makeAddr("sessions");
    address internal reserve = makeAddr("reserve");
    /// @dev Sorted by address.
    Account[] internal watchers;

    IDemoUSD internal usd;
    IProviderRegistry internal registry;
    IReceiptVerifier internal verifier;
    CreditsDouble internal credits;
    uint256 internal watcherSet;

    function setUp() public virtual {
        vm.warp(START);
        usd = IDemoUSD(deployCode("DemoUSD.sol:DemoUSD"));
        verifier = IReceiptVerifier(
            deployCode(
                "ReceiptVerifier.sol:ReceiptVerifier", abi.encode(admin.addr, uint48(1 days), 2 days, uint256(2 days))
            )
        );
        credits = new CreditsDouble();
        registry = _newRegistry(address(usd), UNBONDING_DELAY, CHALLENGE_BOND);
        _makeWatchers();
        _register(provider.addr);
        _register(second.addr);
    }

    /* SET-UP */

    function _newRegistry(address token, uint256 unbondingDelay, uint256 bond) internal returns (IProviderRegistry) {
        return IProviderRegistry(
            deployCode("ProviderRegistry.sol:ProviderRegistry", abi.encode(_system(), token, unbondingDelay, bond))
        );
    }

    function _system() internal view returns (System memory system) {
        system.credits = address(credits);
        system.reserve = reserve;
        system.verifier = address(verifier);
        system.market = market;
        system.sessions = sessions;
    }

    function _makeWatchers() private {
        watchers.push(makeAccount("watcher-0"));
        watchers.push(makeAccount("watcher-1"));
        if (watchers[0].addr > watchers[1].addr) {
            (Account memory a, Account memory b) = (watchers[0], watchers[1]);
            (watchers[0], watchers[1]) = (b, a);
        }
        vm.startPrank(admin.addr);
        IAccessControl(address(verifier)).grantRole(keccak256("WATCHER_ADMIN_ROLE"), admin.addr);
        watcherSet = verifier.proposeSet(0, _addresses(watchers), THRESHOLD);
        vm.stopPrank();
        verifier.activateSet(watcherSet, _addresses(watchers), THRESHOLD);
    }

    function _register(address account) internal {
        vm.prank(account);
        registry.register(oracle.addr, REGION, "https://provider.example/agent.json", _one(SKU));
    }

    /* STAKE */

    function _give(address account, uint256 amount) internal {
        // Supply of a token fits 256 bits, not 128: tests mint beyond what can be staked.
        usd.mint(account, amount);
        vm.prank(account);
        usd.approve(address(registry), amount);
    }

    function _stake(address account, uint256 amount) internal {
        _give(account, amount);
        vm.prank(account);
        registry.stake(amount);
    }

    function _stake(uint256 amount) internal {
        _stake(provider.addr, amount);
    }

    function _unstake(uint256 amount) internal {
        vm.prank(provider.addr);
        registry.unstake(amount);
    }

    function _reserve(uint256 amount) internal {
        vm.prank(market);
        registry.reserveStake(provider.addr, amount);
    }

    function _free(uint256 amount) internal {
        vm.prank(market);
        registry.freeStake(provider.addr, amount);
    }

    function _slash(uint256 amount) internal returns (uint256) {
        vm.prank(market);
        return registry.slash(JOB, provider.addr, amount, payer, challenger);
    }

    function _unbonding(address account) internal view returns (uint256 amount) {
        (amount,) = registry.unbondingOf(account);
    }

    /* CLASSES */

    /// @dev Stake-funded, without decimals, two base units of stake to each million of units: enough to see rounding.
    function _stakeTerms() internal view returns (ClassTerms memory terms) {
        terms.issuer = provider.addr;
        terms.funding = Funding.Stake;
        terms.stakePerMillion = 2_000_000;
        terms.maxRate = 1;
        terms.sku = SKU;
    }

    function _capacityTerms() internal view returns (ClassTerms memory terms) {
        terms.issuer = provider.addr;
        terms.capacityBound = true;
        terms.maxRate = 1;
        terms.sku = SKU;
        terms.watcherSet = uint32(watcherSet);
    }

    function _newClass(ClassTerms memory terms) internal returns (uint256) {
        return credits.create(registry, terms);
    }

    function _newClass(ClassTerms memory terms, uint256 supply) internal returns (uint256 classId) {
        classId = _newClass(terms);
        credits.setSupply(classId, supply);
    }

    /* ASSERTIONS */

    /// @dev What the registry owes to every account of these tests, and the bond of `JOB`, is what it has.
    function _assertSolvent() internal view {
        uint256 owed = registry.bondOf(JOB);
        address[5] memory accounts = [provider.addr, second.addr, payer, challenger, holder];
        for (uint256 i; i < accounts.length; ++i) {
            address account = accounts[i];
            owed += registry.stakeOf(account) + _unbonding(account) + registry.awardOf(account);
        }
        assertEq(usd.balanceOf(address(registry)), owed, "registry holds what it owes");
    }
}
