// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {ClassTerms, Fault, JobTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev The registry as the other contracts use it: classes that bind, issuance, verdicts, wind-down, the words of
/// requirements.
contract ProviderRegistrySystemTest is Base {
    /// @dev A million credits of DECIMALS decimals: stake of a unit is hard to divide, so that rounding shows.
    uint128 private constant STAKE_PER_MILLION = 50_000_007;
    address private challenger = makeAddr("challenger");

    function setUp() public override {
        super.setUp();
        vm.prank(admin.addr);
        IAccessControl(address(credits)).grantRole(ISSUER_ROLE, provider.addr);
    }

    /* REQUIREMENTS */

    function testFuzz_Requirement_IsTheRegistrysWord(bytes32 sku, bytes12 region) public {
        vm.assume(sku != 0);
        ClassTerms memory terms = _saleTerms();
        (terms.sku, terms.region) = (sku, region);
        bytes20 word = credits.providerTerms(_createClass(terms), provider.addr).requirement;
        assertEq(word, registry.requirementOf(sku, region), "requirement");
    }

    /// @dev A class that names a region runs at providers of that region only: another region, and it is over.
    function test_RevertWhen_ProviderLeftTheRegion() public {
        ClassTerms memory classTerms = _saleTerms();
        classTerms.region = REGION;
        uint256 classId = _createClass(classTerms);
        _runNew(classId, 5);
        vm.startPrank(provider.addr);
        registry.update(oracle.addr, "us-east-1", "");
        registry.setSkus(_one(SKU), true);
        registry.setSkus(_one(bytes32(registry.requirementOf(SKU, REGION))), true);
        vm.stopPrank();
        _runNew(plain, 5);
        JobTerms memory terms = _terms(classId, 5);
        _buy(alice.addr, classId, 5);
        bytes memory quote = _quote(terms, oracle);
        bytes32 jobId = market.hashTerms(terms);
        _expect(IJobMarket.JobMarket_CannotServe.selector, jobId, _number(provider.addr), classId);
        vm.prank(alice.addr);
        market.open(terms, quote);
    }

    /* ISSUANCE */

    function testFuzz_RevertWhen_GrantedBeyondStake(uint256 staked, uint256 units) public {
        staked = bound(staked, 1, 1e18);
        uint256 classId = _prepaid();
        _stake(provider.addr, staked);
        uint256 most = _mostFor(staked);
        units = bound(units, most + 1, most + 1e18);
        _expectExceeded(_stakeFor(units), staked);
        _grant(classId, units);
        if (most == 0) return;
        _grant(classId, most);
        assertEq(credits.balanceOf(alice.addr, classId), most, "granted to the last unit the stake covers");
    }

    function testFuzz_RevertWhen_GrantedBeyondCapacity(uint32 count, uint256 units) public {
        count = uint32(bound(count, 1, 1_000));
        ClassTerms memory terms = _prepaidTerms(1);
        terms.capacityBound = true;
        terms.watcherSet = uint32(watcherSet);
        terms.maxRate = 10;
        uint256 classId = _createClass(terms, _one(provider.addr));
        _stake(provider.addr, 1e18);
        _attestCapacity(count, 1_000);
        uint256 most = uint256(count) * 1_000 * terms.maxRate;
        units = bound(units, most + 1, 2 * most);
        bytes4 reason = IProviderRegistry.ProviderRegistry_CapacityExceeded.selector;
        _expect(reason, provider.addr, (units + 9) / 10, uint256(count) * 1_000);
        _grant(classId, units);
        _grant(classId, most);
        vm.warp(_now() + 1);
        _expect(reason, provider.addr, uint256(count) * 1_000 + 1, uint256(count) * 999);
        _grant(classId, 1);
    }

    function test_RevertWhen_TooManyClassesAreCreated() public {
        for (uint256 i; i < 16; ++i) {
            _prepaid();
        }
        ClassTerms memory terms = _prepaidTerms(STAKE_PER_MILLION);
        _expect(IProviderRegistry.ProviderRegistry_TooManyClasses.selector, provider.addr, 17, 16);
        _createClass(terms, _one(provider.addr));
        uint256 first = registry.boundClassesOf(provider.addr)[0];
        vm.prank(provider.addr);
        credits.closeClass(first);
        uint256 classId = _createClass(terms, _one(provider.addr));
        assertEq(registry.boundClassesOf(provider.addr)[0], classId, "in the place of the closed, empty one");
    }

    /// @dev Stake behind credits is free again as they are used up, and can then stand behind jobs.
    function testFuzz_Stake_IsFreedByUse(uint256 units, uint256 used) public {
        units = bound(units, 2, 1e15);
        used = bound(used, 1, units - 1);
        uint256 classId = _prepaid();
        _stake(provider.addr, _stakeFor(units));
        _grant(classId, units);
        assertEq(registry.requiredStakeOf(provider.addr), _stakeFor(units), "before");
        JobTerms memory terms = _terms(classId, units);
        bytes32 jobId = _run(terms);
        assertEq(registry.requiredStakeOf(provider.addr), _stakeFor(units), "a lock changes nothing");
        _submit(terms, _receipt(jobId, used));
        assertEq(registry.requiredStakeOf(provider.addr), _stakeFor(units - used), "after");
        uint256 free = _stakeFor(units) - _stakeFor(units - used);
        _expectExceeded(_stakeFor(units) + 1, _stakeFor(units));
        _unstake(free + 1);
        if (free != 0) _unstake(free);
    }

    /* VERDICTS AND WIND-DOWN TOGETHER */

    /// @dev A verdict takes what was reserved for its job, and not what stands behind the provider's credits.
    function testFuzz_Slash_LeavesHoldersTheirs(uint256 units, uint256 prepaidUnits) public {
        units = bound(units, 1, 1e15);
        prepaidUnits = bound(prepaidUnits, 1, 1e15);
        uint256 classId = _prepaid();
        uint256 atStake = _stakeFor(units);
        _stake(provider.addr, atStake + _stakeFor(prepaidUnits));
        _grant(classId, prepaidUnits);
        JobTerms memory terms = _disputedJob(units);
        _resolve(terms, Fault.Provider);
        assertEq(registry.stakeOf(provider.addr), _stakeFor(prepaidUnits), "stake left");
        assertEq(registry.reservedOf(provider.addr), 0, "nothing reserved");
        assertEq(registry.awardOf(alice.addr), atStake / 2, "payer's half");
        assertEq(registry.awardOf(challenger), atStake - atStake / 2 + CHALLENGE_BOND, "challenger's, with the bond");
        vm.prank(provider.addr);
        credits.closeClass(classId);
        vm.prank(alice.addr);
        uint256 paid = reserve.reclaim(classId, prepaidUnits);
        assertEq(paid, prepaidUnits * STAKE_PER_MILLION / PRICE_UNITS, "holder in full");
        _withdrawAll();
    }

    /// @dev Nor does one about prepaid credits: a provider could else lose disputes to itself, and take with the award what
    /// stands behind the credits of others.
    function testFuzz_Slash_OfAPrepaidJobLeavesHoldersTheirs(uint256 units, uint256 held) public {
        units = bound(units, 1, 1e15);
        held = bound(held, 1, 1e15);
        uint256 classId = _disputablePrepaid();
        (uint256 behind, uint256 atStake) = (_stakeFor(units + held), _stakeFor(units));
        _stake(provider.addr, behind + atStake);
        _grant(classId, units);
        vm.prank(provider.addr);
        credits.grant(bob.addr, classId, held);
        JobTerms memory terms = _terms(classId, units);
        _disputeNow(terms, _run(terms), units);
        _resolve(terms, Fault.Provider);
        assertEq(registry.stakeOf(provider.addr), behind, "stake left");
        assertEq(registry.awardOf(alice.addr), atStake / 2, "payer's half");
        terms = _terms(classId, units);
        bytes memory quote = _quote(terms, oracle);
        _expectExceeded(behind + atStake, behind);
        vm.prank(alice.addr);
        market.open(terms, quote);
        vm.prank(provider.addr);
        credits.closeClass(classId);
        vm.prank(bob.addr);
        assertEq(reserve.reclaim(classId, held), held * STAKE_PER_MILLION / PRICE_UNITS, "holder in full");
        vm.prank(alice.addr);
        assertEq(reserve.reclaim(classId, units), units * STAKE_PER_MILLION / PRICE_UNITS, "payer in full");
    }

    function testFuzz_Bond_GoesToTheProvider(uint256 units) public {
        units = bound(units, 1, 1e15);
        _stake(provider.addr, _stakeFor(units));
        JobTerms memory terms = _disputedJob(units);
        assertEq(registry.bondOf(market.hashTerms(terms)), CHALLENGE_BOND, "bond");
        _resolve(terms, Fault.Challenger);
        assertEq(registry.bondOf(market.hashTerms(terms)), 0, "bond after");
        assertEq(registry.awardOf(provider.addr), CHALLENGE_BOND, "award");
        assertEq(registry.stakeOf(provider.addr), _stakeFor(units), "stake");
        _withdrawAll();
    }

    /* HELPERS */

    function _prepaid() private returns (uint256) {
        return _createClass(_prepaidTerms(STAKE_PER_MILLION), _one(provider.addr));
    }

    function _disputablePrepaid() private returns (uint256) {
        ClassTerms memory terms = _prepaidTerms(STAKE_PER_MILLION);
        // forge-lint: disable-next-line(unsafe-typecast)
        (terms.challengeWindow, terms.arbiterSet) = (WINDOW, uint32(arbiterSet));
        return _createClass(terms, _one(provider.addr));
    }

    function _grant(uint256 classId, uint256 units) private {
        vm.prank(provider.addr);
        credits.grant(alice.addr, classId, units);
    }

    function _unstake(uint256 amount) private {
        vm.prank(provider.addr);
        registry.unstake(amount);
    }

    function _attestCapacity(uint32 count, uint40 time) private {
        (uint40 until, uint40 observedAt) = (uint40(_now()) + time, uint40(_now()));
        bytes32 digest = registry.capacityDigest(provider.addr, SKU, watcherSet, count, until, observedAt);
        registry.attestCapacity(
            provider.addr, SKU, watcherSet, count, until, observedAt, _attest(digest, THRESHOLD).watchers
        );
    }

    /// @dev A job of a class with stake behind it, submitted and challenged.
    function _disputedJob(uint256 units) private returns (JobTerms memory terms) {
        bytes32 jobId;
        (terms, jobId) = _runNew(_createClass(_stakedTerms(STAKE_PER_MILLION)), units);
        _disputeNow(terms, jobId, units);
    }

    function _disputeNow(JobTerms memory terms, bytes32 jobId, uint256 units) private {
        assertEq(registry.reservedOf(provider.addr), _stakeFor(units), "reserved");
        _submit(terms, _receipt(jobId, units));
        _challenge(challenger, terms);
    }

    function _resolve(JobTerms memory terms, Fault fault) private {
        IJobMarket.Verdict memory verdict = IJobMarket.Verdict(market.hashTerms(terms), 0, fault);
        market.resolve(terms, verdict, _judge(market.verdictDigest(verdict), THRESHOLD));
    }

    /// @dev Everybody can take what it is owed, and then the registry is empty.
    function _withdrawAll() private {
        uint256 staked = registry.stakeOf(provider.addr);
        if (staked != 0) {
            _unstake(staked);
            vm.warp(_now() + UNBONDING_DELAY);
            vm.prank(provider.addr);
            registry.withdrawStake(provider.addr);
        }
        address[3] memory accounts = [alice.addr, challenger, provider.addr];
        for (uint256 i; i < accounts.length; ++i) {
            if (registry.awardOf(accounts[i]) == 0) continue;
            vm.prank(accounts[i]);
            registry.withdrawAward(accounts[i]);
        }
        assertEq(usd.balanceOf(address(registry)), 0, "registry's tokens");
    }

    function _expectExceeded(uint256 given, uint256 limit) private {
        _expect(IProviderRegistry.ProviderRegistry_StakeExceeded.selector, provider.addr, given, limit);
    }

    /// @dev Stake behind units: rounded up.
    function _stakeFor(uint256 units) private pure returns (uint256) {
        return (units * STAKE_PER_MILLION + PRICE_UNITS - 1) / PRICE_UNITS;
    }

    /// @dev Most units that stake covers.
    function _mostFor(uint256 staked) private pure returns (uint256) {
        return staked * PRICE_UNITS / STAKE_PER_MILLION;
    }
}
