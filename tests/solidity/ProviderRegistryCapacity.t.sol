// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {ClassTerms} from "contracts/interfaces/Types.sol";
import {RegistryBase} from "./support/RegistryBase.sol";

/// @dev attestCapacity, and how it bounds the issuance of capacity-bound classes.
contract ProviderRegistryCapacityTest is RegistryBase {
    uint256 private constant MAX_HORIZON = 366 days;
    uint256 private constant MAX_AGE = 1 days;
    uint32 private constant COUNT = 8;
    uint40 private constant UNTIL = uint40(START + 1_000);
    /// @dev Seconds of a resource that COUNT until UNTIL amount to at START.
    uint256 private constant SECONDS = 8_000;
    bytes32 private constant CAPACITY_TYPEHASH = keccak256(
        "Capacity(address provider,bytes32 sku,uint256 watcherSet,uint32 count,uint40 until,uint40 observedAt)"
    );
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    struct Claim {
        address provider;
        bytes32 sku;
        uint256 watcherSet;
        uint32 count;
        uint40 until;
        uint40 observedAt;
    }

    /* ATTESTATION: REVERTS */

    function test_RevertWhen_ObservationAsOldAsTheLast() public {
        Claim memory claim = _claim();
        _attest(claim);
        _expectStale(claim.observedAt, claim.observedAt);
        _attest(claim);
    }

    function testFuzz_RevertWhen_ObservationNotNewer(uint40 last, uint40 given) public {
        last = uint40(bound(last, START - MAX_AGE, START));
        given = uint40(bound(given, 0, last));
        Claim memory claim = _claim();
        claim.observedAt = last;
        _attest(claim);
        claim.observedAt = given;
        _expectStale(given, last);
        _attest(claim);
    }

    function testFuzz_RevertWhen_ObservationFromTheFuture(uint40 given) public {
        given = uint40(bound(given, START + 1, type(uint40).max));
        Claim memory claim = _claim();
        claim.observedAt = given;
        _expectStale(given, START);
        _attest(claim);
    }

    function testFuzz_RevertWhen_ObservationTooOld(uint40 given) public {
        given = uint40(bound(given, 1, START - MAX_AGE - 1));
        Claim memory claim = _claim();
        claim.observedAt = given;
        _expectStale(given, START - MAX_AGE);
        _attest(claim);
    }

    function testFuzz_RevertWhen_HorizonTooFar(uint40 until) public {
        until = uint40(bound(until, START + MAX_HORIZON + 1, type(uint40).max));
        Claim memory claim = _claim();
        claim.until = until;
        bytes4 reason = IProviderRegistry.ProviderRegistry_HorizonTooFar.selector;
        _expect(reason, provider.addr, until, START + MAX_HORIZON);
        _attest(claim);
    }

    function test_RevertWhen_TooFewWatchersSigned() public {
        Claim memory claim = _claim();
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = _sign(watchers[0], _digest(claim));
        bytes4 reason = IReceiptVerifier.ReceiptVerifier_TooFewWatchers.selector;
        _expect(reason, watcherSet, 1, THRESHOLD);
        _send(claim, signatures);
    }

    function testFuzz_RevertWhen_SetUnknown(uint256 set) public {
        vm.assume(set != watcherSet);
        Claim memory claim = _claim();
        claim.watcherSet = set;
        _expect(IReceiptVerifier.ReceiptVerifier_UnknownSet.selector, set, set, watcherSet);
        _attest(claim);
    }

    /// @dev Every field is signed: with another value the signature is somebody else's.
    function testFuzz_RevertWhen_SomethingElseWasSigned(uint256 field, uint256 value) public {
        field = bound(field, 0, 4);
        Claim memory claim = _claim();
        bytes[] memory signatures = _signatures(claim);
        if (field == 0) claim.provider = address(uint160(value));
        if (field == 1) claim.sku = bytes32(value);
        if (field == 2) claim.count = uint32(value);
        if (field == 3) claim.until = uint40(bound(value, 0, START + MAX_HORIZON));
        if (field == 4) claim.observedAt = uint40(bound(value, START - MAX_AGE, START));
        bytes32 digest = _digest(claim);
        vm.assume(digest != _digest(_claim()));
        (address signer,,) = ECDSA.tryRecover(digest, signatures[0]);
        vm.assume(signer != address(0));
        bytes4 reason = IReceiptVerifier.ReceiptVerifier_NotWatcher.selector;
        _expect(reason, watcherSet, signer, address(0));
        _send(claim, signatures);
    }

    /* ATTESTATION: SUCCESS */

    function testFuzz_AttestCapacity(Claim memory claim, address sender) public {
        claim.watcherSet = watcherSet;
        claim.until = uint40(bound(claim.until, 0, START + MAX_HORIZON));
        claim.observedAt = uint40(bound(claim.observedAt, START - MAX_AGE, START));
        vm.expectEmit(address(registry));
        emit IProviderRegistry.CapacityAttested(claim.provider, claim.sku, watcherSet, claim.count, claim.until);
        bytes[] memory signatures = _signatures(claim);
        vm.prank(sender);
        _send(claim, signatures);
        _assertCapacity(claim);
        (uint256 count, uint256 until, uint256 observedAt) =
            registry.capacityOf(claim.provider, claim.sku, watcherSet + 1);
        assertEq(count + until + observedAt, 0, "by another set");
        (count, until, observedAt) = registry.capacityOf(claim.provider, ~claim.sku, watcherSet);
        assertEq(count + until + observedAt, 0, "another SKU");
    }

    function testFuzz_AttestCapacity_NewerReplaces(uint40 later, uint32 count) public {
        Claim memory claim = _claim();
        _attest(claim);
        later = uint40(bound(later, 1, MAX_HORIZON));
        vm.warp(START + later);
        claim.observedAt = uint40(START + later);
        claim.count = count;
        _attest(claim);
        _assertCapacity(claim);
    }

    function testFuzz_CapacityDigest(Claim memory claim) public view {
        assertEq(_digest(claim), _expectedDigest(claim), "digest");
    }

    function test_Domain() public view {
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address self,,) =
            IERC5267(address(registry)).eip712Domain();
        assertEq(fields, bytes1(0x0f), "fields");
        assertEq(name, "Scrip ProviderRegistry", "name");
        assertEq(version, "1", "version");
        assertEq(chainId, block.chainid, "chain");
        assertEq(self, address(registry), "contract");
    }

    /* ISSUANCE: REVERTS */

    function testFuzz_RevertWhen_NothingAttested(uint96 supply, uint64 rate) public {
        supply = uint96(bound(supply, 1, type(uint96).max));
        ClassTerms memory terms = _capacityTerms();
        terms.maxRate = uint64(bound(rate, 1, type(uint64).max));
        uint256 classId = _newClass(terms, supply);
        _expectExceeded(_ceil(supply, terms.maxRate), 0);
        registry.checkIssuance(provider.addr, classId);
    }

    function testFuzz_RevertWhen_IssuedBeyondCapacity(uint96 supply, uint64 rate, uint256 passed) public {
        ClassTerms memory terms = _capacityTerms();
        terms.maxRate = uint64(bound(rate, 1, type(uint64).max / SECONDS));
        passed = bound(passed, 0, 2_000);
        uint256 available = passed < 1_000 ? COUNT * (1_000 - passed) : 0;
        supply = uint96(bound(supply, available * terms.maxRate + 1, type(uint96).max));
        uint256 classId = _newClass(terms, supply);
        _attest(_claim());
        vm.warp(START + passed);
        _expectExceeded(_ceil(supply, terms.maxRate), available);
        registry.checkIssuance(provider.addr, classId);
    }

    /// @dev What the classes of one pool ask for is added up, whatever their rates, each rounded up.
    function testFuzz_RevertWhen_ClassesTogetherExceedCapacity(uint256 first, uint64 rate) public {
        ClassTerms memory terms = _capacityTerms();
        terms.maxRate = uint64(bound(rate, 2, type(uint64).max / SECONDS));
        first = bound(first, 1, SECONDS - 1);
        uint256 a = _newClass(terms, first * terms.maxRate);
        uint256 b = _newClass(_capacityTerms(), SECONDS - first);
        _attest(_claim());
        registry.checkIssuance(provider.addr, a);
        registry.checkIssuance(provider.addr, b);
        credits.setSupply(a, first * terms.maxRate + 1);
        _expectExceeded(SECONDS + 1, SECONDS);
        registry.checkIssuance(provider.addr, a);
        _expectExceeded(SECONDS + 1, SECONDS);
        registry.checkIssuance(provider.addr, b);
    }

    /// @dev A newer, lower attestation stops issuance; it can't touch what there is.
    function test_RevertWhen_CapacityShrank() public {
        uint256 classId = _newClass(_capacityTerms(), SECONDS);
        Claim memory claim = _claim();
        claim.observedAt = uint40(START - 1);
        _attest(claim);
        registry.checkIssuance(provider.addr, classId);
        claim.observedAt = uint40(START);
        claim.count = COUNT - 1;
        _attest(claim);
        _expectExceeded(SECONDS, 7_000);
        registry.checkIssuance(provider.addr, classId);
    }

    /// @dev A class bound both ways must fit both: the lesser of stake and capacity decides.
    function testFuzz_RevertWhen_BoundBothWays(uint256 units) public {
        ClassTerms memory terms = _stakeTerms();
        terms.capacityBound = true;
        terms.watcherSet = uint32(watcherSet);
        uint256 classId = _newClass(terms, SECONDS);
        _attest(_claim());
        _stake(2 * SECONDS);
        registry.checkIssuance(provider.addr, classId);
        units = bound(units, SECONDS + 1, type(uint80).max);
        credits.setSupply(classId, units);
        bytes4 reason = IProviderRegistry.ProviderRegistry_StakeExceeded.selector;
        _expect(reason, provider.addr, 2 * units, 2 * SECONDS);
        registry.checkIssuance(provider.addr, classId);
        _stake(2 * (units - SECONDS));
        _expectExceeded(units, SECONDS);
        registry.checkIssuance(provider.addr, classId);
    }

    /* ISSUANCE: SUCCESS */

    /// @dev Each pool is a provider, a watcher set and a SKU: what others ask for doesn't count.
    function testFuzz_CheckIssuance_OtherPoolsDoNotCount(uint96 others, uint256 units) public {
        units = bound(units, 0, SECONDS);
        ClassTerms memory terms = _capacityTerms();
        terms.issuer = second.addr;
        _newClass(terms, others);
        terms = _capacityTerms();
        terms.sku = ~SKU;
        _newClass(terms, others);
        terms = _capacityTerms();
        terms.watcherSet = uint32(watcherSet + 1);
        _newClass(terms, others);
        _newClass(_stakeTerms(), others);
        uint256 classId = _newClass(_capacityTerms(), units);
        _attest(_claim());
        registry.checkIssuance(provider.addr, classId);
    }

    /// @dev Of a class that isn't bound, there is nothing to check.
    function testFuzz_CheckIssuance_NotBound(uint256 classId, address account) public view {
        registry.checkIssuance(account, classId);
    }

    /// @dev Credits nobody can claim anything for any more leave their capacity to others.
    function testFuzz_CheckIssuance_AfterClaimsEnded(uint96 supply) public {
        supply = uint96(bound(supply, SECONDS + 1, type(uint96).max));
        ClassTerms memory terms = _capacityTerms();
        terms.expiry = uint40(START + 1);
        _newClass(terms, supply);
        uint256 classId = _newClass(_capacityTerms(), SECONDS);
        uint256 end = START + 1 + SWEEP_DELAY;
        vm.warp(end - 1);
        _attest(_claimAt(end - 1));
        _expectExceeded(supply + SECONDS, SECONDS);
        registry.checkIssuance(provider.addr, classId);
        vm.warp(end);
        _attest(_claimAt(end));
        registry.checkIssuance(provider.addr, classId);
    }

    /* HELPERS */

    function _claim() private view returns (Claim memory) {
        return _claimAt(START);
    }

    function _claimAt(uint256 time) private view returns (Claim memory) {
        return Claim(provider.addr, SKU, watcherSet, COUNT, uint40(time + 1_000), uint40(time));
    }

    function _attest(Claim memory claim) private {
        _send(claim, _signatures(claim));
    }

    /// @dev Makes one call only, so that an expected revert is that call's.
    function _send(Claim memory c, bytes[] memory signatures) private {
        registry.attestCapacity(c.provider, c.sku, c.watcherSet, c.count, c.until, c.observedAt, signatures);
    }

    function _signatures(Claim memory claim) private view returns (bytes[] memory signatures) {
        signatures = new bytes[](THRESHOLD);
        for (uint256 i; i < THRESHOLD; ++i) {
            signatures[i] = _sign(watchers[i], _expectedDigest(claim));
        }
    }

    function _digest(Claim memory c) private view returns (bytes32) {
        return registry.capacityDigest(c.provider, c.sku, c.watcherSet, c.count, c.until, c.observedAt);
    }

    function _expectedDigest(Claim memory claim) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("Scrip ProviderRegistry"), keccak256("1"), block.chainid, address(registry)
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, keccak256(abi.encode(CAPACITY_TYPEHASH, claim))));
    }

    function _ceil(uint256 units, uint256 rate) private pure returns (uint256) {
        return units / rate + (units % rate == 0 ? 0 : 1);
    }

    function _expectStale(uint256 given, uint256 limit) private {
        _expect(IProviderRegistry.ProviderRegistry_StaleAttestation.selector, provider.addr, given, limit);
    }

    function _expectExceeded(uint256 given, uint256 limit) private {
        _expect(IProviderRegistry.ProviderRegistry_CapacityExceeded.selector, provider.addr, given, limit);
    }

    function _assertCapacity(Claim memory claim) private view {
        (uint256 count, uint256 until, uint256 observedAt) =
            registry.capacityOf(claim.provider, claim.sku, claim.watcherSet);
        assertEq(count, claim.count, "count");
        assertEq(until, claim.until, "until");
        assertEq(observedAt, claim.observedAt, "observed at");
    }
}
